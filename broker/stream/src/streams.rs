use std::time::Duration;

use aquifer_types::StreamId;

use crate::{OpenError, ShutdownError, Stream, TrimError};

/// What producers should do about the WAL's filling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backpressure {
    /// Nothing.
    Free,
    /// Over 70 % full: wait this long before the next append of the same connection.
    Throttle(Duration),
    /// Over 90 % full: appends are refused with a retriable error.
    Refuse,
}

/// Counters and gauges of all streams of a broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Payload bytes that only the WAL and memory hold.
    pub unoffloaded_bytes: u64,
    /// How many of them there may be.
    pub unoffloaded_limit_bytes: u64,
    /// Memory of the log caches.
    pub tail_cache_bytes: u64,
    /// Memory of the block cache.
    pub block_cache_bytes: u64,
    /// Memory of the index cache.
    pub index_cache_bytes: u64,
    /// Objects committed since the start.
    pub objects_committed: u64,
    /// Bytes of those.
    pub object_bytes_committed: u64,
    /// Attempts to upload or commit that failed.
    pub upload_failures: u64,
    /// Objects deleted since the start.
    pub objects_deleted: u64,
    /// Blocks that reads found in the block cache.
    pub block_hits: u64,
    /// Blocks that had to be fetched.
    pub block_misses: u64,
    /// Ranged reads from the store.
    pub fetches: u64,
    /// Bytes of those.
    pub fetched_bytes: u64,
    /// Blocks, indexes and footers that were not what was written.
    pub damaged: u64,
}

/// All streams of this broker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Streams(());

impl Streams {
    /// The data stream of a partition that this broker leads, with what a recovery found of it. The same stream
    /// again is the same object.
    ///
    /// # Errors
    /// The stream is not in the metadata.
    pub fn stream(&self, data: StreamId, meta: StreamId) -> Result<Stream, OpenError> {
        let _ = (data, meta);
        unimplemented!()
    }

    /// Forgets a stream that was deleted: its memory and its share of the WAL are free from now on.
    pub fn remove(&self, data: StreamId) {
        let _ = data;
        unimplemented!()
    }

    /// Raises the start of many streams in one command (retention).
    ///
    /// # Errors
    /// Typed; can be repeated.
    pub async fn trim(&self, trims: Vec<(StreamId, u64)>) -> Result<(), TrimError> {
        let _ = trims;
        unimplemented!()
    }

    /// What producers should do now. Cheap.
    pub fn backpressure(&self) -> Backpressure {
        unimplemented!()
    }

    /// Uploads everything appended before the call, and waits until it is committed.
    ///
    /// # Errors
    /// The uploader has stopped.
    pub async fn flush(&self) -> Result<(), ShutdownError> {
        unimplemented!()
    }

    /// Refuses appends, offloads everything, trims and closes the WAL and its segment.
    ///
    /// # Errors
    /// Not everything could be offloaded within `limit`; it stays in the WAL for the next start.
    pub async fn shutdown(&self, limit: Duration) -> Result<(), ShutdownError> {
        let _ = limit;
        unimplemented!()
    }

    /// Counters and gauges.
    pub fn stats(&self) -> StreamStats {
        unimplemented!()
    }
}
