//! The WAL's mirrors over the internal port: an owner's links to them, what a mirror serves, and takeover of what dead
//! brokers left.
//!
//! It connects layers that do not know each other: `aquifer-wal` makes frames and keeps copies, `aquifer-peer` carries
//! bytes, `aquifer-stream` decides what a takeover commits, the image says who may write which segment.
//!
//! ```text
//!   owner                                   member
//!   WAL writer ─> Links ═══ WAL_MIRROR ═══> Member ─> MirrorStore on its disk
//!        <─────────── acks, grants ────────
//!
//!   recoverer                               members
//!   Takeovers ─> Recoverer ─> PeerCopies ── WAL_SEAL, WAL_READ ──> Member
//! ```
//!
//! The way in: [`Member::serve`] on every broker, [`Takeovers::start`] for what it and others left, and [`Links::connect`] for the
//! segments that it writes.

mod channels;
mod copies;
mod link;
mod member;
mod takeovers;

pub use channels::CHANNELS;
pub use copies::{OwnCopies, PeerCopies};
pub use link::Links;
pub use member::Member;
pub use takeovers::{Surrender, Takeovers};
