//! What OffsetCommit and OffsetDelete share: one code for each partition of the request. Partitions that do not exist
//! have theirs at once, the others get it from the coordinator.

use aquifer_coordinator::{GroupError, TopicPartition};
use aquifer_image::Image;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::TopicName;

use crate::errors::{self, NONE};
use crate::view;

/// Index and code of a partition.
pub(super) type PartitionCode = (i32, i16);

/// The codes of a request's partitions, in its order.
pub(super) struct PartitionCodes(Vec<(TopicName, Vec<PartitionCode>)>);

impl PartitionCodes {
    /// The codes of what a request names, and those of its partitions that exist, with what was said of each.
    pub(super) fn new<T, P>(
        image: &Image,
        topics: impl IntoIterator<Item = (TopicName, P)>,
    ) -> (Self, Vec<(TopicPartition, T)>)
    where
        P: IntoIterator<Item = (i32, T)>,
    {
        let mut existing = Vec::new();
        let topics = topics.into_iter().map(|(name, partitions)| {
            let codes = partitions.into_iter().map(|(index, said)| {
                if !view::has_partition(image, &name, index) {
                    return (index, Code::UnknownTopicOrPartition.code());
                }
                existing.push((TopicPartition { topic: name.to_string(), partition: index }, said));
                (index, NONE)
            });
            let codes = codes.collect();
            (name, codes)
        });
        let codes = Self(topics.collect());
        (codes, existing)
    }

    /// Takes the coordinator's results for the partitions that exist, in their order.
    pub(super) fn fill(&mut self, results: impl IntoIterator<Item = Result<(), GroupError>>) {
        for (code, result) in self.open().zip(results) {
            *code = errors::group_result(result);
        }
    }

    /// Refuses all partitions that exist.
    pub(super) fn refuse(&mut self, error: GroupError) {
        self.open().for_each(|code| *code = errors::group_code(error));
    }

    fn open(&mut self) -> impl Iterator<Item = &mut i16> {
        let codes = self.0.iter_mut().flat_map(|(_, partitions)| partitions);
        codes.map(|(_, code)| code).filter(|code| **code == NONE)
    }

    /// The topics of the response.
    pub(super) fn into_topics<R>(self, topic: impl Fn(TopicName, Vec<PartitionCode>) -> R) -> Vec<R> {
        self.0.into_iter().map(|(name, partitions)| topic(name, partitions)).collect()
    }
}
