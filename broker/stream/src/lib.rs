//! Streams: append, read and trim of opaque batches, over a WAL, two caches and an object store.
//!
//! A partition's records are one stream, its checkpoints another. What is appended is durable once the WAL
//! has it, is served from memory while it is young, and moves to the object store behind everybody's back.
//! This crate does not know what a batch contains, who produces or consumes, or who leads what.
//!
//! ```text
//!   Stream::append ──> log cache ──────────────────────────┐ read
//!        │                 │ cut at a Checkpoint           ├──────> Stream::read
//!        v                 v                               │
//!       WAL            uploader ──> object ──> block cache ┘
//!        ^                 │ PrepareObjects, PUT, CommitObject
//!        └──── trim ───────┘ only from the applied commit
//! ```
//!
//! With [`Durability::Store`] a record is durable, and read, once it is in a committed object: the WAL is a buffer.
//!
//! The way in is [`Streams::open`], then [`Streams::stream`] for each partition. Offsets are `u64`, and an
//! `end` is exclusive.

/// A place where a test may stop the uploader for good, as a kill would.
macro_rules! fault {
    ($shared:expr, $stage:ident) => {
        #[cfg(test)]
        $shared.faults.reached(crate::tests::Stage::$stage).await;
    };
}

mod batch;
mod cold;
mod config;
mod error;
pub mod format;
mod fruitless;
mod lock;
mod log_cache;
mod marker;
mod mirroring;
mod open;
mod read;
mod recovery;
mod segment;
mod shared;
mod stream;
mod streams;
mod sweep;
mod takeover;
#[cfg(test)]
mod tests;
mod trim;
mod upload;

pub use batch::{Batch, Describe, Description};
pub use config::{Durability, StreamsConfig};
pub use error::{AppendError, DamagedObject, OpenError, ReadError, ShutdownError, TrimError};
pub use mirroring::{Connect, Mirroring};
pub use open::StreamsParts;
pub use read::{ReadRequest, StreamRange, TimeQuery};
pub use stream::{Checkpoint, Lsn, Stream, WalDead};
pub use streams::{Backpressure, StreamStats, Streams};
pub use takeover::{Blocked, Copies, CopyError, GivenUp, Loss, Recoverer, TakeOverError, Taken};
