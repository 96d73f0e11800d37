//! A broker's view of the metadata: the image, its changes, and a way to propose.
//!
//! [`MetadataClient::start`] follows the feed of a [`Source`] (the quorum's member in this process, or controllers
//! elsewhere) with one task, which alone applies entries to its own image
//! and publishes each state whole. [`MetadataClient::propose`] returns after that image has what was proposed, so
//! that a broker reads its own writes. It does not know who leads, where the quorum's members are, or what the
//! commands mean.
//!
//! ```text
//!   Source::pull ──> follower task: Image::apply ──> watch: Arc<Image> ──> image(), changes()
//!                                                         │
//!   propose ──> Source::propose ──> (index, verdict) ──> wait until the image is there ──> verdict
//! ```

mod client;
mod error;
mod follower;
mod source;

pub use aquifer_quorum::Effect;
pub use client::{ClientConfig, MetadataClient};
pub use error::ProposeError;
pub use source::Source;
