//! The committed offsets of one group.

use std::collections::BTreeMap;

use crate::{
    FetchedOffset, TopicPartition,
    event::LogRecord,
    schema::{Key, OffsetCommitValue},
};

/// Topic, then partition, to what was committed last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offsets(BTreeMap<String, BTreeMap<i32, OffsetCommitValue>>);

impl Offsets {
    pub(crate) fn get(&self, partition: &TopicPartition) -> Option<&OffsetCommitValue> {
        self.0.get(&partition.topic)?.get(&partition.partition)
    }

    /// Keeps a value, or forgets it.
    pub(crate) fn set(&mut self, partition: TopicPartition, value: Option<OffsetCommitValue>) {
        let TopicPartition { topic, partition } = partition;
        if let Some(value) = value {
            self.0.entry(topic).or_default().insert(partition, value);
        } else if let Some(partitions) = self.0.get_mut(&topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.0.remove(&topic);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TopicPartition, &OffsetCommitValue)> {
        self.0.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(|(partition, value)| {
                (TopicPartition { topic: topic.clone(), partition: *partition }, value)
            })
        })
    }

    pub(crate) fn of_topic(&self, topic: &str) -> impl Iterator<Item = TopicPartition> {
        let partitions = self.0.get(topic).into_iter().flat_map(BTreeMap::keys);
        partitions.map(move |partition| TopicPartition { topic: topic.to_owned(), partition: *partition })
    }

    pub(crate) fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a fetch returns for a partition.
    pub(crate) fn fetch(&self, partition: TopicPartition) -> FetchedOffset {
        fetched(self.get(&partition), partition)
    }
}

/// A partition without a commit has offset -1, epoch -1 and no metadata.
pub(crate) fn fetched(value: Option<&OffsetCommitValue>, partition: TopicPartition) -> FetchedOffset {
    match value {
        Some(value) => FetchedOffset {
            partition,
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.clone(),
        },
        None => FetchedOffset { partition, offset: -1, leader_epoch: -1, metadata: String::new() },
    }
}

/// The record of a committed offset, or its tombstone.
pub(crate) fn offset_record(
    group_id: &str,
    partition: &TopicPartition,
    value: Option<&OffsetCommitValue>,
) -> LogRecord {
    let key = Key::OffsetCommit { group: group_id.to_owned(), partition: partition.clone() };
    LogRecord { key: key.encode(), value: value.map(OffsetCommitValue::encode) }
}
