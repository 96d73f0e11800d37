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
//! The way in is [`Streams::open`], then [`Streams::stream`] for each partition. Offsets are `u64`, and an
//! `end` is exclusive.

mod batch;
mod config;
mod error;
pub mod format;
mod read;
mod stream;
mod streams;

pub use batch::{Batch, Describe, Description};
pub use config::StreamsConfig;
pub use error::{AppendError, DamagedObject, OpenError, ReadError, ShutdownError, TrimError};
pub use read::{ReadRequest, StreamRange, TimeQuery};
pub use stream::{Checkpoint, Lsn, Stream};
pub use streams::{Backpressure, StreamStats, Streams};
