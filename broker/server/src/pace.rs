//! How fast a peer must be while it holds memory.

use std::time::Duration;

use tokio::time::Instant;

/// While others wait for the memory that a peer holds, it is looked at this often...
pub(crate) const HURRY: Duration = Duration::from_secs(1);

/// ...and must have brought or taken this many bytes since the last look. Slower than any link that a broker is used
/// over, and faster than a peer that only wants to stay.
pub(crate) const HURRIED_BYTES: usize = 64 << 10;

/// The bytes that come from a peer, or go to it, over time.
#[derive(Debug)]
pub(crate) struct Pace {
    stall: Duration,
    last_byte: Instant,
    look: Instant,
    bytes: usize,
}

/// What is to be done with the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    GoOn,
    /// No byte for the whole stall time: it ends.
    Stalled,
    /// Too few bytes while others wait: it ends.
    HoldsUp,
}

impl Pace {
    /// Of a peer that may be silent for `stall`.
    pub(crate) fn new(stall: Duration, now: Instant) -> Self {
        Self { stall, last_byte: now, look: now, bytes: 0 }
    }

    /// How long to wait for bytes before it is judged.
    pub(crate) fn patience(&self) -> Duration {
        HURRY.min(self.stall)
    }

    /// Judges the peer after `bytes` more (none, if the wait was in vain). `wanted`: others wait for what it holds.
    pub(crate) fn judge(&mut self, now: Instant, bytes: usize, wanted: bool) -> Verdict {
        if bytes > 0 {
            self.last_byte = now;
            self.bytes += bytes;
        } else if now - self.last_byte >= self.stall {
            return Verdict::Stalled;
        }
        if now - self.look < HURRY {
            return Verdict::GoOn;
        }
        self.look = now;
        let slow = std::mem::take(&mut self.bytes) < HURRIED_BYTES;
        if slow && wanted { Verdict::HoldsUp } else { Verdict::GoOn }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_trickling_peer_stays_until_others_wait_for_its_memory() {
        let start = Instant::now();
        let mut pace = Pace::new(STALL, start);
        for second in 1..100 {
            assert_eq!(pace.judge(start + HURRY * second, 1, false), Verdict::GoOn);
        }
        assert_eq!(pace.judge(start + HURRY * 100, 1, true), Verdict::HoldsUp);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_moves_goes_on_whoever_waits_and_a_silent_one_ends_in_its_time() {
        let start = Instant::now();
        let mut pace = Pace::new(STALL, start);
        for second in 1..100 {
            assert_eq!(pace.judge(start + HURRY * second, HURRIED_BYTES, true), Verdict::GoOn);
        }
        assert_eq!(pace.judge(start + HURRY * 128, 0, false), Verdict::GoOn);
        assert_eq!(pace.judge(start + HURRY * 129, 0, false), Verdict::Stalled);
    }
}
