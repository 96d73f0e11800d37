//! The replicated state and its queries. Changes are made by [`apply`](crate::apply) alone.

use std::sync::Arc;

use aquifer_types::{
    BrokerEpoch, ClusterId, LogIndex, NodeId, ObjectId, ProducerId, SegmentId, StreamId, TopicId,
};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::command::ConfigResource;
use crate::diff::{PartitionChange, TopicChange, partition_changes, topic_changes};
use crate::entities::{Broker, CommittedRange, ObjectState, Partition, RangeMeta, Segment, Stream, Topic};

/// Configs of one resource, by name.
pub type Configs = OrdMap<String, String>;

/// When a part of the image last changed: lets a follower that looks at every image skip those parts
/// that concern it and did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Changed {
    /// Topics, partitions, leaders, leader epochs and topic configs.
    pub topics: LogIndex,
    /// Brokers and their endpoints.
    pub brokers: LogIndex,
    /// Configs of brokers and groups.
    pub configs: LogIndex,
}

/// The cluster's metadata after some entry of the metadata log: an immutable value to all but `apply`.
///
/// Cloning costs O(1) and shares everything; every change costs O(log n) per thing that changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    // Facts: what a snapshot holds.
    pub(crate) applied: LogIndex,
    pub(crate) cluster_id: Option<ClusterId>,
    pub(crate) changed: Changed,
    pub(crate) next_stream: u64,
    pub(crate) next_object: u64,
    pub(crate) next_producer: i64,
    pub(crate) brokers: OrdMap<NodeId, Arc<Broker>>,
    /// Nodes that were forgotten for good: refused until they are resumed.
    pub(crate) decommissioned: OrdSet<NodeId>,
    pub(crate) topics: OrdMap<TopicId, Arc<Topic>>,
    pub(crate) partitions: OrdMap<(TopicId, i32), Partition>,
    /// Replicas as a user assigned them, of partitions where one did.
    pub(crate) assigned: OrdMap<(TopicId, i32), Arc<[NodeId]>>,
    /// Of brokers and groups; a topic has its own.
    pub(crate) configs: OrdMap<ConfigResource, Configs>,
    pub(crate) streams: OrdMap<StreamId, Stream>,
    pub(crate) ranges: OrdMap<(StreamId, u64), RangeMeta>,
    pub(crate) objects: OrdMap<ObjectId, ObjectState>,
    pub(crate) segments: OrdMap<SegmentId, Arc<Segment>>,
    // Derived: rebuilt when a snapshot is read, see `derive.rs`.
    pub(crate) topic_names: OrdMap<Arc<str>, TopicId>,
    pub(crate) canonical_names: OrdMap<Arc<str>, TopicId>,
    pub(crate) led: OrdMap<NodeId, OrdSet<(TopicId, i32)>>,
    pub(crate) prepared: OrdSet<(i64, ObjectId)>,
    pub(crate) marked: OrdSet<(i64, ObjectId)>,
}

impl Image {
    /// The state before the first entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Index of the last entry that was applied.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The cluster's id, `None` before bootstrap.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster_id
    }

    /// When the parts last changed.
    pub fn changed(&self) -> Changed {
        self.changed
    }

    /// A registered broker.
    pub fn broker(&self, node: NodeId) -> Option<&Broker> {
        self.brokers.get(&node).map(AsRef::as_ref)
    }

    /// All registered brokers, by node id.
    pub fn brokers(&self) -> impl DoubleEndedIterator<Item = &Broker> {
        self.brokers.values().map(AsRef::as_ref)
    }

    /// The present registration of a node.
    pub fn broker_epoch(&self, node: NodeId) -> Option<BrokerEpoch> {
        self.broker(node).map(|broker| broker.epoch)
    }

    /// Whether a node was forgotten for good.
    pub fn is_decommissioned(&self, node: NodeId) -> bool {
        self.decommissioned.contains(&node)
    }

    /// The nodes that were forgotten for good.
    pub fn decommissioned(&self) -> impl Iterator<Item = NodeId> {
        self.decommissioned.iter().copied()
    }

    /// What is in the way of forgetting a broker: one sentence each, none if nothing of it is left but what goes with it.
    pub fn left_of(&self, node: NodeId) -> Vec<String> {
        crate::apply::left_of(self, node)
    }

    /// A topic by id.
    pub fn topic(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id).map(AsRef::as_ref)
    }

    /// A topic by name.
    pub fn topic_by_name(&self, name: &str) -> Option<&Topic> {
        self.topic(*self.topic_names.get(name)?)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl DoubleEndedIterator<Item = &Topic> {
        self.topic_names.values().map(|id| &*self.topics[id])
    }

    /// Number of topics.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Number of partitions of all topics.
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// A partition.
    pub fn partition(&self, topic: TopicId, index: i32) -> Option<&Partition> {
        self.partitions.get(&(topic, index))
    }

    /// The replicas that a user assigned to a partition, if one did; shown, never acted upon.
    pub fn assigned_replicas(&self, topic: TopicId, index: i32) -> Option<&[NodeId]> {
        self.assigned.get(&(topic, index)).map(AsRef::as_ref)
    }

    /// Partitions that are to move, with where to.
    pub fn moving(&self) -> impl Iterator<Item = ((TopicId, i32), NodeId)> {
        self.partitions.iter().filter_map(|(key, partition)| Some((*key, partition.moving?.to)))
    }

    /// A topic's partitions, by index.
    pub fn partitions_of(&self, topic: TopicId) -> impl DoubleEndedIterator<Item = (i32, &Partition)> {
        self.partitions
            .range((topic, 0)..=(topic, i32::MAX))
            .map(|((_, index), partition)| (*index, partition))
    }

    /// The partitions that a node leads.
    pub fn led_by(&self, node: NodeId) -> impl Iterator<Item = (TopicId, i32)> {
        self.led.get(&node).into_iter().flat_map(|led| led.iter().copied())
    }

    /// How many partitions a node leads.
    pub fn led_count(&self, node: NodeId) -> usize {
        self.led.get(&node).map_or(0, OrdSet::len)
    }

    /// What is different here from an older image, topics only. Costs what changed, not what exists.
    pub fn topic_changes<'a>(&'a self, older: &'a Image) -> impl Iterator<Item = TopicChange<'a>> {
        topic_changes(older, self)
    }

    /// What is different here from an older image, partitions only. Costs what changed, not what exists.
    pub fn partition_changes<'a>(&'a self, older: &'a Image) -> impl Iterator<Item = PartitionChange<'a>> {
        partition_changes(older, self)
    }

    /// Dynamic configs of a resource; `None` if it has none, or does not exist.
    pub fn configs(&self, resource: &ConfigResource) -> Option<&Configs> {
        match resource {
            ConfigResource::Topic(name) => self.topic_by_name(name).map(|topic| &topic.configs),
            ConfigResource::Broker(_) | ConfigResource::Group(_) => self.configs.get(resource),
        }
    }

    /// A stream.
    pub fn stream(&self, id: StreamId) -> Option<&Stream> {
        self.streams.get(&id)
    }

    /// All streams, by id.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams.values()
    }

    /// Who leads the stream's partition; `None` if nobody does or the stream does not exist.
    pub fn stream_leader(&self, id: StreamId) -> Option<NodeId> {
        let stream = self.stream(id)?;
        self.partition(stream.topic, stream.partition)?.leader
    }

    /// The stream's live ranges in order, beginning with the one that contains `from` or, if there is
    /// none, with the first one after it.
    pub fn ranges(&self, stream: StreamId, from: u64) -> impl DoubleEndedIterator<Item = CommittedRange> {
        let first = match self.ranges.get_prev(&(stream, from)) {
            Some((&(found, first), meta)) if found == stream && meta.end > from => first,
            _ => from,
        };
        self.ranges.range((stream, first)..=(stream, u64::MAX)).map(|(key, meta)| meta.at(key))
    }

    /// The live range that contains an offset.
    pub fn range_at(&self, stream: StreamId, offset: u64) -> Option<CommittedRange> {
        let (key, meta) = self.ranges.get_prev(&(stream, offset))?;
        (key.0 == stream && meta.end > offset).then(|| meta.at(key))
    }

    /// The newest live range of a stream: where a meta stream's last checkpoint is.
    pub fn last_range(&self, stream: StreamId) -> Option<CommittedRange> {
        let (key, meta) = self.ranges.get_prev(&(stream, u64::MAX))?;
        (key.0 == stream).then(|| meta.at(key))
    }

    /// An object's state.
    pub fn object(&self, id: ObjectId) -> Option<&ObjectState> {
        self.objects.get(&id)
    }

    /// All objects, by id.
    pub fn objects(&self) -> impl Iterator<Item = (ObjectId, &ObjectState)> {
        self.objects.iter().map(|(id, state)| (*id, state))
    }

    /// The id that the next prepared object gets: all ids below were given out.
    pub fn next_object(&self) -> ObjectId {
        ObjectId(self.next_object)
    }

    /// Objects that were marked at or before a time, oldest mark first.
    pub fn marked_until(&self, at_ms: i64) -> impl Iterator<Item = ObjectId> {
        self.marked.range(..=(at_ms, ObjectId(u64::MAX))).map(|(_, id)| *id)
    }

    /// Number of objects that wait for their removal.
    pub fn marked_count(&self) -> usize {
        self.marked.len()
    }

    /// Prepared objects whose time limit ended at or before a time, earliest first.
    pub fn prepared_until(&self, now_ms: i64) -> impl Iterator<Item = ObjectId> {
        self.prepared.range(..=(now_ms, ObjectId(u64::MAX))).map(|(_, id)| *id)
    }

    /// When the first of the prepared objects reaches its time limit.
    pub fn first_deadline_ms(&self) -> Option<i64> {
        self.prepared.get_min().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// When the first of the marked objects was marked.
    pub fn first_mark_ms(&self) -> Option<i64> {
        self.marked.get_min().map(|(at_ms, _)| *at_ms)
    }

    /// The next producer id to be handed out.
    pub fn next_producer(&self) -> ProducerId {
        ProducerId(self.next_producer)
    }

    /// A WAL segment that was not released yet.
    pub fn segment(&self, id: SegmentId) -> Option<&Segment> {
        self.segments.get(&id).map(AsRef::as_ref)
    }

    /// All WAL segments that were not released yet, by id.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.values().map(AsRef::as_ref)
    }

    /// The mirrored WAL segments that dead processes of a node left, by id: what a takeover ends.
    pub fn segments_left_by(&self, owner: NodeId) -> impl Iterator<Item = &Segment> {
        crate::apply::left_by(self, owner)
    }

    /// The WAL segments that a node owns, by id.
    pub fn segments_of(&self, owner: NodeId) -> impl Iterator<Item = &Segment> {
        self.segments().filter(move |segment| segment.owner == owner)
    }
}

impl RangeMeta {
    pub(crate) fn at(&self, &(stream, first): &(StreamId, u64)) -> CommittedRange {
        CommittedRange {
            stream,
            first,
            end: self.end,
            object: self.object,
            records: self.records,
            bytes: self.bytes,
            max_timestamp_ms: self.max_timestamp_ms,
        }
    }
}
