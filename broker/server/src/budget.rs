//! Memory that requests may hold at once, claimed before it is used.

use std::sync::Arc;

use crate::frame::SMALL_FRAME_BYTES;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A claim that may be cut down to what is free is not cut below this.
const LEAST_SHARE: usize = 1 << 20;

/// A budget of bytes. Claims are served in the order they were made.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    total: usize,
}

/// The share of the requests' memory that only small requests may use.
const SMALL_SHARE: usize = 8;

/// Memory of requests. Small ones have a share of their own: fetches, commits and heartbeats never queue behind
/// produce requests that wait for room in the WAL.
#[derive(Clone, Debug)]
pub(crate) struct RequestMemory {
    small: Budget,
    large: Budget,
}

impl RequestMemory {
    /// `total` bytes for both kinds.
    pub(crate) fn new(total: usize) -> Self {
        let small = total / SMALL_SHARE;
        Self { small: Budget::new(small), large: Budget::new(total - small) }
    }

    /// Where a request claims that arrived in a frame of so many bytes.
    pub(crate) fn of_frame(&self, bytes: usize) -> &Budget {
        if bytes <= SMALL_FRAME_BYTES { &self.small } else { &self.large }
    }

    /// Bytes that are claimed now.
    pub(crate) fn claimed(&self) -> usize {
        self.small.claimed() + self.large.claimed()
    }
}

/// Claimed bytes; given back on drop.
#[derive(Debug, Default)]
pub(crate) struct Claim(Option<OwnedSemaphorePermit>);

impl Budget {
    /// A budget of `total` bytes.
    pub(crate) fn new(total: usize) -> Self {
        let total = total.min(u32::MAX as usize);
        Self { free: Arc::new(Semaphore::new(total)), total }
    }

    /// Waits until `bytes` are free. More than the whole budget is claimed as the whole budget, so
    /// that the largest request runs alone instead of never.
    pub(crate) async fn claim(&self, bytes: usize) -> Claim {
        let permits = u32::try_from(bytes.min(self.total)).expect("the total fits u32");
        let permit = self.free.clone().acquire_many_owned(permits).await;
        Claim(Some(permit.expect("the semaphore is never closed")))
    }

    /// Claims as much of `bytes` as is free now, and waits only while not even [`LEAST_SHARE`] is.
    pub(crate) async fn claim_some(&self, bytes: usize) -> Claim {
        let free = self.free.available_permits();
        self.claim(bytes.min(free.max(LEAST_SHARE))).await
    }

    /// Bytes that are claimed now.
    pub(crate) fn claimed(&self) -> usize {
        self.total - self.free.available_permits()
    }
}

impl Claim {
    /// Bytes claimed.
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            drop(permit.split(permit.num_permits().saturating_sub(bytes)));
        }
    }

    /// Adds another claim of the same budget to this one.
    pub(crate) fn merge(&mut self, other: Claim) {
        match (&mut self.0, other.0) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine @ None, theirs) => *mine = theirs,
            (Some(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_claim_waits_for_what_others_give_back() {
        let budget = Budget::new(100);
        let first = budget.claim(80).await;
        let mut second = Box::pin(budget.claim(30));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        let mut second = second.await;
        second.merge(budget.claim(10).await);
        assert_eq!(budget.claimed(), 40);
        drop(second);
        assert_eq!(budget.claimed(), 0);
    }

    #[tokio::test]
    async fn small_requests_go_on_while_large_ones_wait() {
        let memory = RequestMemory::new(8 << 20);
        let _all = memory.of_frame(1 << 20).claim(7 << 20).await;
        assert!(futures::poll!(Box::pin(memory.of_frame(1 << 20).claim(1 << 20))).is_pending());
        let small = memory.of_frame(100).claim(100).await;
        assert_eq!(memory.claimed(), (7 << 20) + small.bytes());
    }

    #[tokio::test]
    async fn a_claim_beyond_the_budget_takes_all_of_it() {
        let budget = Budget::new(100);
        let _all = budget.claim(1_000).await;
        assert_eq!(budget.claimed(), 100);
    }
}
