//! The facts of an image as they are written, and the derived indexes rebuilt when they are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use aquifer_types::{ClusterId, LogIndex, NodeId, ObjectId, SegmentId, StreamId, TopicId};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::command::ConfigResource;
use crate::entities::{Broker, ObjectState, Partition, RangeMeta, Segment, Stream, Topic};
use crate::image::{Changed, Configs, Image};

/// What is written: borrowed from the image, field by field as in [`SnapshotRead`].
#[derive(Serialize)]
pub(crate) struct SnapshotWritten<'a> {
    applied: LogIndex,
    cluster_id: Option<ClusterId>,
    changed: Changed,
    next_stream: u64,
    next_object: u64,
    next_producer: i64,
    brokers: &'a OrdMap<NodeId, Arc<Broker>>,
    #[serde(skip_serializing_if = "OrdSet::is_empty")]
    decommissioned: &'a OrdSet<NodeId>,
    topics: &'a OrdMap<TopicId, Arc<Topic>>,
    partitions: &'a OrdMap<(TopicId, i32), Partition>,
    assigned: &'a OrdMap<(TopicId, i32), Arc<[NodeId]>>,
    configs: &'a OrdMap<ConfigResource, Configs>,
    streams: &'a OrdMap<StreamId, Stream>,
    ranges: &'a OrdMap<(StreamId, u64), RangeMeta>,
    objects: &'a OrdMap<ObjectId, ObjectState>,
    segments: &'a OrdMap<SegmentId, Arc<Segment>>,
}

/// What is read. A later release adds its fields here with `#[serde(default)]`.
#[derive(Deserialize)]
pub(crate) struct SnapshotRead {
    applied: LogIndex,
    cluster_id: Option<ClusterId>,
    changed: Changed,
    next_stream: u64,
    next_object: u64,
    next_producer: i64,
    brokers: OrdMap<NodeId, Arc<Broker>>,
    #[serde(default)]
    decommissioned: OrdSet<NodeId>,
    topics: OrdMap<TopicId, Arc<Topic>>,
    partitions: OrdMap<(TopicId, i32), Partition>,
    #[serde(default)]
    assigned: OrdMap<(TopicId, i32), Arc<[NodeId]>>,
    configs: OrdMap<ConfigResource, Configs>,
    streams: OrdMap<StreamId, Stream>,
    ranges: OrdMap<(StreamId, u64), RangeMeta>,
    objects: OrdMap<ObjectId, ObjectState>,
    segments: OrdMap<SegmentId, Arc<Segment>>,
}

impl<'a> SnapshotWritten<'a> {
    pub(crate) fn of(image: &'a Image) -> Self {
        Self {
            applied: image.applied,
            cluster_id: image.cluster_id,
            changed: image.changed,
            next_stream: image.next_stream,
            next_object: image.next_object,
            next_producer: image.next_producer,
            brokers: &image.brokers,
            decommissioned: &image.decommissioned,
            topics: &image.topics,
            partitions: &image.partitions,
            assigned: &image.assigned,
            configs: &image.configs,
            streams: &image.streams,
            ranges: &image.ranges,
            objects: &image.objects,
            segments: &image.segments,
        }
    }
}

impl SnapshotRead {
    /// The image, or what does not fit.
    pub(crate) fn into_image(self) -> Result<Image, String> {
        let mut image = Image {
            applied: self.applied,
            cluster_id: self.cluster_id,
            changed: self.changed,
            next_stream: self.next_stream,
            next_object: self.next_object,
            next_producer: self.next_producer,
            brokers: self.brokers,
            decommissioned: self.decommissioned,
            topics: self.topics,
            partitions: self.partitions,
            assigned: self.assigned,
            configs: self.configs,
            streams: self.streams,
            ranges: self.ranges,
            objects: self.objects,
            segments: self.segments,
            ..Image::default()
        };
        derive(&mut image);
        image.check().map(|()| image).map_err(|violation| violation.to_string())
    }
}

/// Fills the derived indexes from the facts.
pub(crate) fn derive(image: &mut Image) {
    image.topic_names = image.topics.values().map(|topic| (Arc::clone(&topic.name), topic.id)).collect();
    image.canonical_names =
        image.topics.values().map(|topic| (crate::names::canonical(&topic.name), topic.id)).collect();
    let mut led: BTreeMap<NodeId, OrdSet<(TopicId, i32)>> = BTreeMap::new();
    for (&key, partition) in &image.partitions {
        if let Some(leader) = partition.leader {
            led.entry(leader).or_default().insert(key);
        }
    }
    image.led = led.into_iter().collect();
    image.prepared.clear();
    image.marked.clear();
    for (&id, state) in &image.objects {
        match *state {
            ObjectState::Prepared { deadline_ms, .. } => {
                image.prepared.insert((deadline_ms, id));
            }
            ObjectState::Marked { at_ms, .. } => {
                image.marked.insert((at_ms, id));
            }
            ObjectState::Committed { .. } => {}
        }
    }
}
