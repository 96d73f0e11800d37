//! What all streams of a broker have in common.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aquifer_client::MetadataClient;
use aquifer_objects::Store;
use aquifer_runtime::{CancellationToken, Clock, TaskGroup};
use aquifer_types::{BrokerEpoch, ClusterId, NodeId, ObjectId, StreamId};
use aquifer_wal::Wal;
use tokio::sync::{Notify, watch};

use crate::cold::ColdReader;
use crate::lock::lock;
use crate::segment::Segments;
use crate::stream::StreamInner;
use crate::{Backpressure, StreamsConfig};

/// What the WAL gives back when a record is durable.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) stream: Arc<StreamInner>,
    pub(crate) end: u64,
}

/// Handles, limits and counters that streams, uploader and sweeper share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: StreamsConfig,
    pub(crate) wal: Wal<Committed>,
    pub(crate) store: Store,
    pub(crate) metadata: MetadataClient,
    pub(crate) clock: Clock,
    pub(crate) tasks: TaskGroup,
    /// Cancelled when the tasks of this crate shall end: at shutdown, or with the node.
    pub(crate) stop: CancellationToken,
    pub(crate) node: NodeId,
    pub(crate) broker_epoch: BrokerEpoch,
    pub(crate) cluster: ClusterId,
    /// The WAL segments of this process.
    pub(crate) segments: Segments,
    pub(crate) cold: ColdReader,
    /// No appends any more.
    pub(crate) closed: AtomicBool,
    /// Whether the store was found to be ours; the first upload checks it if the start could not.
    pub(crate) store_checked: AtomicBool,
    pub(crate) streams: Mutex<HashMap<StreamId, Arc<StreamInner>>>,
    /// Streams with batches that are not offloaded. Locked inside a stream's lock, never around it.
    pub(crate) dirty: Mutex<BTreeMap<StreamId, Arc<StreamInner>>>,
    /// Streams whose next upload carries a checkpoint even without new batches.
    pub(crate) renewing: Mutex<BTreeMap<StreamId, Arc<StreamInner>>>,
    /// Offloaded and still in a log cache, oldest first: what is evicted next.
    pub(crate) evictable: Mutex<VecDeque<(Arc<StreamInner>, u64)>>,
    pub(crate) signals: Signals,
    pub(crate) gauges: Gauges,
    #[cfg(test)]
    pub(crate) faults: crate::tests::Faults,
}

/// How the uploader is woken, and how others learn what it did.
#[derive(Debug)]
pub(crate) struct Signals {
    pub(crate) wake: Notify,
    /// Less waits for the store, or the WAL has more room.
    pub(crate) less: Notify,
    /// Flushes asked for so far.
    pub(crate) flush_asked: AtomicU64,
    /// Flushes done so far; an error once the uploader has ended.
    pub(crate) flush_done: watch::Sender<Result<u64, String>>,
}

impl Signals {
    /// Asks for an upload of everything appended so far; the number of the flush.
    pub(crate) fn ask_flush(&self) -> u64 {
        let asked = self.flush_asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.wake.notify_one();
        asked
    }
}

/// Counters and gauges; see [`crate::StreamStats`].
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) unoffloaded_bytes: AtomicU64,
    pub(crate) uncut_bytes: AtomicU64,
    pub(crate) tail_cache_bytes: AtomicU64,
    /// How full the WAL itself is, as of the uploader's last look.
    pub(crate) wal_percent: AtomicU64,
    pub(crate) objects_committed: AtomicU64,
    pub(crate) object_bytes_committed: AtomicU64,
    pub(crate) upload_failures: AtomicU64,
    pub(crate) objects_deleted: AtomicU64,
}

/// Producers are slowed down from here on, in percent of what may wait for the store.
const THROTTLE_PERCENT: u64 = 70;
/// Appends are refused from here on, in percent.
const REFUSE_PERCENT: u64 = 90;
/// The longest pause that back-pressure asks for, reached just below the point of refusal.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(500);

impl Shared {
    /// How full the WAL is, in percent: of what may wait for the store, or of its files.
    fn fill_percent(&self, more_bytes: u64) -> u64 {
        let waiting = self.gauges.unoffloaded_bytes.load(Ordering::Relaxed) + more_bytes;
        let of_limit = waiting.saturating_mul(100) / self.config.unoffloaded_max_bytes.max(1);
        of_limit.max(self.gauges.wal_percent.load(Ordering::Relaxed))
    }

    /// Whether an append of so many bytes has room. A stream that is empty may always write one batch, however
    /// large: otherwise a small limit would refuse it for ever.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let alone = self.gauges.unoffloaded_bytes.load(Ordering::Relaxed) == 0;
        self.fill_percent(if alone { 0 } else { bytes }) < REFUSE_PERCENT
    }

    pub(crate) fn backpressure(&self) -> Backpressure {
        match self.fill_percent(0) {
            ..THROTTLE_PERCENT => Backpressure::Free,
            percent @ THROTTLE_PERCENT..REFUSE_PERCENT => {
                let share = (percent + 1 - THROTTLE_PERCENT) as f64;
                let share = share / (REFUSE_PERCENT - THROTTLE_PERCENT) as f64;
                Backpressure::Throttle(LONGEST_PAUSE.mul_f64(share * share))
            }
            _ => Backpressure::Refuse,
        }
    }

    /// Accounts for an append, and wakes the uploader if that is its sign.
    pub(crate) fn appended(&self, payload_bytes: u64, cache_bytes: u64) {
        let gauges = &self.gauges;
        gauges.unoffloaded_bytes.fetch_add(payload_bytes, Ordering::Relaxed);
        gauges.tail_cache_bytes.fetch_add(cache_bytes, Ordering::Relaxed);
        let before = gauges.uncut_bytes.fetch_add(payload_bytes, Ordering::Relaxed);
        let limit = self.config.upload_bytes;
        if before == 0 || (before < limit && before + payload_bytes >= limit) {
            self.signals.wake.notify_one();
        }
    }

    /// Evicts offloaded batches, oldest first, until the log caches fit their budget again.
    pub(crate) fn evict(&self) {
        self.forget_evicted();
        loop {
            let waiting = self.gauges.unoffloaded_bytes.load(Ordering::Relaxed);
            let budget = self.config.tail_cache_bytes.saturating_add(waiting);
            let used = self.gauges.tail_cache_bytes.load(Ordering::Relaxed);
            let Some(excess) = used.checked_sub(budget).filter(|excess| *excess > 0) else { return };
            let Some((stream, end)) = lock(&self.evictable).pop_front() else { return };
            let freed = stream.evict(end, excess);
            self.gauges.tail_cache_bytes.fetch_sub(freed, Ordering::Relaxed);
            if freed >= excess {
                // Perhaps only a part of the range went.
                lock(&self.evictable).push_front((stream, end));
            }
        }
    }

    /// Drops entries from the front of `evictable` of which nothing is cached any more (trimmed, or deleted).
    fn forget_evicted(&self) {
        loop {
            let Some((stream, end)) = lock(&self.evictable).pop_front() else { return };
            if stream.caches_before(end) {
                return lock(&self.evictable).push_front((stream, end));
            }
        }
    }

    /// Breaks the cycle between streams and what they share. Only after the tasks have ended.
    pub(crate) fn dissolve(&self) {
        lock(&self.streams).clear();
        lock(&self.dirty).clear();
        lock(&self.renewing).clear();
        lock(&self.evictable).clear();
    }
}

/// Objects in one folder: HDFS limits a directory's entries.
pub(crate) const OBJECTS_PER_FOLDER: u64 = 1000;

/// Where an object lies.
pub(crate) fn object_key(object: ObjectId) -> String {
    let number = object.get();
    format!("{}/{number:020}", object_folder(number / OBJECTS_PER_FOLDER))
}

/// Where the objects of a thousand ids lie.
pub(crate) fn object_folder(folder: u64) -> String {
    format!("data/{folder:017}")
}

/// Which object lies at `key`; `None` if it is not one of ours.
pub(crate) fn object_of(key: &str) -> Option<ObjectId> {
    let object = ObjectId(key.rsplit('/').next()?.parse().ok()?);
    (object_key(object) == key).then_some(object)
}
