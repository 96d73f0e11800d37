use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use aquifer_runtime::CancellationToken;
use tokio::sync::Notify;

use crate::frame::{FRAGMENT, MAX_FRAME};
use crate::frontier::{Frontier, Wait};
use crate::ring::RESERVE;
use crate::roll::Desk;
use crate::{AppendError, FullLimit, Lsn, Record, Usage, WalDead};

/// What may wait in memory for the disk, in bytes. A disk slower than its writers is their back-pressure.
const MAX_QUEUED: u64 = 64 << 20;

/// A record and what its owner wants back.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) record: Record,
    pub(crate) tag: T,
}

impl<T> Entry<T> {
    /// Bytes that it takes in one frame.
    pub(crate) fn bytes(&self) -> u64 {
        (self.record.payload.len() + FRAGMENT) as u64
    }
}

/// What the handles and the writer share. Locks are held for a few instructions, never across an await.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    queue: Mutex<Queue<T>>,
    /// Wakes the writer.
    pub(crate) wake: Notify,
    /// The end of what is durable on as many copies as it takes.
    committed: Frontier,
    /// The end of what is durable on our own disk, in this segment or in one that was left before its end was committed. Never
    /// less than what is committed.
    landed: Frontier,
    /// All that was issued has landed, and some of it is not committed: the writer sleeps until what is queued is worth a frame.
    all_landed: AtomicBool,
    trimmed: AtomicU64,
    /// Frames with records that were trimmed so far.
    freed_frames: AtomicU64,
    dead: OnceLock<WalDead>,
    /// Cancelled when the writer has ended.
    pub(crate) ended: CancellationToken,
    pub(crate) desk: Desk,
    capacity_bytes: u64,
    /// No frame is larger, and none crosses the end of a file.
    frame_bytes: u64,
}

#[derive(Debug)]
struct Queue<T> {
    entries: VecDeque<Entry<T>>,
    /// Bytes in `entries`.
    fresh_bytes: u64,
    /// Bytes not in a frame yet: `entries` and what the writer took of them.
    queued_bytes: u64,
    /// The writer sleeps until `fresh_bytes` reaches this.
    wake_at: u64,
    next_lsn: u64,
    closing: bool,
    /// Bytes that the ring takes before something is trimmed, and bytes of all its files.
    room: u64,
    total: u64,
    files_used: u64,
    mirrors_percent: u64,
    /// What is in frames and not trimmed: the LSN after the last record of each, and bytes.
    marks: VecDeque<(u64, u64)>,
}

/// What a frame changed.
pub(crate) struct Framed {
    /// Bytes taken off the queue.
    pub(crate) bytes: u64,
    /// The LSN after its last record.
    pub(crate) end: u64,
    pub(crate) room: u64,
    pub(crate) total: u64,
    /// Bytes of files that cannot be written before something is trimmed.
    pub(crate) files_used: u64,
    pub(crate) mirrors_percent: u64,
}

impl<T> Shared<T> {
    pub(crate) fn new(next_lsn: u64, trimmed: u64, capacity_bytes: u64, file_bytes: u64, desk: Desk) -> Self {
        Self {
            queue: Mutex::new(Queue {
                entries: VecDeque::new(),
                fresh_bytes: 0,
                queued_bytes: 0,
                wake_at: 1,
                next_lsn,
                closing: false,
                room: 0,
                total: 0,
                files_used: 0,
                mirrors_percent: 0,
                marks: VecDeque::new(),
            }),
            wake: Notify::new(),
            committed: Frontier::new(next_lsn),
            landed: Frontier::new(next_lsn),
            all_landed: AtomicBool::new(false),
            trimmed: AtomicU64::new(trimmed),
            freed_frames: AtomicU64::new(0),
            dead: OnceLock::new(),
            ended: CancellationToken::new(),
            desk,
            capacity_bytes,
            frame_bytes: file_bytes.min(MAX_FRAME as u64),
        }
    }

    pub(crate) fn append(&self, record: Record, tag: T) -> Result<Lsn, AppendError> {
        if record.payload.len() > Record::MAX_PAYLOAD {
            return Err(AppendError::TooLarge(record.payload.len()));
        }
        let entry = Entry { record, tag };
        let bytes = entry.bytes();
        let mut queue = self.queue();
        if let Some(ended) = self.refuses(&queue) {
            return Err(ended);
        }
        let queued_bytes = queue.queued_bytes + bytes;
        // A record that is larger than the limit passes when nothing else waits.
        if queued_bytes > MAX_QUEUED && queue.queued_bytes > 0 {
            let limit_kind = FullLimit::Queue;
            return Err(AppendError::Full { limit_kind, used: queue.queued_bytes, limit: MAX_QUEUED });
        }
        if self.space_for(queued_bytes) > queue.room {
            let used = queue.used();
            return Err(AppendError::Full {
                limit_kind: FullLimit::Capacity,
                used,
                limit: self.capacity_bytes,
            });
        }
        queue.queued_bytes = queued_bytes;
        queue.fresh_bytes += bytes;
        queue.entries.push_back(entry);
        let lsn = queue.next_lsn;
        queue.next_lsn += 1;
        let wake = queue.fresh_bytes >= queue.wake_at;
        if wake {
            queue.wake_at = u64::MAX;
        }
        drop(queue);
        if wake {
            self.wake.notify_one();
        }
        Ok(Lsn(lsn))
    }

    /// Why nothing is appended any more, if that is so.
    pub(crate) fn refusal(&self) -> Option<AppendError> {
        self.refuses(&self.queue())
    }

    fn refuses(&self, queue: &Queue<T>) -> Option<AppendError> {
        match self.dead() {
            Some(dead) => Some(dead.clone().into()),
            None => queue.closing.then_some(AppendError::Closed),
        }
    }

    /// What the ring must have left so that all of the queue surely fits.
    ///
    /// The writer puts as much of the queue into a frame as the frame and its file hold, so besides the records there is at
    /// most a header, a fragment's header and padding for each full frame, for the last one and for the current file's end.
    fn space_for(&self, queued_bytes: u64) -> u64 {
        const FRAME_COST: u64 = 2 * aquifer_disk::BLOCK as u64;
        let payload_of_frame = self.frame_bytes.saturating_sub(FRAME_COST).max(FRAME_COST / 4);
        let frames = queued_bytes / payload_of_frame + 2;
        queued_bytes + frames * FRAME_COST + RESERVE
    }

    pub(crate) async fn committed(&self, lsn: Lsn) -> Result<(), WalDead> {
        let wait = self.committed.wait(lsn.0, || self.is_over());
        self.passed(wait).await
    }

    pub(crate) async fn landed(&self, lsn: Lsn) -> Result<(), WalDead> {
        let wait = self.landed.wait(lsn.0, || self.is_over());
        // The writer says so before it looks for waiters: one of us sees the other.
        if matches!(wait, Wait::Until(_)) && self.all_landed.load(Ordering::SeqCst) {
            self.wake.notify_one();
        }
        self.passed(wait).await
    }

    async fn passed(&self, wait: Wait) -> Result<(), WalDead> {
        match wait {
            Wait::Passed => Ok(()),
            Wait::Over => Err(self.death()),
            Wait::Until(passed) => passed.await.map_err(|_| self.death()),
        }
    }

    fn is_over(&self) -> bool {
        self.ended.is_cancelled() || self.dead().is_some()
    }

    pub(crate) fn trim(&self, below: Lsn) {
        let committed = self.committed_end();
        assert!(
            below.0 <= committed,
            "a trim up to {below} beyond what is durable ({committed}) would lose records"
        );
        if self.trimmed.fetch_max(below.0, Ordering::AcqRel) < below.0 {
            let mut queue = self.queue();
            while queue.marks.front().is_some_and(|(end, _)| *end <= below.0) {
                queue.marks.pop_front();
                self.freed_frames.fetch_add(1, Ordering::Relaxed);
            }
            drop(queue);
            self.wake.notify_one();
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        let queue = self.queue();
        let framed = queue.marks.iter().map(|(_, bytes)| bytes).sum::<u64>();
        Usage {
            unoffloaded_bytes: framed + queue.queued_bytes,
            used_bytes: queue.used(),
            capacity_bytes: self.capacity_bytes,
            files_percent: queue.files_used * 100 / self.capacity_bytes.max(1),
            mirrors_percent: queue.mirrors_percent,
            committed: Lsn(self.committed_end()),
            landed: Lsn(self.landed.end()),
            appended: Lsn(queue.next_lsn),
            trimmed: Lsn(self.trimmed_end()),
        }
    }

    pub(crate) fn freed_frames(&self) -> u64 {
        self.freed_frames.load(Ordering::Relaxed)
    }

    pub(crate) fn dead(&self) -> Option<&WalDead> {
        self.dead.get()
    }

    pub(crate) fn death(&self) -> WalDead {
        self.dead()
            .cloned()
            .unwrap_or_else(|| WalDead { reason: "it was closed before the record was appended".into() })
    }

    pub(crate) fn close(&self) {
        self.queue().closing = true;
        self.wake.notify_one();
    }

    // The writer's side.

    pub(crate) fn committed_end(&self) -> u64 {
        self.committed.end()
    }

    pub(crate) fn trimmed_end(&self) -> u64 {
        self.trimmed.load(Ordering::Acquire)
    }

    /// Moves what was queued to `into`; bytes moved, and whether the log is closing.
    pub(crate) fn take(&self, into: &mut VecDeque<Entry<T>>) -> (u64, bool) {
        let mut queue = self.queue();
        if into.is_empty() {
            std::mem::swap(into, &mut queue.entries);
        } else {
            into.append(&mut queue.entries);
        }
        (std::mem::take(&mut queue.fresh_bytes), queue.closing)
    }

    /// Asks to be woken when `bytes` are queued; false if they are already.
    pub(crate) fn wake_at(&self, bytes: u64) -> bool {
        let mut queue = self.queue();
        queue.wake_at = bytes;
        queue.fresh_bytes < bytes
    }

    pub(crate) fn framed(&self, framed: &Framed) {
        let mut queue = self.queue();
        queue.queued_bytes -= framed.bytes;
        queue.room = framed.room;
        queue.total = framed.total;
        queue.files_used = framed.files_used;
        queue.mirrors_percent = framed.mirrors_percent;
        if framed.bytes > 0 {
            queue.marks.push_back((framed.end, framed.bytes));
        }
    }

    /// The last `frames` frames are void: `bytes` of theirs are queued again.
    pub(crate) fn taken_back(&self, bytes: u64, frames: usize) {
        let mut queue = self.queue();
        queue.queued_bytes += bytes;
        let kept = queue.marks.len() - frames;
        queue.marks.truncate(kept);
    }

    /// Records that an earlier process left are not offloaded either.
    pub(crate) fn recovered(&self, end: u64, bytes: u64) {
        self.queue().marks.push_back((end, bytes));
    }

    /// Everything below `end` is durable on as many copies as it takes.
    pub(crate) fn commit(&self, end: u64) {
        self.committed.advance(end);
    }

    /// Everything below `end` is durable on our own disk.
    pub(crate) fn land(&self, end: u64) {
        self.landed.advance(end);
    }

    /// Whether our own disk has nothing to do while somebody waits for it alone; `all_landed`: everything that was issued has
    /// landed, though it is not committed.
    pub(crate) fn is_disk_awaited(&self, all_landed: bool) -> bool {
        if self.all_landed.load(Ordering::Relaxed) != all_landed {
            self.all_landed.store(all_landed, Ordering::SeqCst);
        }
        all_landed && self.landed.is_awaited()
    }

    /// Nothing is acknowledged from here on. The first reason is the one that is told.
    pub(crate) fn die(&self, reason: String) {
        self.dead.get_or_init(|| {
            tracing::error!(reason, "the WAL is dead");
            WalDead { reason }
        });
        self.end();
    }

    /// The same at a close, which nothing is wrong with: its own copy has everything.
    pub(crate) fn give_up(&self, reason: String) {
        self.dead.get_or_init(|| {
            tracing::info!(reason, "the WAL ends");
            WalDead { reason }
        });
        self.end();
    }

    /// Lets go of everybody who waits for what will not come.
    pub(crate) fn end(&self) {
        let mut queue = self.queue();
        queue.closing = true;
        queue.fresh_bytes = 0;
        let entries = std::mem::take(&mut queue.entries);
        drop(queue);
        drop(entries);
        self.ended.cancel();
        self.landed.release();
        self.committed.release();
        self.wake.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        // Each change under the lock is whole even if what follows it panics.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Queue<T> {
    /// Bytes of files that cannot be written before something is trimmed, and of what is queued.
    fn used(&self) -> u64 {
        self.total - self.room + self.queued_bytes
    }
}
