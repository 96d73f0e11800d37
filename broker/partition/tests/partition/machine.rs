//! A machine with all that a node's partitions stand on: a simulated disk, a store in memory, a quorum of one.

use std::sync::Arc;
use std::time::Duration;

use aquifer_client::{ClientConfig, MetadataClient};
use aquifer_disk::{SimulatedDisk, SimulatedFaults};
use aquifer_image::{
    AlterConfigs, ConfigResource, CreateTopic, DeleteTopic, Endpoint, OfferMirror, Outcome, RegisterBroker,
    SecurityProtocol,
};
use aquifer_objects::{Store, StoreOptions};
use aquifer_partition::{Partition, Partitions, PartitionsConfig, describe};
use aquifer_quorum::{Formation, MemoryStorage, Quorum, QuorumConfig, Router, Storage};
use aquifer_runtime::{Clock, Random, SimulatedClock, TaskGroup};
use aquifer_stream::{Durability, Mirroring, Streams, StreamsConfig, StreamsParts};
use aquifer_types::{BrokerEpoch, DiskId, NodeId, TopicId};
use aquifer_wal::{Identity, WalConfig};

/// Far beyond what anything here takes; reached only by a bug.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// When the clock of every test starts.
pub(crate) const START_MS: i64 = 1_700_000_000_000;
/// The node.
pub(crate) const NODE: NodeId = NodeId(1);

/// A second one.
pub(crate) const OTHER: NodeId = NodeId(2);

/// What outlives a process.
pub(crate) struct Machine {
    pub(crate) disk: SimulatedDisk,
    pub(crate) store: Store,
    pub(crate) random: Random,
    /// Of all brokers.
    pub(crate) streams: StreamsConfig,
    metadata: MemoryStorage,
    clock: Clock,
    /// Moves the wall clock.
    pub(crate) hand: SimulatedClock,
    /// How its WAL is mirrored. [`OTHER`] offers to, if it is.
    pub(crate) mirroring: Option<Mirroring>,
}

/// A process on it.
pub(crate) struct Node {
    pub(crate) partitions: Partitions,
    pub(crate) streams: Streams,
    pub(crate) metadata: MetadataClient,
    random: Random,
    quorum: Quorum,
    tasks: TaskGroup,
}

impl Machine {
    pub(crate) async fn new(seed: u64) -> Self {
        let (clock, hand) = Clock::simulated(START_MS);
        let random = Random::seeded(seed);
        let options = StoreOptions::default();
        let store =
            aquifer_objects::open("memory://", &options, clock.clone(), random.clone()).await.unwrap();
        let disk = SimulatedDisk::new(seed, SimulatedFaults::default());
        let streams = StreamsConfig::default();
        Self { disk, store, random, streams, metadata: MemoryStorage::new(), clock, hand, mirroring: None }
    }

    /// The same, whose brokers acknowledge what committed objects have.
    pub(crate) async fn durable_in_store(seed: u64) -> Self {
        let upload_age = Duration::from_millis(20);
        let streams = StreamsConfig { durability: Durability::Store, upload_age, ..StreamsConfig::default() };
        Self { streams, ..Self::new(seed).await }
    }

    /// Starts a process, which recovers what an earlier one left.
    pub(crate) async fn start(&self) -> Node {
        self.start_with(PartitionsConfig::new(NODE)).await
    }

    pub(crate) async fn start_with(&self, config: PartitionsConfig) -> Node {
        let tasks = TaskGroup::new();
        let router = Router::new(self.random.clone());
        let formation = Formation::Bootstrap([(NODE, String::new())].into());
        let quorum = QuorumConfig::new(NODE, Storage::Memory(self.metadata.clone()), formation);
        let quorum = Quorum::start(quorum, router.endpoint(NODE), &self.random, &tasks).await.unwrap();
        router.attach(&quorum);
        self.broker(config, quorum, &self.disk, tasks).await
    }

    /// Starts a second broker, [`OTHER`], beside `first`: a disk of its own, the same store and quorum.
    pub(crate) async fn join(&self, first: &Node, disk: &SimulatedDisk) -> Node {
        self.broker(PartitionsConfig::new(OTHER), first.quorum.clone(), disk, TaskGroup::new()).await
    }

    async fn broker(
        &self,
        config: PartitionsConfig,
        quorum: Quorum,
        disk: &SimulatedDisk,
        tasks: TaskGroup,
    ) -> Node {
        let id = config.node;
        let metadata = MetadataClient::start(quorum.clone(), ClientConfig::default(), &self.random, &tasks)
            .await
            .unwrap();
        let epoch = self.register(&metadata, id).await;
        if self.mirroring.is_some() {
            let broker_epoch = self.register(&metadata, OTHER).await;
            let offer = OfferMirror { node: OTHER, broker_epoch, disk: DiskId(self.random.uuid()) };
            metadata.propose(offer).await.unwrap();
        }
        let identity = Identity { cluster: 1, disk: 1, owner: id.get() };
        let wal = WalConfig { capacity_bytes: 16 << 20, ..WalConfig::default() };
        let wal = aquifer_wal::open(wal, disk.attach().unwrap(), identity).await.unwrap();
        let parts = StreamsParts {
            wal,
            store: self.store.clone(),
            metadata: metadata.clone(),
            node: id,
            broker_epoch: epoch,
            disk: DiskId::ZERO,
            mirroring: self.mirroring.clone(),
            describe,
            clock: self.clock.clone(),
            tasks: tasks.clone(),
        };
        let streams = Streams::open(self.streams.clone(), parts).await.unwrap();
        let partitions =
            Partitions::start(config, streams.clone(), metadata.clone(), self.clock.clone(), &tasks);
        let node = Node { partitions, streams, metadata, random: self.random.clone(), quorum, tasks };
        node.wait_open().await;
        node
    }

    async fn register(&self, metadata: &MetadataClient, node: NodeId) -> BrokerEpoch {
        let endpoint = Endpoint {
            listener: "PLAINTEXT".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 9092,
            security: SecurityProtocol::Plaintext,
        };
        let incarnation = self.random.uuid();
        let register = RegisterBroker { node, incarnation, endpoints: vec![endpoint], rack: None };
        let Outcome::BrokerRegistered { epoch } = metadata.propose(register).await.unwrap() else {
            panic!("registering is answered with an epoch");
        };
        epoch
    }

    /// Ends a process as `kill -9` does: what the disk has in flight is written, nothing else happens.
    pub(crate) async fn kill(&self, node: Node) {
        self.disk.kill();
        node.end().await;
    }

    /// Ends it by cutting the power.
    pub(crate) async fn crash(&self, node: Node) {
        self.disk.crash();
        node.end().await;
    }
}

impl Node {
    async fn end(self) {
        self.tasks.stopping().cancel();
        self.quorum.shutdown().await;
        self.tasks.shutdown(PATIENCE).await.expect("all tasks watch the group");
    }

    /// Waits until all that this node leads is open.
    pub(crate) async fn wait_open(&self) {
        let mut changes = self.partitions.changes();
        tokio::time::timeout(PATIENCE, async {
            while !self.partitions.all_open() {
                changes.changed().await.expect("the registry lives");
            }
        })
        .await
        .expect("partitions open");
    }

    /// Creates a topic; its partition 0.
    pub(crate) async fn create(
        &self,
        name: &str,
        partitions: usize,
        configs: &[(&str, &str)],
    ) -> Arc<Partition> {
        let id = TopicId(self.random.uuid());
        let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let leaders = vec![NODE; partitions];
        let create = CreateTopic { name: name.to_owned(), id, replication_factor: 1, configs, leaders };
        self.metadata.propose(create).await.unwrap();
        self.partitions.get(id, 0).expect("a new partition is there at once")
    }

    /// Deletes a topic.
    pub(crate) async fn delete(&self, topic: TopicId, now_ms: i64) {
        self.metadata.propose(DeleteTopic { id: topic, now_ms }).await.unwrap();
    }

    /// Sets one config of a topic.
    pub(crate) async fn set(&self, topic: &str, name: &str, value: &str) {
        let resource = ConfigResource::Topic(topic.to_owned());
        let changes = vec![(name.to_owned(), Some(value.to_owned()))];
        self.metadata.propose(AlterConfigs { resource, changes }).await.unwrap();
    }

    /// Partition 0 of a topic.
    pub(crate) fn get(&self, topic: &str) -> Arc<Partition> {
        self.partitions.get_by_name(topic, 0).unwrap()
    }
}
