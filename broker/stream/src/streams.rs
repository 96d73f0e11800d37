use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aquifer_types::{BrokerEpoch, NodeId, StreamId};
use tracing::{error, info, warn};

use crate::lock::lock;
use crate::segment;
use crate::shared::{LONGEST_PAUSE, Shared};
use crate::stream::StreamInner;
use crate::upload::oldest_needed;
use crate::{Durability, OpenError, ShutdownError, Stream, TrimError};

/// How long the last frames may take at a shutdown. A log that is frozen for want of mirrors does not end by itself.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

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

impl Backpressure {
    /// How long a producer should pause before its next append.
    pub fn pause(self) -> Duration {
        match self {
            Self::Free => Duration::ZERO,
            Self::Throttle(pause) => pause,
            Self::Refuse => LONGEST_PAUSE,
        }
    }
}

/// Counters and gauges of all streams of a broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Payload bytes that only the WAL and memory hold.
    pub unoffloaded_bytes: u64,
    /// How many of them there may be.
    pub unoffloaded_limit_bytes: u64,
    /// Copies that the WAL's present segment has, our own included.
    pub wal_copies: u64,
    /// Segments that were begun because mirrors came or went.
    pub wal_rolls: u64,
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
#[derive(Clone)]
pub struct Streams(pub(crate) Arc<Shared>);

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("node", &self.0.node).finish_non_exhaustive()
    }
}

impl Streams {
    /// The data stream of a partition that this broker leads, with what a recovery found of it. The same stream
    /// again is the same object.
    ///
    /// # Errors
    /// One of the two is not in the metadata.
    pub fn stream(&self, data: StreamId, meta: StreamId) -> Result<Stream, OpenError> {
        let Streams(shared) = self;
        let image = shared.metadata.image();
        let committed = image.stream(data).ok_or(OpenError::NoSuchStream(data))?;
        let checkpoints = image.stream(meta).ok_or(OpenError::NoSuchStream(meta))?;
        let inner = {
            let mut streams = lock(&shared.streams);
            let new = || Arc::new(StreamInner::new(data, committed.start, committed.end, Arc::clone(shared)));
            Arc::clone(streams.entry(data).or_insert_with(new))
        };
        inner.bind(meta, checkpoints.end)?;
        Ok(Stream(inner))
    }

    /// Forgets a stream that was deleted: its memory and its share of the WAL are free from now on. A stream that
    /// still exists in the metadata is left alone: its records are needed.
    pub fn remove(&self, data: StreamId) {
        let Streams(shared) = self;
        if shared.metadata.image().stream(data).is_some() {
            warn!(stream = %data, "a stream that exists is not forgotten");
            return;
        }
        let stream = lock(&shared.streams).remove(&data);
        if let Some(stream) = stream {
            stream.remove();
        }
    }

    /// Forgets a stream that another broker leads now: its memory is free from now on. What of it is not in the
    /// store is not this broker's to offload any more.
    pub fn release(&self, data: StreamId) {
        let stream = lock(&self.0.streams).remove(&data);
        if let Some(stream) = stream {
            let bytes = Stream(Arc::clone(&stream)).tail_bytes();
            // By the store's durability that was acknowledged to nobody.
            if bytes > 0 && self.0.config.durability == Durability::Wal {
                // Right after a takeover, which committed what the mirrors had; else the metadata contradicts the WAL.
                error!(stream = %data, bytes, "another broker leads a stream of which something is in this WAL alone");
            }
            stream.remove();
        }
    }

    /// This node and its registration.
    pub fn registration(&self) -> (NodeId, BrokerEpoch) {
        (self.0.node, self.0.broker_epoch)
    }

    /// Raises the start of many streams in one command (retention). One that moved away meanwhile is left to who leads it.
    ///
    /// # Errors
    /// Typed; can be repeated.
    pub async fn trim(&self, trims: Vec<(StreamId, u64)>) -> Result<(), TrimError> {
        crate::trim::trim(&self.0, trims).await.map(drop)
    }

    /// What producers should do now. Cheap.
    pub fn backpressure(&self) -> Backpressure {
        self.0.backpressure()
    }

    /// Whether appends of so many bytes together have room. Cheap.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.0.has_room(bytes)
    }

    /// Waits until appends of so many bytes together have room. Others may take it first.
    pub async fn room(&self, bytes: u64) {
        let Streams(shared) = self;
        loop {
            let less = shared.signals.less.notified();
            tokio::pin!(less);
            less.as_mut().enable();
            if shared.has_room(bytes) {
                return;
            }
            less.await;
        }
    }

    /// Uploads everything appended before the call, and waits until it is committed.
    ///
    /// # Errors
    /// The uploader has stopped.
    pub async fn flush(&self) -> Result<(), ShutdownError> {
        let signals = &self.0.signals;
        let mut done = signals.flush_done.subscribe();
        let asked = signals.ask_flush();
        let reached = done.wait_for(|done| done.as_ref().map_or(true, |done| *done >= asked)).await;
        let reason = match reached.as_deref() {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(reason)) => reason.clone(),
            Err(_) => "the streams are gone".to_owned(),
        };
        Err(self.left_over(reason))
    }

    /// Refuses appends, offloads everything, trims and closes the WAL and its segment.
    ///
    /// # Errors
    /// Not everything could be offloaded within `limit`; it stays in the WAL for the next start.
    pub async fn shutdown(&self, limit: Duration) -> Result<(), ShutdownError> {
        let Streams(shared) = self;
        if shared.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let flushed = match tokio::time::timeout(limit, self.flush()).await {
            Ok(flushed) => flushed,
            Err(_) => Err(self.left_over(format!("the object store did not take it within {limit:?}"))),
        };
        let nothing_left = flushed.is_ok() && lock(&shared.dirty).is_empty();
        if nothing_left {
            shared.wal.trim(aquifer_wal::Lsn(oldest_needed(shared)));
        }
        let closed = match tokio::time::timeout(CLOSE_LIMIT, shared.wal.close()).await {
            Ok(closed) => closed,
            Err(_) => {
                shared.wal.fence("it was closed while too few mirrors hold what was appended");
                shared.wal.close().await
            }
        };
        shared.stop.cancel();
        match closed {
            Ok(()) => {}
            // A mirror that did not acknowledge the last empty frame changes nothing for what is offloaded.
            Err(dead) if nothing_left => {
                info!(reason = dead.reason, "the WAL ended after everything was offloaded");
            }
            Err(dead) => return Err(self.left_over(dead.reason)),
        }
        if !nothing_left {
            flushed?;
            return Err(self.left_over("streams without an owner cannot be offloaded".to_owned()));
        }
        let segments = shared.segments.all(shared.wal.usage().appended.0);
        match segment::release(shared, &segments).await {
            Ok(()) => info!(?segments, "everything is offloaded, the WAL segments are released"),
            // Harmless: the next start finds the segment empty and releases it.
            Err(error) => warn!(%error, ?segments, "the empty WAL segments stay listed"),
        }
        shared.dissolve();
        Ok(())
    }

    fn left_over(&self, reason: String) -> ShutdownError {
        let unoffloaded_bytes = self.0.gauges.unoffloaded_bytes.load(Ordering::Relaxed);
        ShutdownError { unoffloaded_bytes, durability: self.0.config.durability, reason }
    }

    /// Counters and gauges.
    pub fn stats(&self) -> StreamStats {
        let Streams(shared) = self;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (gauges, cold) = (&shared.gauges, &shared.cold.counters);
        let (block_cache_bytes, index_cache_bytes) = shared.cold.cached_bytes();
        StreamStats {
            unoffloaded_bytes: read(&gauges.unoffloaded_bytes),
            unoffloaded_limit_bytes: shared.config.unoffloaded_max_bytes,
            wal_copies: u64::try_from(shared.segments.copies()).unwrap_or(0),
            wal_rolls: shared.segments.rolls(),
            tail_cache_bytes: read(&gauges.tail_cache_bytes),
            block_cache_bytes,
            index_cache_bytes,
            objects_committed: read(&gauges.objects_committed),
            object_bytes_committed: read(&gauges.object_bytes_committed),
            upload_failures: read(&gauges.upload_failures),
            objects_deleted: read(&gauges.objects_deleted),
            block_hits: read(&cold.block_hits),
            block_misses: read(&cold.block_misses),
            fetches: read(&cold.fetches),
            fetched_bytes: read(&cold.fetched_bytes),
            damaged: read(&cold.damaged),
        }
    }
}
