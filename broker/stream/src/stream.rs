use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};

use aquifer_types::StreamId;
use aquifer_wal::Record;
pub use aquifer_wal::{Lsn, WalDead};
use bytes::Bytes;
use tokio::sync::Notify;

use crate::cold::ReadAhead;
use crate::lock::lock;
use crate::log_cache::{LogCache, Lookup};
use crate::shared::{Committed, Shared};
use crate::{
    AppendError, Batch, Durability, OpenError, ReadError, ReadRequest, StreamRange, TimeQuery, TrimError,
};

/// A slice is copied out of its buffer when the buffer is more than this many times larger.
const COPY_WHEN_BUFFER_IS_TIMES: usize = 2;
/// Nothing larger than this is copied out: its buffer cannot be that much larger.
const COPY_AT_MOST_BYTES: usize = 1 << 20;

/// What a partition does for its streams. Implemented by the layer above.
pub trait Checkpoint: Send + Sync {
    /// The log end of the data stream at some moment after the call began, and the partition's encoded state
    /// exactly at it. `None`: nothing to keep, the last checkpoint stays in force.
    ///
    /// Called by the uploader, with no lock of this crate held. The cut must lie between two batches.
    fn checkpoint(&self) -> (u64, Option<Bytes>);

    /// The durable end of the data stream (the high watermark) moved to `end`. Called in order, before anybody who waits for
    /// it wakes, on the task that completes WAL writes or, with [`Durability::Store`], uploads: must not block, nor append.
    fn committed(&self, end: u64) {
        let _ = end;
    }
}

/// One partition's data stream and its meta stream. Cheap to clone.
#[derive(Clone)]
pub struct Stream(pub(crate) Arc<StreamInner>);

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The state behind all handles of a stream.
pub(crate) struct StreamInner {
    pub(crate) data: StreamId,
    /// Known once somebody asked for the stream; a recovery knows only the data stream.
    meta: OnceLock<StreamId>,
    pub(crate) shared: Arc<Shared>,
    log: Mutex<Log>,
    /// Durable end, published by the WAL's sink or by the uploader.
    committed: AtomicU64,
    start: AtomicU64,
    removed: AtomicBool,
    moved: Notify,
    owner: RwLock<Option<Weak<dyn Checkpoint>>>,
    pub(crate) read_ahead: Mutex<ReadAhead>,
}

/// What the one short lock of a stream guards.
struct Log {
    cache: LogCache,
    /// Whether the stream is in `Shared::dirty`.
    dirty: bool,
    /// The next offset of the meta stream.
    meta_next: u64,
}

/// What a stream contributes to an upload.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) stream: Arc<StreamInner>,
    pub(crate) batches: Vec<Batch>,
    pub(crate) bytes: u64,
    /// Everything before this offset is in this upload or in an earlier one.
    pub(crate) end: u64,
    pub(crate) checkpoint: Option<(StreamId, Batch)>,
}

impl fmt::Debug for StreamInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("data", &self.data)
            .field("start", &self.start)
            .field("committed", &self.committed)
            .finish_non_exhaustive()
    }
}

impl StreamInner {
    /// A stream whose objects end at `end`.
    pub(crate) fn new(data: StreamId, start: u64, end: u64, shared: Arc<Shared>) -> Self {
        StreamInner {
            data,
            meta: OnceLock::new(),
            log: Mutex::new(Log { cache: LogCache::new(end), dirty: false, meta_next: 0 }),
            committed: AtomicU64::new(end),
            start: AtomicU64::new(start),
            removed: AtomicBool::new(false),
            moved: Notify::new(),
            owner: RwLock::new(None),
            read_ahead: Mutex::default(),
            shared,
        }
    }

    /// Puts back what the WAL had; durable as it is.
    pub(crate) fn recover(self: &Arc<Self>, batch: Batch, lsn: u64) {
        let mut log = lock(&self.log);
        self.enlist(&mut log);
        let (bytes, end) = (batch.payload.len() as u64, batch.end);
        let charge = log.cache.push(batch, lsn);
        drop(log);
        self.committed.store(end, Ordering::Release);
        self.shared.appended(bytes, charge);
    }

    /// Tells which meta stream belongs to it; `next` is that one's committed end.
    pub(crate) fn bind(&self, meta: StreamId, next: u64) -> Result<(), OpenError> {
        let mut log = lock(&self.log);
        match self.meta.set(meta) {
            Ok(()) => log.meta_next = next,
            Err(_) if self.meta.get() == Some(&meta) => {}
            Err(_) => return Err(OpenError::NoSuchStream(meta)),
        }
        Ok(())
    }

    /// The stream of its checkpoints, once somebody asked for the stream.
    pub(crate) fn meta(&self) -> Option<StreamId> {
        self.meta.get().copied()
    }

    fn enlist(self: &Arc<Self>, log: &mut Log) {
        if !log.dirty {
            log.dirty = true;
            lock(&self.shared.dirty).insert(self.data, Arc::clone(self));
        }
    }

    fn is_closed(&self) -> bool {
        self.removed.load(Ordering::Acquire) || self.shared.closed.load(Ordering::Acquire)
    }

    fn owner(&self) -> Option<Arc<dyn Checkpoint>> {
        self.owner.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Weak::upgrade)
    }

    /// The durable end moved: publishes it. Called in order, by the WAL's sink or by the uploader.
    pub(crate) fn publish(&self, end: u64) {
        self.committed.store(end, Ordering::Release);
        if let Some(owner) = self.owner() {
            owner.committed(end);
        }
        self.moved.notify_waiters();
    }

    /// Takes what an upload shall carry; `None` if there is nothing new and nothing to `renew`, or nobody to ask for
    /// a checkpoint.
    pub(crate) fn cut(self: &Arc<Self>, renew: bool) -> Option<Cut> {
        {
            let log = lock(&self.log);
            if log.cache.cut_end() == log.cache.end() && !renew {
                return None;
            }
        }
        let owner = self.owner()?;
        // Not under our lock: the owner takes its own and may be appending under it.
        let (cut, checkpoint) = owner.checkpoint();
        let meta = *self.meta.get()?;
        let mut log = lock(&self.log);
        let nothing_new = cut == log.cache.cut_end() && !renew;
        if self.removed.load(Ordering::Acquire) || cut < log.cache.cut_end() || nothing_new {
            return None;
        }
        let batches = log.cache.cut(cut);
        let checkpoint = checkpoint.map(|payload| {
            let first = log.meta_next;
            log.meta_next += 1;
            (meta, Batch { first, end: first + 1, records: 1, max_timestamp_ms: -1, payload })
        });
        let bytes = batches.iter().map(|batch| batch.payload.len() as u64).sum();
        self.shared.gauges.uncut_bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(Cut { stream: Arc::clone(self), batches, bytes, end: cut, checkpoint })
    }

    /// Everything before `end` is in committed objects.
    pub(crate) fn offloaded(self: &Arc<Self>, end: u64) {
        let mut log = lock(&self.log);
        if self.removed.load(Ordering::Acquire) {
            return;
        }
        let bytes = log.cache.offload(end);
        if log.dirty && log.cache.oldest_unoffloaded_lsn().is_none() {
            log.dirty = false;
            lock(&self.shared.dirty).remove(&self.data);
        }
        drop(log);
        self.shared.gauges.unoffloaded_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.shared.signals.less.notify_waiters();
        lock(&self.shared.evictable).push_back((Arc::clone(self), end));
        // What a WAL of another mode left was durable before.
        if self.shared.config.durability == Durability::Store && end > self.committed_end() {
            self.publish(end);
        }
    }

    pub(crate) fn evict(&self, to: u64, wanted: u64) -> u64 {
        lock(&self.log).cache.evict(to, wanted)
    }

    pub(crate) fn caches_before(&self, offset: u64) -> bool {
        lock(&self.log).cache.first() < offset
    }

    pub(crate) fn oldest_unoffloaded_lsn(&self) -> Option<u64> {
        lock(&self.log).cache.oldest_unoffloaded_lsn()
    }

    /// The stream was deleted: forgets it.
    pub(crate) fn remove(&self) {
        let mut log = lock(&self.log);
        if self.removed.swap(true, Ordering::AcqRel) {
            return;
        }
        let (memory, unoffloaded, uncut) = log.cache.clear();
        log.dirty = false;
        lock(&self.shared.dirty).remove(&self.data);
        drop(log);
        let gauges = &self.shared.gauges;
        gauges.tail_cache_bytes.fetch_sub(memory, Ordering::Relaxed);
        gauges.unoffloaded_bytes.fetch_sub(unoffloaded, Ordering::Relaxed);
        gauges.uncut_bytes.fetch_sub(uncut, Ordering::Relaxed);
        self.shared.signals.less.notify_waiters();
        self.moved.notify_waiters();
    }

    pub(crate) fn start(&self) -> u64 {
        self.start.load(Ordering::Acquire)
    }

    pub(crate) fn committed_end(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    pub(crate) fn raise_start(&self, start: u64) {
        self.start.fetch_max(start, Ordering::AcqRel);
        let freed = lock(&self.log).cache.evict(start, u64::MAX);
        self.shared.gauges.tail_cache_bytes.fetch_sub(freed, Ordering::Relaxed);
    }

    /// Looks through the cached batches from `from` on that are durable; an error if they are cached no more.
    pub(crate) fn search_cache<R>(
        &self,
        from: u64,
        search: impl for<'b> FnOnce(Box<dyn Iterator<Item = &'b Batch> + 'b>) -> R,
    ) -> Result<R, Evicted> {
        let committed = self.committed_end();
        let log = lock(&self.log);
        let batches = log.cache.batches_from(from).ok_or(Evicted)?.filter(|b| b.end <= committed);
        Ok(search(Box::new(batches)))
    }

    /// Reads from the log cache; `None` if the offset is older than it.
    pub(crate) fn read_cached(&self, request: &ReadRequest) -> Option<Result<Vec<Batch>, ReadError>> {
        if self.removed.load(Ordering::Acquire) {
            return Some(Err(ReadError::Closed(self.data)));
        }
        let (start, end) = (self.start(), self.committed_end());
        if request.offset < start || request.offset > end {
            return Some(Err(ReadError::OutOfRange {
                stream: self.data,
                offset: request.offset,
                start,
                end,
            }));
        }
        if request.offset == end {
            return Some(Ok(Vec::new()));
        }
        match lock(&self.log).cache.read(request, request.limit.min(end)) {
            Lookup::Here(batches) => Some(Ok(batches)),
            Lookup::Before => None,
        }
    }
}

/// The batches asked for are not in the log cache any more.
#[derive(Debug)]
pub(crate) struct Evicted;

impl Stream {
    /// The data stream's id.
    pub fn id(&self) -> StreamId {
        self.0.data
    }

    /// The meta stream's id.
    pub fn meta_id(&self) -> StreamId {
        *self.0.meta.get().expect("handles are given out for bound streams")
    }

    /// Makes the owner known; until then nothing of the stream is offloaded. Call it once the state was rebuilt
    /// from [`load_checkpoint`](Self::load_checkpoint) and [`tail`](Self::tail).
    pub fn attach(&self, owner: Weak<dyn Checkpoint>) {
        *self.0.owner.write().unwrap_or_else(PoisonError::into_inner) = Some(owner);
        self.0.shared.signals.wake.notify_one();
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
    ///
    /// # Panics
    /// If the batch does not continue the stream: its owner lost count, and going on would lose records.
    pub fn append(&self, batch: Batch, buffer_bytes: usize) -> Result<Lsn, AppendError> {
        let Stream(inner) = self;
        let shared = &inner.shared;
        let bytes = batch.payload.len() as u64;
        let batch = unpin(batch, buffer_bytes);
        let mut log = lock(&inner.log);
        if inner.is_closed() {
            return Err(AppendError::Closed(inner.data));
        }
        assert!(batch.first == log.cache.end() && batch.first < batch.end, "appends are contiguous");
        if !shared.has_room(bytes) {
            return Err(self.full());
        }
        // Enlisted before the WAL gives out an LSN: whoever sees that LSN finds the stream in the list.
        inner.enlist(&mut log);
        let record = Record {
            stream: inner.data.get(),
            first_offset: batch.first,
            end_offset: batch.end,
            payload: batch.payload.clone(),
        };
        let tag = Committed { stream: Arc::clone(inner), end: batch.end };
        let lsn = shared.wal.append(record, tag).map_err(|error| self.refused(error))?;
        let charge = log.cache.push(batch, lsn.0);
        drop(log);
        shared.appended(bytes, charge);
        Ok(lsn)
    }

    /// Why an append of so many bytes would be refused now, whatever it holds. That nothing is taken any more is told from
    /// the first refusal on, for ever.
    pub fn refusal(&self, bytes: usize) -> Option<AppendError> {
        let Stream(inner) = self;
        if inner.is_closed() {
            return Some(AppendError::Closed(inner.data));
        }
        if let Some(error) = inner.shared.wal.refusal() {
            return Some(self.refused(error));
        }
        (!inner.shared.has_room(bytes as u64)).then(|| self.full())
    }

    fn full(&self) -> AppendError {
        let shared = &self.0.shared;
        AppendError::Full {
            unoffloaded_bytes: shared.gauges.unoffloaded_bytes.load(Ordering::Relaxed),
            limit_bytes: shared.config.unoffloaded_max_bytes,
        }
    }

    fn refused(&self, error: aquifer_wal::AppendError) -> AppendError {
        match error {
            aquifer_wal::AppendError::Full { used, limit, .. } => {
                self.0.shared.signals.wake.notify_one();
                AppendError::Full { unoffloaded_bytes: used, limit_bytes: limit }
            }
            aquifer_wal::AppendError::TooLarge(bytes) => AppendError::TooLarge { bytes },
            aquifer_wal::AppendError::Dead(dead) => AppendError::Dead(dead.reason),
            aquifer_wal::AppendError::Closed => AppendError::Closed(self.0.data),
        }
    }

    /// What makes its records durable.
    pub fn durability(&self) -> Durability {
        self.0.shared.config.durability
    }

    /// Copies that the WAL's present segment has, our own disk's included; 0 while too few are there to write one.
    pub fn copies(&self) -> i32 {
        self.0.shared.segments.copies()
    }

    /// Waits until everything up to and with `lsn` is durable, by [`Durability::Wal`].
    ///
    /// # Errors
    /// The WAL died: it is unknown whether it became durable.
    pub async fn durable(&self, lsn: Lsn) -> Result<(), WalDead> {
        self.0.shared.wal.committed(lsn).await
    }

    /// Waits until everything up to and with `lsn` is durable on this broker's own disk: nobody reads it yet, and it may be lost
    /// with this broker. The same as [`durable`](Self::durable) where that disk is the only copy.
    ///
    /// # Errors
    /// As for [`durable`](Self::durable).
    pub async fn landed(&self, lsn: Lsn) -> Result<(), WalDead> {
        self.0.shared.wal.landed(lsn).await
    }

    /// Waits until everything before `end` is durable, by [`Durability::Store`]: in committed objects. Of this stream alone, as
    /// others may never get there: another broker may lead them by now.
    ///
    /// # Errors
    /// [`AppendError::Closed`]: the stream was deleted, or another broker leads it; [`AppendError::Dead`]: nothing is uploaded
    /// any more. It is unknown whether it became durable.
    pub async fn offloaded(&self, end: u64) -> Result<(), AppendError> {
        let Stream(inner) = self;
        let mut flushes = inner.shared.signals.flush_done.subscribe();
        loop {
            let moved = inner.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if inner.committed_end() >= end {
                return Ok(());
            }
            if inner.removed.load(Ordering::Acquire) {
                return Err(AppendError::Closed(inner.data));
            }
            tokio::select! {
                () = moved => {}
                ended = flushes.wait_for(Result::is_err) => {
                    let reason = match ended.as_deref() {
                        Ok(Err(reason)) => reason.clone(),
                        _ => "the streams are gone".to_owned(),
                    };
                    return Err(AppendError::Dead(reason));
                }
            }
        }
    }

    /// First offset that exists.
    pub fn start(&self) -> u64 {
        self.0.start()
    }

    /// Offset after the last batch appended, durable or not.
    pub fn end(&self) -> u64 {
        lock(&self.0.log).cache.end()
    }

    /// Offset after the last durable batch: the high watermark. Never goes back.
    pub fn committed_end(&self) -> u64 {
        self.0.committed_end()
    }

    /// Offset after the last batch in committed objects.
    pub fn offloaded_end(&self) -> u64 {
        lock(&self.0.log).cache.offloaded()
    }

    /// Waits until the committed end is greater than `beyond`, or the stream is closed; returns it.
    pub async fn wait_committed(&self, beyond: u64) -> u64 {
        loop {
            let moved = self.0.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let end = self.0.committed_end();
            if end > beyond || self.0.is_closed() {
                return end;
            }
            moved.await;
        }
    }

    /// Reads from the log cache alone; `None` when the offset is older than it. Does not wait.
    /// At the committed end the answer is no batches.
    pub fn read_cached(&self, request: &ReadRequest) -> Option<Result<Vec<Batch>, ReadError>> {
        self.0.read_cached(request)
    }

    /// Reads batches in order, the first one containing the offset. From memory without waiting, otherwise from
    /// the object store. May return less than asked for, but nothing only at the committed end, at
    /// `request.limit`, or when the first batch is too large and `min_one_batch` is off.
    ///
    /// # Errors
    /// Typed; never wrong data.
    pub async fn read(&self, request: &ReadRequest) -> Result<Vec<Batch>, ReadError> {
        match self.0.read_cached(request) {
            Some(answer) => answer,
            None => Box::pin(self.0.read_cold(request)).await,
        }
    }

    /// The newest committed checkpoint; it stands for everything before [`offloaded_end`](Self::offloaded_end)
    /// as long as no owner is attached.
    ///
    /// # Errors
    /// As for a read.
    pub async fn load_checkpoint(&self) -> Result<Option<Bytes>, ReadError> {
        self.0.load_checkpoint(self.meta_id()).await
    }

    /// What is not in committed objects, for the replay after a start.
    pub fn tail(&self) -> Vec<Batch> {
        lock(&self.0.log).cache.unoffloaded()
    }

    /// Payload bytes of the tail.
    pub fn tail_bytes(&self) -> u64 {
        lock(&self.0.log).cache.unoffloaded_bytes()
    }

    /// What committed objects hold, in offset order.
    pub fn ranges(&self) -> Vec<StreamRange> {
        let image = self.0.shared.metadata.image();
        let ranges = image.ranges(self.0.data, 0);
        ranges
            .map(|range| StreamRange {
                first: range.first,
                end: range.end,
                records: range.records,
                bytes: range.bytes,
                max_timestamp_ms: range.max_timestamp_ms,
            })
            .collect()
    }

    /// Finds a batch by time among those that are committed and not trimmed.
    ///
    /// # Errors
    /// As for a read.
    pub async fn find(&self, query: TimeQuery) -> Result<Option<Batch>, ReadError> {
        self.0.find(query).await
    }

    /// Raises the start of the data stream. What lies before it is no longer read, and its objects are deleted
    /// once nothing else is in them. A lower start than the present one changes nothing.
    ///
    /// # Errors
    /// Typed; can be repeated.
    pub async fn trim(&self, new_start: u64) -> Result<(), TrimError> {
        let left_out = crate::trim::trim(&self.0.shared, vec![(self.0.data, new_start)]).await?;
        left_out.first().map_or(Ok(()), |stream| Err(TrimError::Closed(*stream)))
    }
}

/// Copies a small slice out of a large buffer, which it would keep alive for as long as it is cached.
fn unpin(batch: Batch, buffer_bytes: usize) -> Batch {
    let bytes = batch.payload.len();
    if bytes <= COPY_AT_MOST_BYTES && bytes.saturating_mul(COPY_WHEN_BUFFER_IS_TIMES) < buffer_bytes {
        return Batch { payload: Bytes::copy_from_slice(&batch.payload), ..batch };
    }
    batch
}
