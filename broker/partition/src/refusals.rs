//! Batches that were refused though nothing was wrong with them, remembered for a moment.
//!
//! A producer has several batches of a partition under way. When one is refused because the partition is not open yet, or is
//! being handed over, those behind it may arrive when appends are taken again. What they then leave out is on its way, and no gap.

use std::collections::HashMap;
use std::time::Duration;

use aquifer_types::TopicId;
use tokio::time::Instant;

/// For how long a gap is put down to a refusal. What was sent behind a refused batch has arrived by then, and a producer that
/// really left something out hears of it only so much later.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Partitions that are not open here of which a refusal is remembered. Beyond, those of others are not.
const MOST: usize = 10_000;

/// The last refusals of the partitions that are not open here.
#[derive(Debug, Default)]
pub(crate) struct Refusals(HashMap<(TopicId, i32), Instant>);

impl Refusals {
    /// A batch of this partition was refused.
    pub(crate) fn note(&mut self, key: (TopicId, i32), now: Instant) {
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            self.0.retain(|_, at| is_recent(*at, now));
            if self.0.len() >= MOST {
                return;
            }
        }
        self.0.insert(key, now);
    }

    /// The partition opens, and remembers by itself from now on.
    pub(crate) fn take(&mut self, key: (TopicId, i32)) -> Option<Instant> {
        self.0.remove(&key)
    }
}

/// Whether what arrives now may have been sent behind what was refused then.
pub(crate) fn is_recent(refused_at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(refused_at) < REMEMBERED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> (TopicId, i32) {
        (TopicId::ZERO, i32::try_from(number).expect("small"))
    }

    #[test]
    fn a_refusal_is_remembered_for_a_moment() {
        let at = Instant::now();
        let mut refusals = Refusals::default();
        refusals.note(key(1), at);
        assert_eq!(refusals.take(key(1)), Some(at));
        assert_eq!(refusals.take(key(1)), None);
        assert!(is_recent(at, at) && is_recent(at, at + REMEMBERED / 2));
        assert!(!is_recent(at, at + REMEMBERED));
    }

    #[test]
    fn no_more_are_remembered_than_the_limit_and_old_ones_make_room() {
        let at = Instant::now();
        let mut refusals = Refusals::default();
        (0..MOST + 2).for_each(|number| refusals.note(key(number), at));
        assert_eq!(refusals.0.len(), MOST);
        refusals.note(key(0), at + REMEMBERED / 2);
        refusals.note(key(MOST), at + REMEMBERED);
        assert_eq!(refusals.0.len(), 2);
        assert!(refusals.take(key(0)).is_some() && refusals.take(key(MOST)).is_some());
    }
}
