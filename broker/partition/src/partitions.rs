//! All partitions that this node leads, following the metadata image.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use aquifer_client::MetadataClient;
use aquifer_image::{Image, Partition as PartitionMetadata, Topic};
use aquifer_runtime::{Clock, TaskGroup};
use aquifer_stream::Streams;
use aquifer_types::{NodeId, TopicId};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use crate::config::{BrokerOptions, ConfigSources, TopicConfig};
use crate::error::{LookupError, OpenError};
use crate::partition::{Partition, PartitionId};
use crate::past::Past;
use crate::refusals::Refusals;

/// Partitions whose checkpoints are read from the store at once, when a node starts or takes over many.
const OPENS_IN_FLIGHT: usize = 16;

/// How long appends wait for a partition that is being opened, counted from when that began. An opening that takes longer holds up
/// nobody: others' batches come by the same connections.
const OPENING_HOLD: Duration = Duration::from_secs(5);

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

type Key = (TopicId, i32);

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
    slots: RwLock<HashMap<Key, Slot>>,
    /// Ticks when a partition opens, closes or changes its leader epoch.
    changed: watch::Sender<u64>,
    pub(crate) opening: Semaphore,
    /// Slots that are not open.
    unopened: AtomicUsize,
    /// Up to where partitions follow the image: its [`Changed::topics`](aquifer_image::Changed).
    followed: AtomicU64,
    /// Whether a hand-over holds appends.
    pub(crate) holding: AtomicBool,
    refusals: Mutex<Refusals>,
}

#[derive(Debug)]
enum Slot {
    Open(Arc<Partition>),
    Opening { since: Instant },
    Failed { reason: String },
}

impl Slot {
    fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }
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
            unopened: AtomicUsize::new(0),
            followed: AtomicU64::new(0),
            holding: AtomicBool::new(false),
            refusals: Mutex::default(),
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
            Some(Slot::Opening { .. }) => return Err(LookupError::Opening),
            Some(Slot::Failed { reason }) => return Err(LookupError::Failed { reason: reason.clone() }),
            None => {}
        }
        self.0.missing(topic, index)
    }

    /// As [`get`](Self::get), for a client's batch: if it is refused, those that were sent behind it leave no gap.
    pub fn get_for_append(&self, topic: TopicId, index: i32) -> Result<Arc<Partition>, LookupError> {
        let found = self.get(topic, index);
        if let Err(LookupError::NotLeader { .. } | LookupError::Opening | LookupError::Failed { .. }) = &found
        {
            let (key, now) = ((topic, index), Instant::now());
            self.0.refusals().note(key, now);
            // It may have been opened between the look and the note.
            if let Some(partition) = self.0.opened(key) {
                partition.refused_at(now);
            }
        }
        found
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

    /// Whether some partition may be about to open, or in the middle of a hand-over. Cheap.
    pub fn holds_any(&self) -> bool {
        self.0.holding.load(Ordering::Relaxed)
            || self.0.unopened.load(Ordering::Relaxed) > 0
            || self.0.followed.load(Ordering::Relaxed) != self.0.metadata.image().changed().topics.get()
    }

    /// Waits while a partition that this node leads is about to open, or in the middle of a hand-over. Bound it: afterwards an
    /// append may be refused all the same.
    pub async fn appendable(&self, topic: TopicId, index: i32) {
        let mut changes = self.changes();
        loop {
            match self.get(topic, index) {
                Ok(partition) if partition.is_held() => partition.released().await,
                Err(LookupError::Opening) => {
                    let limit = self.0.opening_since((topic, index)) + OPENING_HOLD;
                    if timeout_at(limit, changes.changed()).await.is_err() {
                        return;
                    }
                }
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Whether every partition that this node leads by the current image is open.
    pub fn all_open(&self) -> bool {
        let image = self.0.metadata.image();
        let slots = self.0.slots();
        image.led_by(self.0.config.node).all(|key| slots.get(&key).is_some_and(Slot::is_open))
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
    fn slots(&self) -> RwLockReadGuard<'_, HashMap<Key, Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots_mut(&self) -> RwLockWriteGuard<'_, HashMap<Key, Slot>> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open(&self) -> Vec<Arc<Partition>> {
        let slots = self.slots();
        let open = slots.values().filter_map(|slot| match slot {
            Slot::Open(partition) => Some(partition.clone()),
            Slot::Opening { .. } | Slot::Failed { .. } => None,
        });
        open.collect()
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partitions are as this image says, or on their way there.
    pub(crate) fn followed_to(&self, image: &Image) {
        self.followed.store(image.changed().topics.get(), Ordering::Relaxed);
    }

    /// Puts a partition where it is looked up, or takes it away; what was there.
    fn set(&self, slots: &mut HashMap<Key, Slot>, key: Key, slot: Option<Slot>) -> Option<Slot> {
        let waits = |slot: Option<&Slot>| slot.is_some_and(|slot| !slot.is_open());
        let old = match slot {
            Some(slot) => slots.insert(key, slot),
            None => slots.remove(&key),
        };
        let after = usize::from(waits(slots.get(&key)));
        let before = usize::from(waits(old.as_ref()));
        if after > before {
            self.unopened.fetch_add(1, Ordering::Relaxed);
        } else if before > after {
            self.unopened.fetch_sub(1, Ordering::Relaxed);
        }
        old
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
        let key = (topic.id, index);
        if let Some(refused_at) = self.refusals().take(key) {
            partition.refused_at(refused_at);
        }
        self.set(&mut slots, key, Some(Slot::Open(partition.clone())));
        drop(slots);
        self.tick();
        Ok(partition)
    }

    /// Notes that a partition is being opened; false when it is open already or somebody is at it.
    pub(crate) fn begin_opening(&self, key: Key) -> bool {
        let mut slots = self.slots_mut();
        let vacant = !slots.contains_key(&key);
        if vacant {
            self.set(&mut slots, key, Some(Slot::Opening { since: Instant::now() }));
        }
        vacant
    }

    /// Whether an opening that began is still wanted.
    pub(crate) fn still_opening(&self, key: Key) -> bool {
        self.slots().get(&key).is_some_and(|slot| !slot.is_open())
    }

    /// When it began, or now if it has not.
    fn opening_since(&self, key: Key) -> Instant {
        match self.slots().get(&key) {
            Some(Slot::Opening { since }) => *since,
            _ => Instant::now(),
        }
    }

    /// An attempt failed; the next one follows.
    pub(crate) fn opening_failed(&self, key: Key, reason: String) {
        let mut slots = self.slots_mut();
        if let Some(slot) = slots.get_mut(&key).filter(|slot| !slot.is_open()) {
            *slot = Slot::Failed { reason };
        }
    }

    /// A partition that is open.
    pub(crate) fn opened(&self, key: Key) -> Option<Arc<Partition>> {
        match self.slots().get(&key) {
            Some(Slot::Open(partition)) => Some(partition.clone()),
            _ => None,
        }
    }

    /// This node does not lead the partition any more.
    pub(crate) fn close(&self, key: Key) {
        let removed = self.set(&mut self.slots_mut(), key, None);
        if let Some(Slot::Open(partition)) = &removed {
            partition.close();
        }
        if removed.is_some() {
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
