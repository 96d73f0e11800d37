use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use aquifer_client::{ClientConfig, MetadataClient};
use aquifer_disk::{SimulatedDisk, SimulatedFaults};
use aquifer_image::{
    CreateTopic, DeleteTopic, Endpoint, OfferMirror, Outcome, RegisterBroker, SecurityProtocol,
};
use aquifer_objects::{Store, StoreOptions};
use aquifer_quorum::{Formation, MemoryStorage, Quorum, QuorumConfig, Router, Storage};
use aquifer_runtime::{Clock, Random, SimulatedClock, TaskGroup};
use aquifer_types::{BrokerEpoch, DiskId, NodeId, TopicId};
use aquifer_wal::{Identity, WalConfig};
use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::lock::lock;
use crate::{
    AppendError, Batch, Checkpoint, Description, Lsn, Mirroring, OpenError, ReadError, ReadRequest, Stream,
    Streams, StreamsConfig, StreamsParts,
};

const NODE: NodeId = NodeId(1);
/// Brokers that offer to mirror the WAL, where it is mirrored.
pub(super) const OTHERS: [NodeId; 2] = [NodeId(2), NodeId(3)];
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(600);
/// Where the clock stands at first.
pub(super) const NOON_MS: i64 = 1_700_000_000_000;

/// What outlives a process: the disk, the metadata on its disk, the store.
pub(super) struct World {
    pub(super) disk: SimulatedDisk,
    storage: MemoryStorage,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) hand: SimulatedClock,
    random: Random,
    pub(super) config: StreamsConfig,
    pub(super) wal: WalConfig,
    pub(super) mirroring: Option<Mirroring>,
    disk_id: DiskId,
}

/// A process.
pub(super) struct Node {
    pub(super) tasks: TaskGroup,
    pub(super) quorum: Quorum,
    pub(super) metadata: MetadataClient,
    pub(super) streams: Streams,
    /// Partitions live as long as the process.
    owners: Mutex<Vec<Arc<Owner>>>,
}

pub(super) async fn memory_store(clock: &Clock, seed: u64) -> Store {
    let options = StoreOptions::default();
    let opened = aquifer_objects::open("memory://", &options, clock.clone(), Random::seeded(seed));
    opened.await.expect("memory")
}

impl World {
    pub(super) async fn new(seed: u64) -> World {
        let (clock, hand) = Clock::simulated(NOON_MS);
        let random = Random::seeded(seed);
        World {
            disk: SimulatedDisk::new(seed, SimulatedFaults::default()),
            storage: MemoryStorage::new(),
            store: memory_store(&clock, seed).await,
            clock,
            hand,
            config: StreamsConfig {
                unoffloaded_max_bytes: 8 << 20,
                upload_bytes: 64 << 10,
                upload_age: Duration::from_secs(3600),
                retain_after_offload: Duration::ZERO,
                ..StreamsConfig::default()
            },
            wal: WalConfig { capacity_bytes: 32 << 20, ..WalConfig::default() },
            mirroring: None,
            disk_id: DiskId(random.uuid()),
            random,
        }
    }

    pub(super) async fn start(&self) -> Node {
        self.try_start().await.expect("the node starts")
    }

    pub(super) async fn try_start(&self) -> Result<Node, OpenError> {
        let tasks = TaskGroup::new();
        let formation = Formation::Bootstrap(BTreeMap::from([(NODE, String::new())]));
        let config = QuorumConfig::new(NODE, Storage::Memory(self.storage.clone()), formation);
        let router = Router::new(self.random.clone());
        // As in a node: its end stops nothing else.
        let deciding = TaskGroup::new();
        let started = Quorum::start(config, router.endpoint(NODE), &self.random, &deciding).await;
        let quorum = started.expect("the quorum starts");
        let config = ClientConfig::default();
        let metadata = MetadataClient::start(quorum.clone(), config, &self.random, &tasks).await;
        let metadata = metadata.expect("the metadata is followed");
        let epoch = self.register(&metadata, NODE).await;
        if self.mirroring.is_some() {
            for node in OTHERS {
                let broker_epoch = self.register(&metadata, node).await;
                let offer = OfferMirror { node, broker_epoch, disk: DiskId(self.random.uuid()) };
                metadata.propose(offer).await.expect("taken");
            }
        }
        let disk = self.disk.attach().expect("nobody else has the disk");
        let identity = Identity { cluster: 7, disk: self.disk_id.get().as_u128(), owner: NODE.get() };
        let wal = aquifer_wal::open(self.wal.clone(), disk, identity).await?;
        let parts = StreamsParts {
            wal,
            store: self.store.clone(),
            metadata: metadata.clone(),
            node: NODE,
            broker_epoch: epoch,
            disk: self.disk_id,
            mirroring: self.mirroring.clone(),
            describe,
            clock: self.clock.clone(),
            tasks: tasks.clone(),
        };
        match Streams::open(self.config.clone(), parts).await {
            Ok(streams) => {
                let owners = Mutex::default();
                Ok(Node { tasks, quorum, metadata, streams, owners })
            }
            Err(error) => {
                self.disk.kill();
                self.storage.crash();
                quorum.shutdown().await;
                let _ = tasks.shutdown(SHUTDOWN_LIMIT).await;
                Err(error)
            }
        }
    }

    pub(super) async fn register(&self, metadata: &MetadataClient, node: NodeId) -> BrokerEpoch {
        let endpoint = Endpoint {
            listener: "PLAINTEXT".to_owned(),
            host: "localhost".to_owned(),
            port: 9092,
            security: SecurityProtocol::Plaintext,
        };
        let incarnation = self.random.uuid();
        let register = RegisterBroker { node, incarnation, endpoints: vec![endpoint], rack: None };
        let Ok(Outcome::BrokerRegistered { epoch }) = metadata.propose(register).await else {
            panic!("the broker registers");
        };
        epoch
    }

    /// Kills the process: nothing of it happens after this moment.
    pub(super) async fn kill(&self, node: Node) {
        self.disk.kill();
        self.end(node).await;
    }

    /// Cuts the power: what the disk had not synced is torn.
    pub(super) async fn cut_power(&self, node: Node) {
        self.disk.crash();
        self.end(node).await;
    }

    async fn end(&self, node: Node) {
        self.storage.crash();
        node.tasks.stopping().cancel();
        node.quorum.shutdown().await;
        let _ = node.tasks.shutdown(SHUTDOWN_LIMIT).await;
        node.streams.0.dissolve();
    }

    /// Stops the process gracefully.
    pub(super) async fn stop(&self, node: Node) {
        node.streams.shutdown(SHUTDOWN_LIMIT).await.expect("everything is offloaded");
        node.quorum.shutdown().await;
        let _ = node.tasks.shutdown(SHUTDOWN_LIMIT).await;
        self.disk.kill();
        self.storage.crash();
    }

    /// Keys of all data objects in the store.
    pub(super) async fn objects(&self) -> Vec<String> {
        self.store.list("data").await.expect("listed").into_iter().map(|info| info.key).collect()
    }
}

impl Node {
    /// Creates a topic, and gives its id.
    pub(super) async fn create_topic(&self, name: &str, partitions: usize) -> TopicId {
        let mut id = [0; 16];
        id[..name.len()].copy_from_slice(name.as_bytes());
        let id = TopicId(Uuid::from_bytes(id));
        let create = CreateTopic {
            name: name.to_owned(),
            id,
            replication_factor: 1,
            configs: Vec::new(),
            leaders: vec![NODE; partitions],
        };
        self.metadata.propose(create).await.expect("created");
        id
    }

    pub(super) async fn delete_topic(&self, id: TopicId, now_ms: i64) {
        self.metadata.propose(DeleteTopic { id, now_ms }).await.expect("deleted");
    }

    /// Opens a partition as its owner does: state from the checkpoint, then the tail.
    pub(super) async fn open(&self, topic: TopicId, partition: i32) -> Arc<Owner> {
        let image = self.metadata.image();
        let found = *image.partition(topic, partition).expect("exists");
        let stream = self.streams.stream(found.data, found.meta).expect("in the metadata");
        let mut sum = 0;
        if let Some(checkpoint) = stream.load_checkpoint().await.expect("readable") {
            sum = u64::from_le_bytes(checkpoint[..].try_into().expect("as written"));
        }
        for batch in stream.tail() {
            sum = add(sum, &batch.payload);
        }
        let owner = Arc::new(Owner { stream, sum: Mutex::new(sum), committed: Mutex::new(Vec::new()) });
        let weak = Arc::downgrade(&owner);
        let weak: Weak<dyn Checkpoint> = weak;
        owner.stream.attach(weak);
        lock(&self.owners).push(Arc::clone(&owner));
        owner
    }

    /// Drops all that is cached of offloaded records.
    pub(super) fn empty_caches(&self) {
        let shared = &self.streams.0;
        shared.cold.clear();
        for stream in lock(&shared.streams).values() {
            let freed = stream.evict(u64::MAX, u64::MAX);
            shared.gauges.tail_cache_bytes.fetch_sub(freed, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// A partition whose state is a checksum over everything appended.
pub(super) struct Owner {
    pub(super) stream: Stream,
    sum: Mutex<u64>,
    committed: Mutex<Vec<u64>>,
}

impl Checkpoint for Owner {
    fn checkpoint(&self) -> (u64, Option<Bytes>) {
        let sum = lock(&self.sum);
        (self.stream.end(), Some(Bytes::copy_from_slice(&sum.to_le_bytes())))
    }

    fn committed(&self, end: u64) {
        lock(&self.committed).push(end);
    }
}

impl Owner {
    /// Appends one batch of `records` records and `size` bytes.
    pub(super) fn append(&self, records: u32, size: usize) -> Result<Lsn, AppendError> {
        self.append_at(records, size, NOON_MS)
    }

    pub(super) fn append_at(&self, records: u32, size: usize, timestamp_ms: i64) -> Result<Lsn, AppendError> {
        let mut sum = lock(&self.sum);
        let first = self.stream.end();
        let batch = batch(self.stream.id().get(), first, records, size, timestamp_ms);
        let payload = batch.payload.clone();
        let lsn = self.stream.append(batch, size)?;
        *sum = add(*sum, &payload);
        Ok(lsn)
    }

    /// The same, and waits until it is durable.
    pub(super) async fn write(&self, records: u32, size: usize) {
        let lsn = self.append(records, size).expect("there is room");
        self.stream.durable(lsn).await.expect("the disk works");
    }

    pub(super) fn sum(&self) -> u64 {
        *lock(&self.sum)
    }

    /// The high watermarks that were published, in order.
    pub(super) fn published(&self) -> Vec<u64> {
        lock(&self.committed).clone()
    }

    /// Reads everything from `offset` to the committed end in portions.
    pub(super) async fn read_from(&self, offset: u64, max_bytes: usize) -> Result<Vec<Batch>, ReadError> {
        let mut all = Vec::new();
        let mut next = offset;
        while next < self.stream.committed_end() {
            let part = self.stream.read(&ReadRequest::new(next, max_bytes)).await?;
            assert!(!part.is_empty(), "a reader always gets on; stuck at {next}");
            for batch in part {
                assert!(batch.first <= next && next < batch.end, "no offset is skipped or repeated");
                next = batch.end;
                all.push(batch);
            }
        }
        Ok(all)
    }

    /// Reads everything and compares it with what was written.
    pub(super) async fn check_all(&self, max_bytes: usize) {
        let read = self.read_from(self.stream.start(), max_bytes).await.expect("readable");
        for found in &read {
            check(self.stream.id().get(), found);
        }
    }
}

/// A batch whose bytes follow from where it is.
pub(super) fn batch(stream: u64, first: u64, records: u32, size: usize, timestamp_ms: i64) -> Batch {
    let mut payload = BytesMut::with_capacity(size);
    payload.put_u32_le(records);
    payload.put_i64_le(timestamp_ms);
    let mut word = (stream << 32) ^ first ^ 0x9e37_79b9_7f4a_7c15;
    while payload.len() < size {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        payload.put_u64_le(word);
    }
    payload.truncate(size.max(12));
    Batch {
        first,
        end: first + u64::from(records),
        records,
        max_timestamp_ms: timestamp_ms,
        payload: payload.freeze(),
    }
}

/// Whether a batch that was read is the one that was written there.
pub(super) fn check(stream: u64, found: &Batch) {
    let size = found.payload.len();
    let written = batch(stream, found.first, found.records, size, found.max_timestamp_ms);
    assert_eq!(*found, written, "stream {stream}, offset {}", found.first);
}

pub(super) fn describe(payload: &[u8]) -> Option<Description> {
    let (records, rest) = payload.split_first_chunk::<4>()?;
    let (timestamp, _) = rest.split_first_chunk::<8>()?;
    Some(Description {
        records: u32::from_le_bytes(*records),
        max_timestamp_ms: i64::from_le_bytes(*timestamp),
    })
}

fn add(sum: u64, payload: &[u8]) -> u64 {
    sum.rotate_left(5) ^ u64::from(crc32c::crc32c(payload))
}
