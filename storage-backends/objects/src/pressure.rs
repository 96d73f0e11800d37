use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aquifer_runtime::Random;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The unit of [`Bytes`]' permits: a semaphore counts in `u32`, and a store's limit may be larger.
const PERMIT_BYTES: usize = 1024;
/// The wait after the first 503; doubles with each further one while none succeeds in between.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_LEVEL: u32 = 6;

/// Bounds the bytes on their way in one direction.
#[derive(Clone, Debug)]
pub(crate) struct ByteLimit {
    free: Arc<Semaphore>,
    total: usize,
}

impl ByteLimit {
    pub(crate) fn new(bytes: usize) -> Self {
        let total = (bytes / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { free: Arc::new(Semaphore::new(total)), total }
    }

    /// Waits for room for `bytes`, in order of arrival. What is larger than the limit has it alone.
    pub(crate) async fn claim(&self, bytes: u64) -> OwnedSemaphorePermit {
        let wanted = usize::try_from(bytes).unwrap_or(usize::MAX).div_ceil(PERMIT_BYTES).clamp(1, self.total);
        let wanted = u32::try_from(wanted).expect("the total fits in u32");
        Arc::clone(&self.free).acquire_many_owned(wanted).await.expect("the semaphore is never closed")
    }

    pub(crate) fn in_flight(&self) -> u64 {
        ((self.total - self.free.available_permits()) * PERMIT_BYTES) as u64
    }
}

/// What a store's 503 does to all its callers: nobody starts an attempt before the pause is over, and
/// the pause doubles while the store keeps answering 503. Successes take it back step by step.
#[derive(Debug)]
pub(crate) struct Pressure {
    state: Mutex<State>,
    random: Random,
}

#[derive(Debug, Default)]
struct State {
    level: u32,
    not_before: Option<Instant>,
}

impl Pressure {
    pub(crate) fn new(random: Random) -> Self {
        Self { state: Mutex::default(), random }
    }

    pub(crate) fn throttled(&self) {
        let mut state = self.lock();
        let now = Instant::now();
        // Requests that were on their way together all fail together: they count once.
        if state.not_before.is_some_and(|until| until > now) {
            return;
        }
        state.not_before = Some(now + FIRST_PAUSE * 2u32.pow(state.level));
        state.level = (state.level + 1).min(MAX_LEVEL);
    }

    pub(crate) fn succeeded(&self) {
        let mut state = self.lock();
        if state.level > 0 && state.not_before.is_none_or(|until| until <= Instant::now()) {
            state.level -= 1;
        }
    }

    /// Waits until the pause is over, and a random bit longer, so that the callers do not return as one.
    pub(crate) async fn wait(&self) {
        let until = self.lock().not_before;
        if let Some(until) = until.filter(|until| *until > Instant::now()) {
            let spread = Duration::from_millis(self.random.below(FIRST_PAUSE.as_millis() as u64));
            tokio::time::sleep_until(until + spread).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is two plain values: a panic cannot leave it broken.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_503_holds_everybody_back_and_the_next_one_for_longer() {
        let pressure = Pressure::new(Random::seeded(1));
        let start = Instant::now();
        pressure.wait().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        pressure.throttled();
        pressure.throttled();
        pressure.wait().await;
        let first = start.elapsed();
        assert!(first >= FIRST_PAUSE && first < FIRST_PAUSE * 2, "{first:?}");
        pressure.throttled();
        pressure.wait().await;
        assert!(start.elapsed() - first >= FIRST_PAUSE * 2);
        pressure.succeeded();
        pressure.succeeded();
        let before = Instant::now();
        pressure.wait().await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn bytes_in_flight_are_bounded_and_a_giant_goes_alone() {
        let limit = ByteLimit::new(10 * 1024);
        let small = limit.claim(4 * 1024).await;
        assert_eq!(limit.in_flight(), 4 * 1024);
        let giant = limit.claim(1 << 30);
        tokio::pin!(giant);
        assert!(futures::poll!(&mut giant).is_pending());
        drop(small);
        drop(giant.await);
        assert_eq!(limit.in_flight(), 0);
    }
}
