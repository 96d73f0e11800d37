//! Reads from objects, for consumers that are behind the log cache.
//!
//! ```text
//!   read(offset) ─> image: which object ─> index cache ─> which block ─> block cache ─> batches
//!                                              │ miss                        │ miss
//!                                              └── last bytes of object      └── one ranged read of 1-4 MiB
//!                          one fetch, however many wait for it; read-ahead fetches before it is asked
//! ```
//!
//! Nothing here touches the log cache: a replay of the whole history never evicts the tail.

mod blocks;
mod indexes;
mod lru;
mod read;
mod read_ahead;
mod search;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aquifer_image::{CommittedRange, Image, ObjectState};
use aquifer_objects::{ErrorKind, Store, StoreError};
use aquifer_types::{ClusterId, ObjectId, StreamId};
use tokio::sync::Semaphore;

use self::blocks::BlockCache;
use self::indexes::IndexCache;
pub(crate) use self::read_ahead::ReadAhead;
use crate::shared::object_key;
use crate::{DamagedObject, ReadError, StreamsConfig};

/// Read-aheads running at once; more are left out, the reader then fetches for itself.
const READ_AHEADS_IN_FLIGHT: usize = 8;

/// The caches and counters of cold reads.
#[derive(Debug)]
pub(crate) struct ColdReader {
    store: Store,
    cluster: ClusterId,
    indexes: IndexCache,
    blocks: BlockCache,
    read_aheads: Arc<Semaphore>,
    /// The largest ranged read: a fraction of the cache, so that several consumers fit into it.
    widest_window: u64,
    pub(crate) counters: Counters,
}

/// See [`crate::StreamStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) block_hits: AtomicU64,
    pub(crate) block_misses: AtomicU64,
    pub(crate) fetches: AtomicU64,
    pub(crate) fetched_bytes: AtomicU64,
    pub(crate) damaged: AtomicU64,
}

/// A range of a stream in an object, with what is needed to read it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) stream: StreamId,
    pub(crate) object: ObjectId,
    pub(crate) object_bytes: u64,
    pub(crate) first: u64,
    pub(crate) end: u64,
}

impl Place {
    /// `None` if the image contradicts itself about the object.
    pub(crate) fn of(image: &Image, range: CommittedRange) -> Option<Place> {
        let (ObjectState::Committed { commit, .. } | ObjectState::Marked { commit: Some(commit), .. }) =
            image.object(range.object)?
        else {
            return None;
        };
        Some(Place {
            stream: range.stream,
            object: range.object,
            object_bytes: commit.size_bytes,
            first: range.first,
            end: range.end,
        })
    }

    /// The error for damage that costs this whole range, or one block of it.
    fn damaged(&self, block: Option<(usize, u64, u64)>, reason: String) -> ReadError {
        let (first, end) = block.map_or((self.first, self.end), |(_, first, end)| (first, end));
        ReadError::Damaged(Arc::new(DamagedObject {
            key: object_key(self.object),
            block: block.map(|(number, ..)| number),
            stream: self.stream,
            first,
            end,
            reason,
        }))
    }

    fn store_error(&self, error: StoreError) -> ReadError {
        match error.kind {
            ErrorKind::NotFound => ReadError::Missing {
                key: object_key(self.object),
                stream: self.stream,
                first: self.first,
                end: self.end,
            },
            ErrorKind::Truncated => self.damaged(None, format!("it is truncated: {}", error.detail)),
            _ => ReadError::Store { stream: self.stream, reason: error.to_string() },
        }
    }
}

impl ColdReader {
    pub(crate) fn new(store: Store, cluster: ClusterId, config: &StreamsConfig) -> Self {
        ColdReader {
            store,
            cluster,
            indexes: IndexCache::new(config.index_cache_bytes),
            blocks: BlockCache::new(config.block_cache_bytes),
            read_aheads: Arc::new(Semaphore::new(READ_AHEADS_IN_FLIGHT)),
            widest_window: (config.block_cache_bytes / 16)
                .clamp(read_ahead::NARROWEST_WINDOW, read_ahead::WIDEST_WINDOW),
            counters: Counters::default(),
        }
    }

    /// Forgets what is cached of a deleted object.
    pub(crate) fn forget(&self, object: ObjectId) {
        self.indexes.forget(object);
    }

    /// Memory of the block cache and the index cache.
    pub(crate) fn cached_bytes(&self) -> (u64, u64) {
        (self.blocks.bytes(), self.indexes.bytes())
    }

    /// Forgets everything, so that the next reads go to the store.
    #[cfg(test)]
    pub(crate) fn clear(&self) {
        self.blocks.clear();
        self.indexes.clear();
    }

    fn fetched(&self, bytes: u64) {
        self.counters.fetches.fetch_add(1, Ordering::Relaxed);
        self.counters.fetched_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts damage where it is found; those who wait for the same fetch get the same error.
    fn count_damage(&self, error: ReadError) -> ReadError {
        if matches!(error, ReadError::Damaged(_) | ReadError::Missing { .. }) {
            self.counters.damaged.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "an object cannot be read");
        }
        error
    }
}
