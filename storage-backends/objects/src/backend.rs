//! The seam to the real stores: single attempts, no retries, no time limits, no metrics. Those are
//! `attempt`'s, once for all.

mod file;
mod hdfs;
mod memory;
mod object;
mod s3;
mod simulated;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub(crate) use file::FileBackend;
pub(crate) use hdfs::HdfsBackend;
pub(crate) use memory::MemoryBackend;
pub(crate) use s3::S3Backend;
pub(crate) use simulated::SimulatedBackend;

use crate::error::Failure;
use crate::store::ObjectInfo;

/// A store. Keys and ranges are checked by the caller.
///
/// An object appears whole or not at all, under a key that no object had. What an interrupted write
/// leaves behind is never listed or read; [`Backend::discard`] and [`Backend::orphans`] find it.
#[async_trait]
pub(crate) trait Backend: Debug + Send + Sync {
    /// Creates an object of all `parts`. `attempt` counts from 0; a backend may become more modest.
    async fn put_new(&self, key: &str, parts: &[Bytes], attempt: u32) -> Result<(), Failure>;

    /// Starts a streaming upload.
    async fn begin(&self, key: &str, attempt: u32) -> Result<Arc<dyn Session>, Failure>;

    /// Reads `range`, or everything. The bytes may be fewer than asked for: the caller compares.
    async fn read(&self, key: &str, range: Option<Range<u64>>) -> Result<Read, Failure>;

    async fn head(&self, key: &str) -> Result<ObjectInfo, Failure>;

    /// Removes an object; that it was absent is success.
    async fn delete(&self, key: &str) -> Result<(), Failure>;

    /// Objects below `prefix` (whole segments, "" is all) with keys after `after`, in any order if the
    /// page is the last one, else in key order.
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, Failure>;

    /// Left-overs of uploads that were started before `before_ms`; with `key` only of that key. A store
    /// need not be able to list them without a key.
    async fn orphans(&self, key: Option<&str>, before_ms: i64) -> Result<Vec<Orphan>, Failure>;

    /// Removes a left-over; that it was absent is success.
    async fn remove_orphan(&self, orphan: &Orphan) -> Result<(), Failure>;

    /// For the probe: whether a delete under a condition that does not hold leaves the object alone; None
    /// if this kind of store has no such thing.
    async fn deletes_conditionally(&self, _key: &str) -> Result<Option<bool>, Failure> {
        Ok(None)
    }

    /// When what was given to log in with ends and is not renewed from here, in ms since 1970; None if it does not.
    fn credentials_end_ms(&self) -> Option<i64> {
        None
    }
}

/// A streaming upload. Its parts may be sent in any order if [`Session::parallel`] is above one.
#[async_trait]
pub(crate) trait Session: Debug + Send + Sync {
    /// How many parts may be on their way at once. If 1, a part that failed ends the upload; else it may
    /// be sent again.
    fn parallel(&self) -> usize;

    /// Takes the part as the pieces that it consists of.
    async fn part(&self, index: u32, pieces: &[Bytes]) -> Result<(), Failure>;

    /// Makes the object appear. May be repeated if the effect of a failed one is unknown.
    async fn complete(&self) -> Result<(), Failure>;

    /// Removes what was uploaded.
    async fn abort(&self) -> Result<(), Failure>;
}

/// What a read returned.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) bytes: Bytes,
    /// The size of the whole object.
    pub(crate) object_size: u64,
}

/// A page of a listing.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) objects: Vec<ObjectInfo>,
    pub(crate) more: bool,
}

/// What an interrupted upload left behind.
#[derive(Clone, Debug)]
pub(crate) struct Orphan {
    /// The key it was for, as far as it is known.
    pub(crate) key: String,
    /// How the backend finds it again.
    pub(crate) handle: String,
}
