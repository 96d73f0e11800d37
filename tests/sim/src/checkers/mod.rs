//! What must hold in every run, one file per invariant.
//!
//! A checker is shown what clients were told and what the metadata say, as it happens, and says at once when that cannot be.

mod acknowledged;
mod commits;
mod density;
mod growth;
mod images;
mod leaders;
mod marks;
mod objects;
mod once;
mod order;
mod ownership;

use std::collections::BTreeMap;
use std::time::Duration;

use aquifer_image::Image;
use aquifer_types::NodeId;

use crate::clients::RecordId;
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
    /// A member of the group was told which partitions it owns in a generation.
    Assigned { at: Duration, generation: i32, owner: &'a str, partitions: &'a [i32] },
    /// A member of the group was told that these offsets are committed.
    Committed {
        generation: i32,
        /// When it was asked for.
        began: Duration,
        /// When the answer came.
        ended: Duration,
        /// The leader epoch of the coordinator.
        epoch: i32,
        offsets: &'a [(i32, i64)],
    },
    /// Somebody was told what the group has committed; -1 if nothing.
    Fetched {
        /// When it was asked for.
        began: Duration,
        /// The leader epoch of the coordinator.
        epoch: i32,
        offsets: &'a [(i32, i64)],
    },
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
    pub(crate) fn new() -> Self {
        Self(vec![
            Box::<acknowledged::NothingAcknowledgedIsLost>::default(),
            Box::<density::OffsetsAreDense>::default(),
            Box::<order::ProducersKeepTheirOrder>::default(),
            Box::<once::EachRecordIsThereOnce>::default(),
            Box::<marks::MarksNeverGoBack>::default(),
            Box::<leaders::OneLeaderAcknowledges>::default(),
            Box::<images::EqualIndexesHaveEqualImages>::default(),
            Box::<growth::MetadataOnlyGrow>::default(),
            Box::<objects::ObjectsExist>::default(),
            Box::<ownership::GroupOwnershipIsExclusive>::default(),
            Box::<commits::CommittedOffsetsStand>::default(),
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
    use aquifer_image::{
        AllocateProducerIds, Bootstrap, Command, Endpoint, RegisterBroker, ResumeBroker, SecurityProtocol,
    };
    use aquifer_types::{BrokerEpoch, ClusterId};
    use uuid::Uuid;

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
        let Checkers(mut checkers) = Checkers::new();
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

    #[test]
    fn metadata_that_forget_are_told() {
        let node = NodeId(1);
        let image_after = |ids: bool| {
            let mut image = Image::new();
            let mut apply = |command: Command| drop(image.apply(image.applied().next(), &command));
            apply(Bootstrap { cluster_id: ClusterId(Uuid::from_u128(1)) }.into());
            let endpoint = Endpoint {
                listener: "PLAINTEXT".to_owned(),
                host: "localhost".to_owned(),
                port: 9092,
                security: SecurityProtocol::Plaintext,
            };
            let (incarnation, endpoints) = (Uuid::from_u128(2), vec![endpoint]);
            apply(RegisterBroker { node, incarnation, endpoints, rack: None }.into());
            match ids {
                true => apply(AllocateProducerIds { node, broker_epoch: BrokerEpoch(2), count: 5 }.into()),
                false => (0..2).for_each(|_| apply(ResumeBroker { node }.into())),
            }
            image
        };
        let (with, without) = (image_after(true), image_after(false));
        let image = |image| Observation::Image { node, image };
        assert_eq!(objector(&[image(&with), image(&without)]), Some("metadata only grow"));
        assert_eq!(objector(&[image(&with), image(&with)]), None);
    }

    fn assigned(at: u64, generation: i32, owner: &str) -> Observation<'_> {
        Observation::Assigned { at: Duration::from_secs(at), generation, owner, partitions: &[0] }
    }

    fn committed(began: u64, generation: i32, epoch: i32, offsets: &[(i32, i64)]) -> Observation<'_> {
        let (began, ended) = (Duration::from_secs(began), Duration::from_secs(began + 1));
        Observation::Committed { generation, began, ended, epoch, offsets }
    }

    fn fetched(began: u64, epoch: i32, offsets: &[(i32, i64)]) -> Observation<'_> {
        Observation::Fetched { began: Duration::from_secs(began), epoch, offsets }
    }

    #[test]
    fn a_good_group_offends_nobody() {
        let history = [
            fetched(0, 1, &[(0, -1)]),
            assigned(1, 1, "a"),
            committed(2, 1, 1, &[(0, 5)]),
            // While it was on its way the next generation was formed.
            assigned(4, 2, "b"),
            committed(3, 1, 1, &[(0, 6)]),
            fetched(5, 1, &[(0, 6)]),
            committed(6, 2, 1, &[(0, 7)]),
            // A coordinator that is none any more, and does not know it.
            fetched(8, 0, &[(0, 3)]),
        ];
        assert_eq!(objector(&history), None);
    }

    #[test]
    fn a_partition_with_two_owners_is_told() {
        let found = objector(&[assigned(1, 1, "a"), assigned(2, 1, "b")]);
        assert_eq!(found, Some("group ownership is exclusive"));
    }

    #[test]
    fn a_commit_of_a_past_generation_is_told() {
        let found = objector(&[assigned(1, 1, "a"), assigned(2, 2, "b"), committed(3, 1, 1, &[(0, 9)])]);
        assert_eq!(found, Some("group ownership is exclusive"));
    }

    #[test]
    fn a_committed_offset_that_is_forgotten_or_goes_back_is_told() {
        for lost in [-1, 4] {
            let found = objector(&[committed(1, 1, 1, &[(0, 5)]), fetched(3, 1, &[(0, lost)])]);
            assert_eq!(found, Some("committed offsets stand"));
        }
        let found = objector(&[committed(1, 1, 1, &[(0, 5)]), committed(3, 1, 2, &[(0, 4)])]);
        assert_eq!(found, Some("committed offsets stand"));
    }
}
