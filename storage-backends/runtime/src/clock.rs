use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall-clock time as milliseconds since the Unix epoch, the unit of Kafka's timestamps.
///
/// Cheap to clone. Wall time may jump in either direction: use it for what is shown, stored or
/// agreed on, and `tokio::time` for how long something takes.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Simulated(Arc<AtomicI64>),
}

/// The hand that moves a simulated [`Clock`].
#[derive(Clone, Debug)]
pub struct SimulatedClock(Arc<AtomicI64>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start_ms` until the returned hand moves it.
    pub fn simulated(start_ms: i64) -> (Self, SimulatedClock) {
        let now = Arc::new(AtomicI64::new(start_ms));
        (Self(Source::Simulated(now.clone())), SimulatedClock(now))
    }

    /// Milliseconds since the Unix epoch; 0 if the machine's clock stands before it.
    pub fn wall_ms(&self) -> i64 {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "this is the seam itself")]
            Source::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Source::Simulated(now) => now.load(Ordering::Acquire),
        }
    }
}

impl SimulatedClock {
    /// Moves the clock by `delta_ms`, which may be negative.
    pub fn advance(&self, delta_ms: i64) {
        self.0.fetch_add(delta_ms, Ordering::AcqRel);
    }

    /// Sets the clock.
    pub fn set(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_clock_moves_only_by_its_hand() {
        let (clock, hand) = Clock::simulated(1_000);
        let other = clock.clone();
        assert_eq!(clock.wall_ms(), 1_000);
        hand.advance(-400);
        assert_eq!(other.wall_ms(), 600);
        hand.set(5);
        assert_eq!(clock.wall_ms(), 5);
    }
}
