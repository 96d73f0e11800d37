use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// An LSN that only grows, and who waits until it has passed theirs.
#[derive(Debug)]
pub(crate) struct Frontier {
    end: AtomicU64,
    /// Who waits, ordered by LSN.
    waiters: Mutex<VecDeque<(u64, oneshot::Sender<()>)>>,
}

/// What a wait comes to.
pub(crate) enum Wait {
    /// It has passed.
    Passed,
    /// Nothing passes any more.
    Over,
    /// When this resolves; an error if nothing passes any more.
    Until(oneshot::Receiver<()>),
}

impl Frontier {
    pub(crate) fn new(end: u64) -> Self {
        Self { end: AtomicU64::new(end), waiters: Mutex::default() }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Waits until the record at `lsn` lies behind it. `over` must be true before [`release`](Self::release) is called.
    pub(crate) fn wait(&self, lsn: u64, over: impl FnOnce() -> bool) -> Wait {
        if self.end() > lsn {
            return Wait::Passed;
        }
        let mut waiters = self.waiters();
        // The writer moves the end and looks for waiters with the lock between, so that one of us sees the other.
        if self.end() > lsn {
            return Wait::Passed;
        }
        if over() {
            return Wait::Over;
        }
        let (sender, receiver) = oneshot::channel();
        let place = waiters.partition_point(|(other, _)| *other <= lsn);
        waiters.insert(place, (lsn, sender));
        Wait::Until(receiver)
    }

    /// Moves the end and wakes who waited for it, in LSN order. Never back: a smaller end changes nothing.
    pub(crate) fn advance(&self, end: u64) {
        if end <= self.end() {
            return;
        }
        self.end.store(end, Ordering::Release);
        let mut waiters = self.waiters();
        while waiters.front().is_some_and(|(lsn, _)| *lsn < end) {
            let (_, waiter) = waiters.pop_front().expect("it is there");
            // Who waited may be gone.
            let _ = waiter.send(());
        }
    }

    /// Whether anybody waits.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.waiters().is_empty()
    }

    /// Lets go of everybody who waits for what will not come.
    pub(crate) fn release(&self) {
        let waiters = std::mem::take(&mut *self.waiters());
        drop(waiters);
    }

    fn waiters(&self) -> MutexGuard<'_, VecDeque<(u64, oneshot::Sender<()>)>> {
        // Each change under the lock is whole even if what follows it panics.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn until(frontier: &Frontier, lsn: u64) -> oneshot::Receiver<()> {
        match frontier.wait(lsn, || false) {
            Wait::Until(receiver) => receiver,
            Wait::Passed | Wait::Over => panic!("{lsn} has not been passed"),
        }
    }

    #[test]
    fn waiters_wake_when_theirs_is_passed_and_it_never_goes_back() {
        let frontier = Frontier::new(5);
        assert!(matches!(frontier.wait(4, || true), Wait::Passed), "passed is passed, also when all is over");
        let (mut seventh, mut fifth) = (until(&frontier, 7), until(&frontier, 5));
        frontier.advance(7);
        assert_eq!((&mut fifth).now_or_never(), Some(Ok(())));
        assert_eq!((&mut seventh).now_or_never(), None);
        frontier.advance(6);
        assert_eq!(frontier.end(), 7);
        frontier.release();
        assert!(matches!((&mut seventh).now_or_never(), Some(Err(_))));
        assert!(matches!(frontier.wait(7, || true), Wait::Over));
    }
}
