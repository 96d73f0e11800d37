//! The uploader: moves what was appended to the object store, and lets the WAL go.
//!
//! ```text
//!   dirty streams ── cut at each owner's checkpoint ──> jobs (a few, in order)
//!      each job:  wait until durable ─> PrepareObjects ─> PUT ─> wait for its turn ─> CommitObject
//!      in order:  log caches learn what is offloaded ─> WAL trimmed below the oldest that is not
//! ```
//!
//! Several PUTs are in flight, their commits stay in order, because each range must continue its stream. One
//! task owns all of this; appends only bump counters and wake it.

mod job;
mod put;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aquifer_types::SegmentId;
use aquifer_wal::{Lsn, WalDead};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

pub(crate) use self::job::UploadError;
use self::job::{Done, Job};
pub(crate) use self::put::{commit_ranges, put_object};
use crate::lock::lock;
use crate::segment;
use crate::shared::Shared;
use crate::trim::TrimQueue;

/// Above this share of its files, or of what its mirrors hold for it, the WAL gives retention of offloaded bytes up, and
/// uploads start early.
const BUSY_PERCENT: u64 = 50;
/// What is uploaded stays with the mirrors up to here, for a rescue by hand. Their windows are small: from half on what comes in while an
/// object is on its way would slow producers down.
const MIRRORS_KEEP_PERCENT: u64 = 25;
/// What waits longer than this is uploaded while the WAL is that full.
const BUSY_AGE: Duration = Duration::from_secs(1);
/// How often the WAL's filling is looked at while something is going on.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Streams of one upload: their ranges and those of their meta streams fit one metadata command.
const STREAMS_PER_JOB: usize = 8_000;

/// Segments of earlier processes, to be closed once nothing of them is needed.
#[derive(Debug)]
pub(crate) struct OldSegments {
    /// The LSN after their last record.
    pub(crate) end_lsn: u64,
    /// Each with its end.
    pub(crate) segments: Vec<(SegmentId, u64)>,
}

pub(crate) struct Uploader {
    shared: Arc<Shared>,
    /// Jobs that were cut and wait for a place.
    queued: std::collections::VecDeque<Job>,
    in_flight: FuturesOrdered<BoxFuture<'static, Result<Done, UploadError>>>,
    /// Resolves when the last job that was started has committed.
    turn: Option<oneshot::Receiver<()>>,
    trims: TrimQueue,
    old_segments: Option<OldSegments>,
    /// Since when bytes wait for an upload.
    waiting_since: Option<Instant>,
    /// After a cut that found nothing to take (streams without an owner): not again before this.
    not_before: Instant,
    flushes_cut: u64,
}

impl Uploader {
    pub(crate) fn new(shared: Arc<Shared>, old_segments: Option<OldSegments>) -> Self {
        Uploader {
            shared,
            queued: Default::default(),
            in_flight: FuturesOrdered::new(),
            turn: None,
            trims: TrimQueue::default(),
            old_segments,
            waiting_since: None,
            not_before: Instant::now(),
            flushes_cut: 0,
        }
    }

    /// Runs until the streams stop, or something happens that no retry can mend.
    pub(crate) async fn run(mut self) -> Result<(), UploadError> {
        let stop = self.shared.stop.clone();
        let shared = Arc::clone(&self.shared);
        let working = async {
            tokio::select! {
                biased;
                // Also with nothing to upload: a broker whose WAL is dead must not live on and refuse.
                dead = dead_while_open(&shared) => Err(dead.into()),
                ended = self.work() => ended,
            }
        };
        let result = stop.run_until_cancelled(working).await.unwrap_or(Ok(()));
        let reason = match &result {
            Ok(()) => "the uploader was stopped".to_owned(),
            Err(error) => error.to_string(),
        };
        drop(self.shared.signals.flush_done.send_replace(Err(reason)));
        result
    }

    async fn work(&mut self) -> Result<(), UploadError> {
        // What a recovery found offloaded may go in its time.
        self.note_floor(0);
        loop {
            let now = Instant::now();
            self.look_at_wal(now);
            self.start_queued();
            let free = self.queued.is_empty() && self.in_flight.len() < self.shared.config.uploads_in_flight;
            if free && self.is_due(now) {
                self.cut().await;
                continue;
            }
            let wake_at = self.next_look(now, free);
            tokio::select! {
                biased;
                Some(done) = self.in_flight.next(), if !self.in_flight.is_empty() => self.finished(done?),
                () = self.shared.signals.wake.notified() => {}
                () = sleep_until(wake_at.unwrap_or(now)), if wake_at.is_some() => {}
            }
        }
    }

    fn start_queued(&mut self) {
        while self.in_flight.len() < self.shared.config.uploads_in_flight {
            let Some(job) = self.queued.pop_front() else { return };
            let (committed, next_turn) = oneshot::channel();
            let turn = self.turn.replace(next_turn);
            let run = job::run(Arc::clone(&self.shared), job, turn, committed);
            self.in_flight.push_back(Box::pin(run));
        }
    }

    /// Whether there is reason to cut now.
    fn is_due(&mut self, now: Instant) -> bool {
        let shared = &self.shared;
        if shared.signals.flush_asked.load(Ordering::Acquire) > self.flushes_cut {
            return true;
        }
        let uncut = shared.gauges.uncut_bytes.load(Ordering::Relaxed);
        if uncut == 0 {
            self.waiting_since = None;
            return false;
        }
        let since = *self.waiting_since.get_or_insert(now);
        let full = uncut >= shared.config.upload_bytes;
        let age = now.duration_since(since);
        let old = age >= shared.config.upload_age;
        // A full WAL is emptied early, but not by an object for every append.
        let worth_it = uncut >= shared.config.upload_bytes / 8 || age >= BUSY_AGE;
        let busy = worth_it && shared.gauges.wal_percent.load(Ordering::Relaxed) >= BUSY_PERCENT;
        (full || old || busy) && now >= self.not_before
    }

    /// When to look again though nobody wakes us.
    fn next_look(&self, now: Instant, free: bool) -> Option<Instant> {
        let age = self.waiting_since.filter(|_| free).map(|since| since + self.shared.config.upload_age);
        let age = age.map(|at| at.max(self.not_before));
        let busy = self.waiting_since.is_some()
            || !self.in_flight.is_empty()
            || self.shared.gauges.wal_percent.load(Ordering::Relaxed) >= BUSY_PERCENT;
        let look = busy.then(|| now + LOOK_INTERVAL);
        [age, look, self.trims.next_due()].into_iter().flatten().min()
    }

    /// Notes how full the WAL is, and trims what may go.
    fn look_at_wal(&mut self, now: Instant) {
        let usage = self.shared.wal.usage();
        let capacity = usage.capacity_bytes.max(1);
        let crowded_percent = usage.mirrors_percent.max(usage.files_percent);
        let percent = (usage.unoffloaded_bytes.saturating_mul(100) / capacity).max(crowded_percent);
        if self.shared.gauges.wal_percent.swap(percent, Ordering::Relaxed) > percent {
            self.shared.signals.less.notify_waiters();
        }
        let beyond = |percent: u64, kept_percent: u64| {
            let share = percent.saturating_sub(kept_percent);
            usage.unoffloaded_bytes.saturating_mul(share) / percent.max(1)
        };
        let excess = usage
            .unoffloaded_bytes
            .saturating_sub(capacity / 100 * BUSY_PERCENT)
            .max(beyond(usage.files_percent, BUSY_PERCENT))
            .max(beyond(usage.mirrors_percent, MIRRORS_KEEP_PERCENT));
        if let Some(below) = self.trims.take(now, excess) {
            self.shared.wal.trim(Lsn(below));
        }
    }

    /// Cuts all dirty streams, and those with a checkpoint to renew, into jobs.
    async fn cut(&mut self) {
        let shared = Arc::clone(&self.shared);
        let flush = shared.signals.flush_asked.load(Ordering::Acquire);
        let mut streams = lock(&shared.dirty).clone();
        let renewing = std::mem::take(&mut *lock(&shared.renewing));
        streams.extend(renewing.iter().map(|(id, stream)| (*id, Arc::clone(stream))));
        let mut jobs = Vec::new();
        let mut job = Job::default();
        for (at, (id, stream)) in streams.into_iter().enumerate() {
            if let Some(cut) = stream.cut(renewing.contains_key(&id)) {
                job.add(cut);
            }
            if job.cuts.len() >= STREAMS_PER_JOB || job.bytes >= 2 * shared.config.upload_bytes {
                jobs.push(std::mem::take(&mut job));
            }
            if at % 64 == 63 {
                tokio::task::yield_now().await;
            }
        }
        self.waiting_since = None;
        if flush > self.flushes_cut {
            self.flushes_cut = flush;
            job.flush = Some(flush);
        }
        if !job.cuts.is_empty() || job.flush.is_some() {
            jobs.push(job);
        }
        if jobs.is_empty() {
            self.not_before = Instant::now() + LOOK_INTERVAL;
        }
        // Taken after the cuts: everything they cover is durable once this is.
        let appended = shared.wal.usage().appended;
        for job in &mut jobs {
            job.durable_below = appended;
        }
        self.queued.extend(jobs);
    }

    /// A job has committed; called in the order of the jobs.
    fn finished(&mut self, done: Done) {
        let gauges = &self.shared.gauges;
        if let Some(object_bytes) = done.object_bytes {
            gauges.objects_committed.fetch_add(1, Ordering::Relaxed);
            gauges.object_bytes_committed.fetch_add(object_bytes, Ordering::Relaxed);
        }
        for cut in &done.job.cuts {
            if done.gone.contains(&cut.stream.data) {
                cut.stream.remove();
            } else {
                cut.stream.offloaded(cut.end);
            }
        }
        self.note_floor(done.job.bytes);
        self.shared.evict();
        if let Some(flush) = done.job.flush {
            drop(self.shared.signals.flush_done.send_replace(Ok(flush)));
        }
    }

    /// Finds out up to where the WAL is not needed any more.
    fn note_floor(&mut self, bytes: u64) {
        let floor = oldest_needed(&self.shared);
        self.trims.push(floor, bytes, Instant::now() + self.shared.config.retain_after_offload);
        let old = self.old_segments.take_if(|old| old.end_lsn <= floor).map(|old| old.segments);
        let done: Vec<_> = self.shared.segments.take_closed(floor).chain(old.into_iter().flatten()).collect();
        if !done.is_empty() {
            segment::release_in_background(&self.shared, done);
        }
    }
}

/// Resolves when the WAL dies. During a shutdown its close tells that.
async fn dead_while_open(shared: &Shared) -> WalDead {
    let dead = shared.wal.died().await;
    match shared.closed.load(Ordering::Acquire) {
        true => std::future::pending().await,
        false => dead,
    }
}

/// The LSN below which nothing is needed: all of it is in committed objects, or belongs to deleted streams.
pub(crate) fn oldest_needed(shared: &Shared) -> u64 {
    // Read before the streams: a record with a smaller LSN is in its stream's cache, or its appender still holds
    // that stream's lock, and the stream was enlisted before.
    let usage = shared.wal.usage();
    let dirty: Vec<_> = lock(&shared.dirty).values().cloned().collect();
    let oldest = dirty.iter().filter_map(|stream| stream.oldest_unoffloaded_lsn()).min();
    oldest.unwrap_or(u64::MAX).min(usage.committed.0).min(usage.appended.0)
}
