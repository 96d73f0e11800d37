use std::sync::{Arc, Weak};

use aquifer_types::StreamId;
use bytes::Bytes;

use crate::{AppendError, Batch, ReadError, ReadRequest, StreamRange, TimeQuery, TrimError};

/// A position in the WAL, growing with every append of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// What a partition does for its streams. Implemented by the layer above.
pub trait Checkpoint: Send + Sync {
    /// The log end of the data stream at some moment after the call began, and the partition's encoded state
    /// exactly at it. `None`: nothing to keep, the last checkpoint stays in force.
    ///
    /// Called by the uploader, with no lock of this crate held. The cut must lie between two batches.
    fn checkpoint(&self) -> (u64, Option<Bytes>);

    /// The durable end of the data stream (the high watermark) moved to `end`. Called in order, before waiters
    /// of the WAL wake, on the thread that completes WAL writes: must not block.
    fn committed(&self, end: u64) {
        let _ = end;
    }
}

/// One partition's data stream and its meta stream. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stream(Arc<StreamId>);

impl Stream {
    /// The data stream's id.
    pub fn id(&self) -> StreamId {
        *self.0
    }

    /// Makes the owner known; until then nothing of the stream is offloaded. Call it once the state was rebuilt
    /// from [`load_checkpoint`](Self::load_checkpoint) and [`tail`](Self::tail).
    pub fn attach(&self, owner: Weak<dyn Checkpoint>) {
        let _ = owner;
        unimplemented!()
    }

    /// Appends a batch that continues the stream (`batch.first` = [`end`](Self::end)), in the order of the calls.
    /// It is durable once [`durable`](Self::durable) of the returned LSN resolves; not before is it read.
    ///
    /// `buffer_bytes`: size of the buffer that `batch.payload` keeps alive, so that a small slice of a large
    /// request is copied rather than pinning it; the payload's length if unknown.
    ///
    /// Synchronous; holds one short lock, does no I/O.
    ///
    /// # Errors
    /// Nothing was appended; [`AppendError::Full`] is retriable.
    pub fn append(&self, batch: Batch, buffer_bytes: usize) -> Result<Lsn, AppendError> {
        let _ = (batch, buffer_bytes);
        unimplemented!()
    }

    /// Waits until everything up to and with `lsn` is durable.
    ///
    /// # Errors
    /// [`AppendError::Dead`]: it is unknown whether it became durable.
    pub async fn durable(&self, lsn: Lsn) -> Result<(), AppendError> {
        let _ = lsn;
        unimplemented!()
    }

    /// First offset that exists.
    pub fn start(&self) -> u64 {
        unimplemented!()
    }

    /// Offset after the last batch appended, durable or not.
    pub fn end(&self) -> u64 {
        unimplemented!()
    }

    /// Offset after the last durable batch: the high watermark. Never goes back.
    pub fn committed_end(&self) -> u64 {
        unimplemented!()
    }

    /// Offset after the last batch in committed objects.
    pub fn offloaded_end(&self) -> u64 {
        unimplemented!()
    }

    /// Waits until the committed end is greater than `beyond`, or the stream is closed.
    pub async fn wait_committed(&self, beyond: u64) -> u64 {
        let _ = beyond;
        unimplemented!()
    }

    /// Reads from the log cache alone; `None` when the offset is older than it. Does not wait.
    /// At the committed end the answer is no batches.
    pub fn read_cached(&self, request: &ReadRequest) -> Option<Result<Vec<Batch>, ReadError>> {
        let _ = request;
        unimplemented!()
    }

    /// Reads batches in order, the first one containing the offset. From memory without waiting, otherwise from
    /// the object store. May return less than asked for, but nothing only at the committed end, at
    /// `request.limit`, or when the first batch is too large and `min_one_batch` is off.
    ///
    /// # Errors
    /// Typed; never wrong data.
    pub async fn read(&self, request: &ReadRequest) -> Result<Vec<Batch>, ReadError> {
        let _ = request;
        unimplemented!()
    }

    /// The newest committed checkpoint; it stands for everything before [`offloaded_end`](Self::offloaded_end).
    ///
    /// # Errors
    /// As for a read.
    pub async fn load_checkpoint(&self) -> Result<Option<Bytes>, ReadError> {
        unimplemented!()
    }

    /// What is not in committed objects, for the replay after a start.
    pub fn tail(&self) -> Vec<Batch> {
        unimplemented!()
    }

    /// Payload bytes of the tail.
    pub fn tail_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// What committed objects hold, in offset order.
    pub fn ranges(&self) -> Vec<StreamRange> {
        unimplemented!()
    }

    /// Finds a batch by time among the committed ones.
    ///
    /// # Errors
    /// As for a read.
    pub async fn find(&self, query: TimeQuery) -> Result<Option<Batch>, ReadError> {
        let _ = query;
        unimplemented!()
    }

    /// Raises the start of the data stream. What lies before it is no longer read, and its objects are deleted
    /// once nothing else is in them. A lower start than the present one changes nothing.
    ///
    /// # Errors
    /// Typed; can be repeated.
    pub async fn trim(&self, new_start: u64) -> Result<(), TrimError> {
        let _ = new_start;
        unimplemented!()
    }
}
