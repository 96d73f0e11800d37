use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aquifer_runtime::Random;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::error::{Effect, ErrorKind, Failure, StoreError};
use crate::metrics::{Metrics, Operation};
use crate::options::{RetryLimits, StoreOptions};
use crate::pressure::Pressure;

/// Runs attempts of one store: time limit, retries with back-off and jitter, back-pressure, metrics.
#[derive(Debug)]
pub(crate) struct Attempts {
    pub(crate) store: Arc<str>,
    pub(crate) metrics: Arc<Metrics>,
    pressure: Pressure,
    pub(crate) random: Random,
    retry: RetryLimits,
    time_limit: Duration,
    slowest_bytes_per_second: u64,
}

/// One call: what it does, to what, how much it carries, and whether it may be repeated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) operation: Operation,
    pub(crate) key: &'a str,
    pub(crate) bytes: u64,
    pub(crate) repeat: Repeat,
}

/// Whether a second attempt may follow a failed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It only reads: a failure has no effect, and it may be repeated.
    Read,
    /// Repeating it does no harm.
    Idempotent,
    /// A failed attempt ends it.
    Never,
}

/// What an attempt is told about the ones before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    /// Attempts before this one.
    pub(crate) attempts: u32,
    /// One of them may have had an effect.
    pub(crate) unknown: bool,
}

impl Attempts {
    pub(crate) fn new(
        store: Arc<str>,
        options: &StoreOptions,
        random: Random,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            store,
            metrics,
            pressure: Pressure::new(random.clone()),
            random,
            retry: options.retry,
            time_limit: options.time_limit,
            slowest_bytes_per_second: options.slowest_bytes_per_second.max(1),
        }
    }

    /// Calls `attempt` until it succeeds, fails for good, or the limits are reached.
    pub(crate) async fn run<T, F>(
        &self,
        call: Call<'_>,
        mut attempt: impl FnMut(Before) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let start = Instant::now();
        let mut before = Before { attempts: 0, unknown: false };
        loop {
            let mut failure = match self.once(call, attempt(before)).await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            before.attempts += 1;
            if call.repeat == Repeat::Read {
                failure = failure.of_read();
            }
            before.unknown |= failure.effect == Effect::Unknown;
            if before.unknown {
                failure.effect = Effect::Unknown;
            }
            let wait = self.wait_after(before.attempts);
            let more = failure.kind.is_transient()
                && call.repeat != Repeat::Never
                && before.attempts < self.retry.attempts
                && start.elapsed() + wait < self.retry.within;
            if !more {
                return Err(self.error(call, before.attempts, failure));
            }
            warn!(
                operation = call.operation.label(), key = call.key, store = %self.store,
                attempt = before.attempts, kind = failure.kind.label(), detail = failure.detail,
                wait_ms = wait.as_millis() as u64, "store call failed, trying again",
            );
            self.metrics.retry(wait);
            tokio::time::sleep(wait).await;
        }
    }

    async fn once<T>(
        &self,
        call: Call<'_>,
        attempt: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.pressure.wait().await;
        let limit = self.time_limit
            + Duration::from_secs_f64(call.bytes as f64 / self.slowest_bytes_per_second as f64);
        let start = Instant::now();
        let result = match tokio::time::timeout(limit, attempt).await {
            Ok(result) => result,
            Err(_) => Err(Failure::unknown(ErrorKind::Timeout, format!("{:.1} s", limit.as_secs_f64()))),
        };
        let took = start.elapsed();
        self.metrics.attempt(call.operation, took, result.as_ref().map(|_| call.bytes).map_err(|f| f.kind));
        match &result {
            Ok(_) => self.pressure.succeeded(),
            Err(failure) if failure.kind == ErrorKind::Throttled => self.pressure.throttled(),
            Err(_) => {}
        }
        debug!(
            operation = call.operation.label(),
            key = call.key,
            bytes = call.bytes,
            took_ms = took.as_millis() as u64,
            ok = result.is_ok(),
            "store call",
        );
        result
    }

    /// Full jitter: anything between nothing and the doubled wait, so that callers spread out.
    fn wait_after(&self, attempts: u32) -> Duration {
        let ceiling =
            self.retry.first_wait.saturating_mul(1 << (attempts - 1).min(20)).min(self.retry.longest_wait);
        Duration::from_micros(
            self.random.below(u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX).max(1)),
        )
    }

    pub(crate) fn error(&self, call: Call<'_>, attempts: u32, failure: Failure) -> StoreError {
        StoreError {
            kind: failure.kind,
            effect: failure.effect,
            operation: call.operation,
            store: Arc::clone(&self.store),
            key: call.key.to_owned(),
            attempts,
            detail: failure.detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    fn attempts() -> Attempts {
        Attempts::new("test:".into(), &StoreOptions::default(), Random::seeded(3), Arc::default())
    }

    const READ: Call<'_> = Call { operation: Operation::Get, key: "k", bytes: 0, repeat: Repeat::Read };
    const WRITE: Call<'_> =
        Call { operation: Operation::PutNew, key: "k", bytes: 0, repeat: Repeat::Idempotent };

    #[tokio::test(start_paused = true)]
    async fn a_passing_failure_is_retried_until_it_succeeds() {
        let attempts = attempts();
        let value = attempts.run(READ, |before| {
            ready(if before.attempts < 3 {
                Err(Failure::none(ErrorKind::Unavailable, "down"))
            } else {
                Ok(7)
            })
        });
        assert_eq!(value.await.expect("the fourth succeeds"), 7);
        assert_eq!(attempts.metrics.snapshot().retries, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lasting_failure_is_not_retried() {
        let attempts = attempts();
        let denied = attempts.run(READ, |_| ready(Err::<(), _>(Failure::none(ErrorKind::Denied, "no"))));
        assert_eq!(denied.await.expect_err("denied").attempts, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_and_time_are_bounded() {
        let start = Instant::now();
        let error = attempts().run(WRITE, |_| pending::<Result<(), _>>()).await.expect_err("it hangs");
        assert_eq!((error.kind, error.effect), (ErrorKind::Timeout, Effect::Unknown));
        assert!(error.attempts > 1);
        let limits = StoreOptions::default();
        assert!(start.elapsed() <= limits.retry.within + limits.time_limit + limits.retry.longest_wait);
    }

    #[tokio::test(start_paused = true)]
    async fn one_unknown_effect_makes_the_whole_call_unknown() {
        let attempts = attempts();
        let error = attempts.run(WRITE, |before| {
            ready(Err::<(), _>(match before.attempts {
                0 => Failure::unknown(ErrorKind::Unavailable, "reset"),
                _ => Failure::none(ErrorKind::Denied, "no"),
            }))
        });
        assert_eq!(error.await.expect_err("denied").effect, Effect::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_transfer_has_more_time() {
        let call = Call { bytes: 400 << 20, ..READ };
        let attempts = attempts();
        let value = attempts.run(call, |_| async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(1)
        });
        assert_eq!(value.await.map_err(|e| e.kind), Ok(1));
    }
}
