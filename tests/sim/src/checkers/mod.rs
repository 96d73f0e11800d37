//! What must hold in every run, one file per invariant.
//!
//! A checker is shown what clients were told and what the metadata say, as it happens, and says at once when that cannot be.

mod acknowledged;
mod density;
mod images;
mod leaders;
mod marks;
mod objects;
mod once;
mod order;

use std::collections::BTreeMap;
use std::time::Duration;

use aquifer_image::Image;
use aquifer_types::NodeId;

use crate::clients::RecordId;
use crate::scenario::Scenario;
use crate::trace::Trace;

pub(crate) use objects::check_orphans;

/// Something that was seen.
pub(crate) enum Observation<'a> {
    /// A producer was told that its batch is durable.
    Acknowledged {
        partition: i32,
        base_offset: i64,
        last_offset: i64,
        records: &'a [RecordId],
        leader_epoch: i32,
        /// It was there already; it may have been written under an earlier leader.
        duplicate: bool,
    },
    /// A consumer was given records, or nothing, from `offset` on.
    Read {
        partition: i32,
        /// When it was asked for.
        began: Duration,
        /// When the answer came.
        ended: Duration,
        offset: i64,
        records: &'a [(i64, RecordId)],
        high_watermark: i64,
        log_start_offset: i64,
        leader_epoch: i32,
    },
    /// The metadata as a node has them.
    Image { node: NodeId, image: &'a Image },
    /// A committed image beside what the store itself has.
    Store { image: &'a Image, stored: &'a BTreeMap<String, u64> },
    /// Everything is well again, and every partition was read from its start to this high watermark.
    End { partition: i32, high_watermark: i64 },
}

/// One invariant.
pub(crate) trait Checker: Send + std::fmt::Debug {
    /// What it is called in the trace.
    fn name(&self) -> &'static str;

    /// Looks at something; an error says how it breaks the invariant.
    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), String>;
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Checkers(Vec<Box<dyn Checker>>);

impl Checkers {
    pub(crate) fn new(_scenario: &Scenario) -> Self {
        Self(vec![
            Box::<acknowledged::NothingAcknowledgedIsLost>::default(),
            Box::<density::OffsetsAreDense>::default(),
            Box::<order::ProducersKeepTheirOrder>::default(),
            Box::<once::EachRecordIsThereOnce>::default(),
            Box::<marks::MarksNeverGoBack>::default(),
            Box::<leaders::OneLeaderAcknowledges>::default(),
            Box::<images::EqualIndexesHaveEqualImages>::default(),
            Box::<objects::ObjectsExist>::default(),
        ])
    }

    pub(crate) fn observe(&mut self, observation: &Observation<'_>, trace: &Trace) {
        for checker in &mut self.0 {
            if let Err(text) = checker.observe(observation) {
                trace.violation(checker.name(), format_args!("{text}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: RecordId = RecordId { producer: 1, number: 0 };
    const B: RecordId = RecordId { producer: 1, number: 1 };

    fn acknowledged<'a>(base_offset: i64, records: &'a [RecordId], leader_epoch: i32) -> Observation<'a> {
        let last_offset = base_offset + records.len() as i64 - 1;
        Observation::Acknowledged {
            partition: 0,
            base_offset,
            last_offset,
            records,
            leader_epoch,
            duplicate: false,
        }
    }

    fn read<'a>(offset: i64, records: &'a [(i64, RecordId)], high_watermark: i64) -> Observation<'a> {
        read_at(0, offset, records, high_watermark)
    }

    fn read_at<'a>(
        at: u64,
        offset: i64,
        records: &'a [(i64, RecordId)],
        high_watermark: i64,
    ) -> Observation<'a> {
        Observation::Read {
            partition: 0,
            began: Duration::from_secs(at),
            ended: Duration::from_secs(at + 1),
            offset,
            records,
            high_watermark,
            log_start_offset: 0,
            leader_epoch: 0,
        }
    }

    /// The name of the checker that objects to the last observation, and to none before.
    fn objector(observations: &[Observation<'_>]) -> Option<&'static str> {
        let Checkers(mut checkers) = Checkers::new(&Scenario::new(1, None));
        let (last, before) = observations.split_last().expect("not empty");
        for checker in &mut checkers {
            before.iter().for_each(|one| checker.observe(one).expect("fine so far"));
        }
        checkers.iter_mut().find_map(|checker| checker.observe(last).is_err().then(|| checker.name()))
    }

    #[test]
    fn a_good_history_offends_nobody() {
        let end = Observation::End { partition: 0, high_watermark: 2 };
        assert_eq!(objector(&[acknowledged(0, &[A, B], 0), read(0, &[(0, A), (1, B)], 2), end]), None);
    }

    #[test]
    fn an_acknowledged_record_that_is_not_there_is_lost() {
        let end = Observation::End { partition: 0, high_watermark: 1 };
        let found = objector(&[acknowledged(0, &[A, B], 0), read(0, &[(0, A)], 2), end]);
        assert_eq!(found, Some("nothing acknowledged is lost"));
    }

    #[test]
    fn another_record_at_an_acknowledged_offset_is_a_loss() {
        let found = objector(&[acknowledged(0, &[A], 0), read(0, &[(0, B)], 1)]);
        assert_eq!(found, Some("nothing acknowledged is lost"));
    }

    #[test]
    fn a_hole_is_told() {
        assert_eq!(objector(&[read(0, &[(0, A), (2, B)], 3)]), Some("offsets are dense"));
    }

    #[test]
    fn a_turned_order_is_told() {
        assert_eq!(objector(&[read(0, &[(0, B), (1, A)], 2)]), Some("producers keep their order"));
    }

    #[test]
    fn a_record_at_two_offsets_is_told() {
        let found = objector(&[read(0, &[(0, A)], 1), read(1, &[(1, A)], 2)]);
        assert_eq!(found, Some("each record is there once"));
    }

    #[test]
    fn a_high_watermark_that_goes_back_is_told() {
        assert_eq!(objector(&[read_at(0, 0, &[], 5), read_at(2, 0, &[], 4)]), Some("marks never go back"));
    }

    #[test]
    fn answers_may_overtake_each_other() {
        assert_eq!(objector(&[read_at(0, 0, &[], 5), read_at(0, 0, &[], 4)]), None);
    }

    #[test]
    fn an_earlier_leader_that_acknowledges_after_a_later_one_is_told() {
        let found = objector(&[acknowledged(0, &[A], 3), acknowledged(1, &[B], 2)]);
        assert_eq!(found, Some("one leader acknowledges"));
    }
}
