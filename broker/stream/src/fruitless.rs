//! How long the WAL stays with mirrors that take nothing, and does without those that failed.
//!
//! A roll is worth it when the next segment's mirrors can be better ones. It costs a file of the ring, which comes back once all
//! that was committed before is offloaded, and an entry of the quorum. So rolls that bring nothing come later each time; how much
//! later depends on what they could bring.

use std::time::Duration;

use aquifer_wal::Usage;

/// After a segment in which something was committed.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause when a mirror is gone: only another roll can help, and who was gone may be back and not say so.
const GONE_MOST: Duration = Duration::from_secs(5);
/// The longest pause otherwise: a slow mirror acknowledges some time, and begins anew in each new segment.
const SLOW_MOST: Duration = Duration::from_secs(30);
/// From here on files are kept for when mirrors are back: tries are not to be what slows writers down then.
const SCARCE_PERCENT: u64 = Usage::THROTTLE_PERCENT;

/// What keeps a segment's records from being committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// A mirror's link ended, or its broker left: it acknowledges nothing any more in this segment.
    Gone,
    /// One owes acknowledgements.
    Slow,
}

/// For how long a segment is kept in which nothing was committed, after so many such ones in a row; and for how long those that
/// failed in it are left out though too few are left without them.
pub(crate) fn pause(fruitless: u32, hindrance: Hindrance, ring_percent: u64) -> Duration {
    let most = match hindrance {
        Hindrance::Gone if ring_percent < SCARCE_PERCENT => GONE_MOST,
        Hindrance::Gone | Hindrance::Slow => SLOW_MOST,
    };
    // Six doublings are beyond the longest pause.
    (FIRST * (1 << fruitless.min(6))).min(most)
}

/// Whether such a segment is left at once when others can be chosen from than when its mirrors were: two brokers that died together are
/// noticed one after the other.
pub(crate) fn is_left_at_once(hindrance: Hindrance, ring_percent: u64) -> bool {
    hindrance == Hindrance::Gone && ring_percent < SCARCE_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(hindrance: Hindrance, ring_percent: u64) -> Vec<u64> {
        let of = |fruitless| pause(fruitless, hindrance, ring_percent).as_secs();
        (0..7).chain([u32::MAX]).map(of).collect()
    }

    #[test]
    fn a_mirror_that_is_gone_is_not_waited_for_long() {
        assert_eq!(pauses(Hindrance::Gone, 0), [1, 2, 4, 5, 5, 5, 5, 5]);
        assert_eq!(pauses(Hindrance::Gone, SCARCE_PERCENT - 1), [1, 2, 4, 5, 5, 5, 5, 5]);
    }

    #[test]
    fn a_slow_mirror_is_given_more_time_with_each_roll() {
        assert_eq!(pauses(Hindrance::Slow, 0), [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn the_last_files_of_the_ring_are_not_spent_on_tries() {
        assert_eq!(pauses(Hindrance::Gone, SCARCE_PERCENT), pauses(Hindrance::Slow, 0));
    }

    #[test]
    fn a_choice_among_others_does_not_wait_while_there_are_files() {
        assert!(is_left_at_once(Hindrance::Gone, SCARCE_PERCENT - 1));
        assert!(!is_left_at_once(Hindrance::Gone, SCARCE_PERCENT));
        assert!(!is_left_at_once(Hindrance::Slow, 0));
    }
}
