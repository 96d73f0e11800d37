//! All partitions that this node leads, following the metadata image.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use aquifer_client::MetadataClient;
use aquifer_image::{Image, Partition as PartitionMetadata, Topic};
use aquifer_runtime::{Clock, TaskGroup};
use aquifer_stream::Streams;
use aquifer_types::{NodeId, TopicId};
use tokio::sync::{Semaphore, watch};

use crate::config::{BrokerOptions, ConfigSources, TopicConfig};
use crate::error::{LookupError, OpenError};
use crate::partition::{Partition, PartitionId};
use crate::past::Past;

/// Partitions whose checkpoints are read from the store at once, when a node starts or takes over many.
const OPENS_IN_FLIGHT: usize = 16;

/// What the registry needs to know of the broker.
#[derive(Clone, Debug)]
pub struct PartitionsConfig {
    /// This node.
    pub node: NodeId,
    /// What the operator set among the broker options that give topics their defaults.
    pub options: BrokerOptions,
    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: i64,
    /// `producer.id.expiration.check.interval.ms`
    pub producer_expiry_interval: Duration,
    /// `log.retention.check.interval.ms`
    pub retention_interval: Duration,
}

impl PartitionsConfig {
    /// Kafka's defaults.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            options: BrokerOptions::new(),
            producer_id_expiration_ms: 86_400_000,
            producer_expiry_interval: Duration::from_secs(600),
            retention_interval: Duration::from_secs(300),
        }
    }
}

/// The partitions of this node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Partitions(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: PartitionsConfig,
    pub(crate) streams: Streams,
    pub(crate) metadata: MetadataClient,
    pub(crate) clock: Clock,
    pub(crate) tasks: TaskGroup,
    slots: RwLock<HashMap<(TopicId, i32), Slot>>,
    /// Ticks when a partition opens, closes or changes its leader epoch.
    changed: watch::Sender<u64>,
    pub(crate) opening: Semaphore,
    /// Whether a hand-over holds appends.
    pub(crate) holding: AtomicBool,
}

#[derive(Debug)]
enum Slot {
    Open(Arc<Partition>),
    Opening,
    Failed { reason: String },
}

impl Partitions {
    /// Opens what this node leads and follows the image from now on, until `tasks` stops.
    pub fn start(
        config: PartitionsConfig,
        streams: Streams,
        metadata: MetadataClient,
        clock: Clock,
        tasks: &TaskGroup,
    ) -> Self {
        let inner = Arc::new(Inner {
            config,
            streams,
            metadata,
            clock,
            tasks: tasks.clone(),
            slots: RwLock::default(),
            changed: watch::Sender::new(0),
            opening: Semaphore::new(OPENS_IN_FLIGHT),
            holding: AtomicBool::new(false),
        });
        crate::follow::start(&inner);
        crate::hand_over::start(&inner);
        Self(inner)
    }

    /// A partition by topic id. Does not wait: a new one is opened on the spot, one with a history may be
    /// [`LookupError::Opening`] for a moment.
    pub fn get(&self, topic: TopicId, index: i32) -> Result<Arc<Partition>, LookupError> {
        match self.0.slots().get(&(topic, index)) {
            Some(Slot::Open(partition)) => return Ok(partition.clone()),
            Some(Slot::Opening) => return Err(LookupError::Opening),
            Some(Slot::Failed { reason }) => return Err(LookupError::Failed { reason: reason.clone() }),
            None => {}
        }
        self.0.missing(topic, index)
    }

    /// A partition by topic name.
    pub fn get_by_name(&self, topic: &str, index: i32) -> Result<Arc<Partition>, LookupError> {
        let id = self.0.metadata.image().topic_by_name(topic).map(|topic| topic.id);
        let id = id.ok_or(LookupError::UnknownTopic)?;
        self.get(id, index).map_err(|error| match error {
            LookupError::UnknownTopicId => LookupError::UnknownTopic,
            other => other,
        })
    }

    /// Everything open, in no order.
    pub fn open(&self) -> Vec<Arc<Partition>> {
        self.0.open()
    }

    /// Ticks whenever a partition was opened or closed or its leader epoch changed; then look again.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Whether appends of so many bytes together, to whatever partitions, have room in the WAL. Cheap.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.0.streams.has_room(bytes as u64)
    }

    /// Waits until they have. Others may take the room first.
    pub async fn room(&self, bytes: usize) {
        self.0.streams.room(bytes as u64).await;
    }

    /// Whether some partition may be in the middle of a hand-over. Cheap.
    pub fn holds_any(&self) -> bool {
        self.0.holding.load(Ordering::Relaxed)
    }

    /// Whether every partition that this node leads by the current image is open.
    pub fn all_open(&self) -> bool {
        let image = self.0.metadata.image();
        let slots = self.0.slots();
        image.led_by(self.0.config.node).all(|key| matches!(slots.get(&key), Some(Slot::Open(_))))
    }

    /// How long a producer's connection should be muted after what it has just appended: nothing while the object store
    /// keeps up, more and more as the WAL fills, so that the point where appends are refused is not reached at full
    /// speed. Cheap.
    pub fn produce_pause(&self) -> Duration {
        self.0.streams.backpressure().pause()
    }

    /// Applies retention now: how many partitions got a later start. Runs by itself every
    /// [`PartitionsConfig::retention_interval`].
    pub async fn apply_retention(&self) -> usize {
        self.0.apply_retention().await
    }
}

impl Inner {
    fn slots(&self) -> RwLockReadGuard<'_, HashMap<(TopicId, i32), Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots_mut(&self) -> RwLockWriteGuard<'_, HashMap<(TopicId, i32), Slot>> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open(&self) -> Vec<Arc<Partition>> {
        let slots = self.slots();
        let open = slots.values().filter_map(|slot| match slot {
            Slot::Open(partition) => Some(partition.clone()),
            Slot::Opening | Slot::Failed { .. } => None,
        });
        open.collect()
    }

    fn tick(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// The image's word on a partition that is in no slot. The follower may not have got there yet: a client that was
    /// just told of a new topic writes to it at once.
    fn missing(&self, topic: TopicId, index: i32) -> Result<Arc<Partition>, LookupError> {
        let image = self.metadata.image();
        let Some(found) = image.topic(topic) else { return Err(LookupError::UnknownTopicId) };
        let Some(partition) = image.partition(topic, index) else {
            return Err(LookupError::UnknownPartition { index });
        };
        if partition.leader != Some(self.config.node) {
            return Err(LookupError::NotLeader {
                leader: partition.leader,
                leader_epoch: partition.leader_epoch,
            });
        }
        if !is_fresh(&image, partition) {
            return Err(LookupError::Opening);
        }
        self.open_now(&image, found, index, partition, Past::default()).map_err(|error| match error {
            OpenError::Stale => LookupError::Opening,
            error => LookupError::Failed { reason: error.to_string() },
        })
    }

    /// Opens a partition whose past is at hand, unless it is open already.
    pub(crate) fn open_now(
        &self,
        image: &Image,
        topic: &Topic,
        index: i32,
        metadata: &PartitionMetadata,
        past: Past,
    ) -> Result<Arc<Partition>, OpenError> {
        let config = Arc::new(self.topic_config(image, topic));
        let mut slots = self.slots_mut();
        if let Some(Slot::Open(partition)) = slots.get(&(topic.id, index)) {
            return Ok(partition.clone());
        }
        // The caller's image may be old: since then the partition may have been opened here, handed over and closed.
        let now = self.metadata.image();
        if now.partition(topic.id, index).is_none_or(|now| now.leader_epoch != metadata.leader_epoch) {
            return Err(OpenError::Stale);
        }
        let stream = self.streams.stream(metadata.data, metadata.meta);
        let stream = stream.map_err(|error| OpenError::Stream(error.to_string()))?;
        let id = PartitionId { topic: topic.name.clone(), topic_id: topic.id, index };
        let epoch = metadata.leader_epoch.get();
        let partition = Partition::open(id, epoch, stream, past, config, self.clock.clone())?;
        slots.insert((topic.id, index), Slot::Open(partition.clone()));
        drop(slots);
        self.tick();
        Ok(partition)
    }

    /// Notes that a partition is being opened; false when it is open already or somebody is at it.
    pub(crate) fn begin_opening(&self, key: (TopicId, i32)) -> bool {
        let mut slots = self.slots_mut();
        let vacant = !slots.contains_key(&key);
        if vacant {
            slots.insert(key, Slot::Opening);
        }
        vacant
    }

    /// Whether an opening that began is still wanted.
    pub(crate) fn still_opening(&self, key: (TopicId, i32)) -> bool {
        matches!(self.slots().get(&key), Some(Slot::Opening | Slot::Failed { .. }))
    }

    /// An attempt failed; the next one follows.
    pub(crate) fn opening_failed(&self, key: (TopicId, i32), reason: String) {
        let mut slots = self.slots_mut();
        if let Some(slot @ (Slot::Opening | Slot::Failed { .. })) = slots.get_mut(&key) {
            *slot = Slot::Failed { reason };
        }
    }

    /// A partition that is open.
    pub(crate) fn opened(&self, key: (TopicId, i32)) -> Option<Arc<Partition>> {
        match self.slots().get(&key) {
            Some(Slot::Open(partition)) => Some(partition.clone()),
            _ => None,
        }
    }

    /// This node does not lead the partition any more.
    pub(crate) fn close(&self, key: (TopicId, i32)) {
        let removed = self.slots_mut().remove(&key);
        if let Some(Slot::Open(partition)) = removed {
            partition.close();
            self.tick();
        }
    }

    /// An open partition goes on under a newer leader epoch.
    pub(crate) fn lead(&self, partition: &Partition, leader_epoch: i32) {
        if partition.leader_epoch() < leader_epoch {
            partition.lead(leader_epoch);
            self.tick();
        }
    }

    /// The configs of a topic in force.
    pub(crate) fn topic_config(&self, image: &Image, topic: &Topic) -> TopicConfig {
        let own = Some(&topic.configs);
        TopicConfig::new(&ConfigSources::new(image, self.config.node, &self.config.options, own))
    }
}

/// Whether a partition has nothing in the store, so that nothing has to be read to open it. Without a checkpoint it may have
/// records there all the same: a takeover commits a tail without one.
pub(crate) fn is_fresh(image: &Image, partition: &PartitionMetadata) -> bool {
    let offloaded = |id| image.stream(id).is_some_and(|stream| stream.end > 0);
    !offloaded(partition.meta) && !offloaded(partition.data)
}

#[cfg(test)]
mod tests {
    use aquifer_image::{
        Bootstrap, Command, CommitObject, CreateTopic, Endpoint, PrepareObjects, RegisterBroker,
        SecurityProtocol, StreamRange,
    };
    use aquifer_runtime::Random;
    use aquifer_types::{BrokerEpoch, ClusterId, ObjectId};

    use super::*;

    const NODE: NodeId = NodeId(1);

    fn apply(image: &mut Image, command: impl Into<Command>) {
        image.apply(image.applied().next(), &command.into()).expect("the test's commands are valid");
    }

    /// One partition without records.
    fn image() -> (Image, TopicId, BrokerEpoch) {
        let (mut image, random) = (Image::new(), Random::seeded(1));
        let topic = TopicId(random.uuid());
        apply(&mut image, Bootstrap { cluster_id: ClusterId(random.uuid()) });
        let endpoint = Endpoint {
            listener: "PLAINTEXT".to_owned(),
            host: "localhost".to_owned(),
            port: 9092,
            security: SecurityProtocol::Plaintext,
        };
        let (incarnation, endpoints) = (random.uuid(), vec![endpoint]);
        apply(&mut image, RegisterBroker { node: NODE, incarnation, endpoints, rack: None });
        let (name, configs, leaders) = ("t".to_owned(), Vec::new(), vec![NODE]);
        apply(&mut image, CreateTopic { name, id: topic, replication_factor: 1, configs, leaders });
        let epoch = image.broker_epoch(NODE).expect("just registered");
        (image, topic, epoch)
    }

    #[test]
    fn a_partition_whose_records_were_committed_without_a_checkpoint_is_not_fresh() {
        let (mut image, topic, broker_epoch) = image();
        let partition = *image.partition(topic, 0).expect("just created");
        assert!(is_fresh(&image, &partition));
        let (node, now_ms) = (NODE, 1_000);
        apply(&mut image, PrepareObjects { node, broker_epoch, count: 1, now_ms, time_limit_ms: 1_000 });
        let range = StreamRange {
            stream: partition.data,
            first: 0,
            end: 3,
            records: 3,
            bytes: 100,
            max_timestamp_ms: 7,
            replaces_older: false,
        };
        let object = ObjectId(image.next_object().get() - 1);
        let (size_bytes, ranges) = (200, vec![range]);
        apply(&mut image, CommitObject { node, broker_epoch, object, size_bytes, now_ms, ranges });
        assert!(!is_fresh(&image, &partition), "its producers are to be read from what is in the store");
    }
}
