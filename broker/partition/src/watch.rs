//! Long polls: waiting until partitions have enough new bytes.
//!
//! One [`LongPoll`] stands for one waiting fetch over any number of partitions. Each of them credits it with what
//! becomes readable; the fetch wakes once, when the sum reaches what it waits for. Dropping it unregisters it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::Partition;

/// A fetch that waits for bytes.
#[derive(Debug)]
pub struct LongPoll {
    shared: Arc<Shared>,
    registrations: Vec<(Arc<Partition>, u64)>,
}

#[derive(Debug)]
struct Shared {
    /// Bytes still missing; the poll is ready at zero or less.
    missing: AtomicI64,
    ready: Notify,
}

impl Shared {
    fn credit(&self, bytes: i64) {
        if self.missing.fetch_sub(bytes, Ordering::AcqRel) <= bytes {
            self.ready.notify_one();
        }
    }

    fn wake(&self) {
        self.missing.store(0, Ordering::Release);
        self.ready.notify_one();
    }
}

impl LongPoll {
    /// Waits for `missing_bytes` more than the fetch has seen (its min bytes less what it read); at least one.
    pub fn new(missing_bytes: usize) -> Self {
        let missing = i64::try_from(missing_bytes).unwrap_or(i64::MAX / 4).clamp(1, i64::MAX / 4);
        Self {
            shared: Arc::new(Shared { missing: AtomicI64::new(missing), ready: Notify::new() }),
            registrations: Vec::new(),
        }
    }

    /// Counts what becomes readable in `partition` beyond `seen`, the high watermark that the fetch was told. Wakes at
    /// once when the partition is past it already, or closed.
    pub fn watch(&mut self, partition: &Arc<Partition>, seen: i64) {
        let id = partition.watchers().register(self.shared.clone());
        self.registrations.push((partition.clone(), id));
        // Looked at after registering: what comes later is credited, what came before is seen here.
        if partition.high_watermark() > seen || partition.is_closed() {
            self.shared.wake();
        }
    }

    /// Resolves when enough bytes came, or a watched partition closed. Cancel-safe.
    pub async fn ready(&self) {
        while self.shared.missing.load(Ordering::Acquire) > 0 {
            self.shared.ready.notified().await;
        }
    }
}

impl Drop for LongPoll {
    fn drop(&mut self) {
        for (partition, id) in self.registrations.drain(..) {
            partition.watchers().unregister(id);
        }
    }
}

/// The polls that wait for one partition, and the batches that are appended but not durable yet.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next_id: u64,
    polls: BTreeMap<u64, Arc<Shared>>,
    /// End offset and bytes of batches in flight; bounded by what the WAL takes in flight.
    in_flight: VecDeque<(u64, usize)>,
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, poll: Arc<Shared>) -> u64 {
        let mut waiting = self.lock();
        let id = waiting.next_id;
        waiting.next_id += 1;
        waiting.polls.insert(id, poll);
        id
    }

    fn unregister(&self, id: u64) {
        self.lock().polls.remove(&id);
    }

    /// A batch is about to be appended: called before, because it may be durable before the append returns.
    pub(crate) fn appending(&self, end: u64, bytes: usize) {
        self.lock().in_flight.push_back((end, bytes));
    }

    /// The batch of the last [`Watchers::appending`] was refused.
    pub(crate) fn refused(&self) {
        self.lock().in_flight.pop_back();
    }

    /// Everything before `end` is durable now.
    pub(crate) fn committed(&self, end: u64) {
        let mut waiting = self.lock();
        let mut bytes = 0;
        while waiting.in_flight.front().is_some_and(|(batch_end, _)| *batch_end <= end) {
            bytes += waiting.in_flight.pop_front().map_or(0, |(_, bytes)| bytes);
        }
        if waiting.in_flight.is_empty() && waiting.in_flight.capacity() > 64 {
            waiting.in_flight = VecDeque::new();
        }
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX / 4);
        for poll in waiting.polls.values() {
            poll.credit(bytes);
        }
    }

    /// Wakes everyone, because the partition closes.
    pub(crate) fn wake_all(&self) {
        for poll in self.lock().polls.values() {
            poll.wake();
        }
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.lock().polls.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn is_ready(poll: &LongPoll) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        matches!(pin!(poll.ready()).as_mut().poll(&mut context), Poll::Ready(()))
    }

    #[test]
    fn a_poll_wakes_when_the_bytes_it_waits_for_are_there_and_not_before() {
        let watchers = Watchers::default();
        let poll = LongPoll::new(100);
        let id = watchers.register(poll.shared.clone());
        for (end, bytes) in [(1, 60), (2, 39), (3, 1)] {
            watchers.appending(end, bytes);
        }
        watchers.committed(1);
        assert!(!is_ready(&poll));
        watchers.committed(2);
        assert!(!is_ready(&poll));
        watchers.committed(3);
        assert!(is_ready(&poll));
        watchers.unregister(id);
        assert_eq!(watchers.waiting(), 0);
    }

    #[test]
    fn a_refused_batch_is_not_counted() {
        let watchers = Watchers::default();
        let poll = LongPoll::new(10);
        watchers.register(poll.shared.clone());
        watchers.appending(1, 50);
        watchers.refused();
        watchers.appending(1, 5);
        watchers.committed(1);
        assert!(!is_ready(&poll));
        // A topic with many partitions goes away at once.
        for _ in 0..9 {
            watchers.wake_all();
        }
        assert!(is_ready(&poll));
    }
}
