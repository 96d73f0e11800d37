//! Memory that requests may hold at once, claimed before it is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A claim that may be cut down to what is free is not cut below this.
const LEAST_SHARE: usize = 1 << 20;

/// A budget of bytes. Claims are served in the order they were made.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    total: usize,
    /// Claims that wait.
    waiting: Arc<AtomicUsize>,
}

/// Memory of requests. Produce requests wait for room in the WAL and have a budget of their own, so that fetches, commits
/// and heartbeats never queue behind them. What is decoded comes from a third: whoever holds a frame waits there only for
/// those who hold all that they need, never for another frame.
#[derive(Clone, Debug)]
pub(crate) struct RequestMemory {
    produces: Budget,
    others: Budget,
    decoded: Budget,
}

impl RequestMemory {
    /// `total` bytes for all.
    pub(crate) fn new(total: usize) -> Self {
        let (others, decoded) = (total / 8, total / 4);
        Self {
            produces: Budget::new(total - others - decoded),
            others: Budget::new(others),
            decoded: Budget::new(decoded),
        }
    }

    /// Where the frame of a request claims, by its API's key.
    pub(crate) fn of_frame(&self, api_key: i16) -> &Budget {
        if api_key == PRODUCE { &self.produces } else { &self.others }
    }

    /// Where a request whose frame is here claims what it becomes when it is decoded, once.
    pub(crate) fn decoded(&self) -> &Budget {
        &self.decoded
    }

    /// Bytes that are claimed now.
    pub(crate) fn claimed(&self) -> usize {
        self.produces.claimed() + self.others.claimed() + self.decoded.claimed()
    }
}

/// Produce's API key.
const PRODUCE: i16 = 0;

/// Memory of fetched records that are not sent yet. What the store is asked for has a budget of its own: consumers at
/// the tail never wait for a store that is slow or away.
#[derive(Clone, Debug)]
pub(crate) struct FetchMemory {
    /// Of what caches hold.
    pub(crate) cached: Budget,
    /// Of what the store is asked for.
    pub(crate) cold: Budget,
}

impl FetchMemory {
    /// `total` bytes for all.
    pub(crate) fn new(total: usize) -> Self {
        Self { cached: Budget::new(total / 2), cold: Budget::new(total - total / 2) }
    }

    /// Bytes that are claimed now.
    pub(crate) fn claimed(&self) -> usize {
        self.cached.claimed() + self.cold.claimed()
    }
}

/// Claimed bytes; given back on drop.
#[derive(Debug, Default)]
pub(crate) struct Claim(Option<Held>);

#[derive(Debug)]
struct Held {
    permit: OwnedSemaphorePermit,
    waiting: Arc<AtomicUsize>,
}

/// A claim that waits; it is counted until it has its bytes, or gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Budget {
    /// A budget of `total` bytes.
    pub(crate) fn new(total: usize) -> Self {
        let total = total.min(u32::MAX as usize);
        Self { free: Arc::new(Semaphore::new(total)), total, waiting: Arc::default() }
    }

    /// Waits until `bytes` are free. More than the whole budget is claimed as the whole budget, so
    /// that the largest request runs alone instead of never.
    pub(crate) async fn claim(&self, bytes: usize) -> Claim {
        let permits = u32::try_from(bytes.min(self.total)).expect("the total fits u32");
        let _waiting = Waiting::new(&self.waiting);
        let permit = self.free.clone().acquire_many_owned(permits).await;
        let permit = permit.expect("the semaphore is never closed");
        Claim(Some(Held { permit, waiting: self.waiting.clone() }))
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
        self.0.as_ref().map_or(0, |held| held.permit.num_permits())
    }

    /// Whether others wait for what it holds.
    pub(crate) fn is_wanted(&self) -> bool {
        self.bytes() > 0 && self.0.as_ref().is_some_and(|held| held.waiting.load(Ordering::Relaxed) > 0)
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if let Some(Held { permit, .. }) = &mut self.0 {
            drop(permit.split(permit.num_permits().saturating_sub(bytes)));
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
        assert!(!first.is_wanted());
        let mut second = Box::pin(budget.claim(30));
        assert!(futures::poll!(&mut second).is_pending());
        assert!(first.is_wanted());
        drop(first);
        let second = second.await;
        assert!(!second.is_wanted());
        assert_eq!(budget.claimed(), 30);
        drop(second);
        assert_eq!(budget.claimed(), 0);
    }

    #[tokio::test]
    async fn others_go_on_while_produces_wait_and_no_frame_waits_for_another_one_to_be_decoded() {
        let memory = RequestMemory::new(8 << 20);
        let produces = memory.of_frame(PRODUCE);
        let first = produces.claim(6 << 20).await;
        let mut second = Box::pin(produces.claim(1));
        assert!(futures::poll!(&mut second).is_pending());
        let _fetch = memory.of_frame(1).claim(100).await;
        // As many as there are frames: none holds a part of what another one waits for.
        let decoded = memory.decoded().claim(100 << 20).await;
        let mut next = Box::pin(memory.decoded().claim(100 << 20));
        assert!(futures::poll!(&mut next).is_pending());
        drop(decoded);
        let _next = next.await;
        drop(first);
        let _second = second.await;
    }

    #[tokio::test]
    async fn a_claim_beyond_the_budget_takes_all_of_it() {
        let budget = Budget::new(100);
        let _all = budget.claim(1_000).await;
        assert_eq!(budget.claimed(), 100);
    }
}
