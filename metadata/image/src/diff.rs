//! What differs between two images. Parts that the two share are skipped without being looked at.

use aquifer_types::TopicId;
use imbl::ordmap::DiffItem;

use crate::entities::{Partition, Topic};
use crate::image::Image;

/// A topic that differs between two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicChange<'a> {
    /// Only the newer image has it.
    Added(&'a Topic),
    /// Its configs, partition count or the like differ.
    Updated {
        /// As it was.
        old: &'a Topic,
        /// As it is.
        new: &'a Topic,
    },
    /// Only the older image has it.
    Removed(&'a Topic),
}

/// A partition that differs between two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionChange<'a> {
    /// Its topic.
    pub topic: TopicId,
    /// Its index.
    pub index: i32,
    /// As it was, `None` if it is new.
    pub old: Option<&'a Partition>,
    /// As it is, `None` if it was deleted.
    pub new: Option<&'a Partition>,
}

pub(crate) fn topic_changes<'a>(old: &'a Image, new: &'a Image) -> impl Iterator<Item = TopicChange<'a>> {
    old.topics.diff(&new.topics).map(|item| match item {
        DiffItem::Add(_, new) => TopicChange::Added(new),
        DiffItem::Update { old, new } => TopicChange::Updated { old: old.1, new: new.1 },
        DiffItem::Remove(_, old) => TopicChange::Removed(old),
    })
}

pub(crate) fn partition_changes<'a>(
    old: &'a Image,
    new: &'a Image,
) -> impl Iterator<Item = PartitionChange<'a>> {
    old.partitions.diff(&new.partitions).map(|item| {
        let (&(topic, index), old, new) = match item {
            DiffItem::Add(key, new) => (key, None, Some(new)),
            DiffItem::Update { old, new } => (new.0, Some(old.1), Some(new.1)),
            DiffItem::Remove(key, old) => (key, Some(old), None),
        };
        PartitionChange { topic, index, old, new }
    })
}
