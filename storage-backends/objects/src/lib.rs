//! Object stores, opened from a URL: `file:///path`, `s3://bucket/prefix`, `hdfs://service/path`,
//! `memory://`.
//!
//! Every store behaves alike here, whatever it really does: an object is created once or not at all,
//! a range is all there or an error, a listing is in order, each attempt has a time limit, what can be
//! retried is retried with back-off and jitter, a busy store slows its callers down, and an error says
//! whether the call may have had an effect. One conformance suite holds all of them to that.
//!
//! The crate does not know what the objects mean, who wrote them or what a Kafka is.
//!
//! ```text
//!   open(url, options) ──> Store ── put_new, upload, get_range, head, delete, list, sweep
//!                            │
//!                            │  time limit · retries · back-pressure · bytes in flight · metrics
//!                            v
//!             backend:  memory   file   s3      hdfs          simulated
//!                          object_store       hdfs-native   from a seed, with faults
//! ```
//!
//! The way in is [`open()`]; [`probe()`] measures what a store can and cannot do.

mod attempt;
mod backend;
mod error;
mod key;
mod metrics;
mod open;
mod options;
mod pressure;
mod probe;
mod simulated;
mod store;
mod upload;

pub use error::{Effect, ErrorKind, OpenError, StoreError};
pub use metrics::{Histogram, Operation, OperationSnapshot, StoreSnapshot};
pub use open::open;
pub use options::{HdfsOptions, RetryLimits, S3Options, Secret, StoreOptions};
pub use probe::{Check, Measurement, Outcome, ProbeReport, probe};
pub use simulated::{SimulatedStore, StoreFaults};
pub use store::{ObjectInfo, Store, Swept};
pub use upload::Upload;
