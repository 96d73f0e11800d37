//! Which leader epoch began at which offset.

use serde::{Deserialize, Serialize};

/// An epoch that wrote records, or may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochStart {
    /// The leader epoch.
    pub epoch: i32,
    /// Offset of the first record appended under it.
    pub start: i64,
}

/// The history of a partition's leader epochs: both epochs and starts grow strictly.
///
/// An epoch under which nothing was appended leaves no trace once the next one begins, so the length is bounded
/// by the epochs whose records are still in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Epochs(Vec<EpochStart>);

impl Epochs {
    /// From `start` on, records are of `epoch`. An epoch that is not newer than the last changes nothing.
    pub(crate) fn assign(&mut self, epoch: i32, start: i64) {
        if self.0.last().is_some_and(|last| last.epoch >= epoch) {
            return;
        }
        while self.0.last().is_some_and(|last| last.start >= start) {
            self.0.pop();
        }
        self.0.push(EpochStart { epoch, start });
    }

    /// The log starts at `log_start` now: what ended before it is forgotten, what straddles it begins there.
    pub(crate) fn trim(&mut self, log_start: i64) {
        let straddling = self.0.partition_point(|entry| entry.start <= log_start);
        if straddling > 0 {
            self.0.drain(..straddling - 1);
            self.0[0].start = log_start;
        }
    }

    /// The newest epoch.
    pub(crate) fn latest(&self) -> Option<i32> {
        self.0.last().map(|last| last.epoch)
    }

    /// The epoch under which `offset` was, or will be, appended.
    pub(crate) fn at(&self, offset: i64) -> Option<i32> {
        let after = self.0.partition_point(|entry| entry.start <= offset);
        Some(self.0[after.checked_sub(1)?].epoch)
    }

    /// Where `epoch` ended: the largest known epoch up to it, and the offset behind its last record (`end` for the
    /// newest). An epoch older than all known ends where the first known begins; a newer one is unknown.
    pub(crate) fn end_of(&self, epoch: i32, end: i64) -> Option<(i32, i64)> {
        if epoch < 0 {
            return None;
        }
        if self.latest() == Some(epoch) {
            return Some((epoch, end));
        }
        let higher = self.0.partition_point(|entry| entry.epoch <= epoch);
        let next = self.0.get(higher)?;
        let floor = higher.checked_sub(1).map_or(epoch, |floor| self.0[floor].epoch);
        Some((floor, next.start))
    }

    /// All entries, oldest first.
    pub(crate) fn entries(&self) -> &[EpochStart] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn epochs(entries: &[(i32, i64)]) -> Epochs {
        let mut epochs = Epochs::default();
        for (epoch, start) in entries {
            epochs.assign(*epoch, *start);
        }
        epochs
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_begins() {
        let epochs = epochs(&[(2, 0), (4, 10), (7, 30)]);
        assert_eq!(epochs.end_of(7, 45), Some((7, 45)));
        assert_eq!(epochs.end_of(4, 45), Some((4, 30)));
        assert_eq!(epochs.end_of(5, 45), Some((4, 30)), "no such epoch: the one before it");
        assert_eq!(epochs.end_of(1, 45), Some((1, 0)), "older than all known");
        assert_eq!(epochs.end_of(8, 45), None);
        assert_eq!(epochs.end_of(-1, 45), None);
    }

    #[test]
    fn an_epoch_without_records_is_replaced() {
        let epochs = epochs(&[(0, 0), (1, 5), (2, 5), (3, 5)]);
        assert_eq!(epochs.entries(), [EpochStart { epoch: 0, start: 0 }, EpochStart { epoch: 3, start: 5 }]);
    }

    #[test]
    fn trimming_keeps_the_epoch_of_the_first_record() {
        let mut epochs = epochs(&[(0, 0), (1, 10), (2, 20)]);
        epochs.trim(15);
        assert_eq!(epochs.entries()[0], EpochStart { epoch: 1, start: 15 });
        assert_eq!(epochs.at(14), None);
        assert_eq!(epochs.at(15), Some(1));
        assert_eq!(epochs.at(99), Some(2));
    }

    proptest! {
        #[test]
        fn epochs_and_starts_grow_strictly(steps in prop::collection::vec((0..9i32, 0..30i64, prop::option::of(0..30i64)), 0..30)) {
            let mut epochs = Epochs::default();
            let mut end = 0;
            for (epoch, appended, trim) in steps {
                epochs.assign(epoch, end);
                end += appended;
                if let Some(trim) = trim {
                    epochs.trim(trim.min(end));
                }
                prop_assert!(epochs.0.windows(2).all(|pair| pair[0].epoch < pair[1].epoch && pair[0].start < pair[1].start));
            }
        }
    }
}
