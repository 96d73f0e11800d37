//! A machine that outlives its node: a disk, a store and a quorum's storage.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aquifer_client::{ClientConfig, MetadataClient};
use aquifer_controller::place;
use aquifer_coordinator::{GroupConfig, GroupError, Groups, OFFSETS_TOPIC, partition_for};
use aquifer_disk::{SimulatedDisk, SimulatedFaults};
use aquifer_image::{CreateTopic, DeleteTopic, Endpoint, Outcome, RegisterBroker, SecurityProtocol};
use aquifer_objects::{Store, StoreOptions};
use aquifer_partition::{Partition, Partitions, PartitionsConfig};
use aquifer_quorum::{Formation, MemoryStorage, Quorum, QuorumConfig, Router, Storage};
use aquifer_runtime::{Clock, Random, TaskGroup};
use aquifer_stream::{Streams, StreamsConfig, StreamsParts};
use aquifer_types::{DiskId, NodeId, TopicId};
use aquifer_wal::{Identity, WalConfig};

const NODE: NodeId = NodeId(1);
/// Few, so that opening them is quick; the tests' group falls on one of them.
pub(crate) const OFFSETS_PARTITIONS: usize = 5;
const STOP_LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Machine {
    disk: SimulatedDisk,
    disk_id: DiskId,
    metadata: MemoryStorage,
    store: Store,
    clock: Clock,
    random: Random,
}

pub(crate) struct Node {
    pub(crate) groups: Groups,
    partitions: Partitions,
    metadata: MetadataClient,
    streams: Streams,
    quorum: Quorum,
    tasks: TaskGroup,
    random: Random,
}

impl Machine {
    pub(crate) async fn new(seed: u64) -> Self {
        let random = Random::seeded(seed);
        let (clock, _) = Clock::simulated(1_700_000_000_000);
        let options = StoreOptions::default();
        let store = aquifer_objects::open("memory://", &options, clock.clone(), random.clone()).await;
        Self {
            disk: SimulatedDisk::new(seed, SimulatedFaults::default()),
            disk_id: DiskId(random.uuid()),
            metadata: MemoryStorage::new(),
            store: store.expect("memory is always there"),
            clock,
            random,
        }
    }

    /// A node with its offsets topic, its groups loaded.
    pub(crate) async fn start(&self, config: GroupConfig) -> Node {
        let node = self.start_with(config).await;
        if node.metadata.image().topic_by_name(OFFSETS_TOPIC).is_none() {
            node.create(OFFSETS_TOPIC, OFFSETS_PARTITIONS, &[("cleanup.policy", "compact")]).await;
        }
        loop {
            match node.groups.describe("orders").await {
                Ok(_) | Err(GroupError::GroupIdNotFound) => return node,
                Err(GroupError::CoordinatorLoadInProgress | GroupError::NotCoordinator) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("the coordinator does not come up: {error}"),
            }
        }
    }

    pub(crate) async fn start_without_offsets_topic(&self) -> Node {
        self.start_with(GroupConfig::default()).await
    }

    async fn start_with(&self, config: GroupConfig) -> Node {
        let tasks = TaskGroup::new();
        let router = Router::new(self.random.clone());
        let formation = Formation::Bootstrap(BTreeMap::from([(NODE, String::new())]));
        let quorum_config = QuorumConfig::new(NODE, Storage::Memory(self.metadata.clone()), formation);
        let quorum =
            Quorum::start(quorum_config, router.endpoint(NODE), &self.random, &tasks).await.expect("quorum");
        router.attach(&quorum);
        let metadata = MetadataClient::start(quorum.clone(), ClientConfig::default(), &self.random, &tasks)
            .await
            .expect("a view");
        let endpoint = Endpoint {
            listener: "PLAINTEXT".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 9092,
            security: SecurityProtocol::Plaintext,
        };
        let incarnation = self.random.uuid();
        let register = RegisterBroker { node: NODE, incarnation, endpoints: vec![endpoint], rack: None };
        let Ok(Outcome::BrokerRegistered { epoch }) = metadata.propose(register).await else {
            panic!("the broker registers")
        };
        let identity = Identity { cluster: 1, disk: self.disk_id.0.as_u128(), owner: NODE.0 };
        let wal_config = WalConfig { capacity_bytes: 32 << 20, ..WalConfig::default() };
        let disk = self.disk.attach().expect("the last process is gone");
        let parts = StreamsParts {
            wal: aquifer_wal::open(wal_config, disk, identity).await.expect("a readable WAL"),
            store: self.store.clone(),
            metadata: metadata.clone(),
            node: NODE,
            broker_epoch: epoch,
            disk: self.disk_id,
            mirroring: None,
            describe: aquifer_partition::describe,
            clock: self.clock.clone(),
            tasks: tasks.clone(),
        };
        let streams = Streams::open(StreamsConfig::default(), parts).await.expect("streams");
        let partitions = Partitions::start(
            PartitionsConfig::new(NODE),
            streams.clone(),
            metadata.clone(),
            self.clock.clone(),
            &tasks,
        );
        let groups = Groups::start(
            config,
            NODE,
            partitions.clone(),
            metadata.clone(),
            self.clock.clone(),
            self.random.clone(),
            &tasks,
        );
        Node { groups, partitions, metadata, streams, quorum, tasks, random: self.random.clone() }
    }

    /// Power is cut.
    pub(crate) fn crash(&self) {
        self.disk.crash();
        self.metadata.crash();
    }
}

impl Node {
    pub(crate) async fn create_topic(&self, name: &str) -> TopicId {
        self.create(name, 1, &[]).await
    }

    async fn create(&self, name: &str, partitions: usize, configs: &[(&str, &str)]) -> TopicId {
        let id = TopicId(self.random.uuid());
        let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let create = CreateTopic {
            name: name.to_owned(),
            id,
            replication_factor: 1,
            configs: configs.collect(),
            leaders: place(&self.metadata.image(), partitions).expect("a broker is registered"),
        };
        self.metadata.propose(create).await.expect("created");
        id
    }

    pub(crate) async fn delete_topic(&self, id: TopicId) {
        self.metadata.propose(DeleteTopic { id, now_ms: 1_700_000_000_000 }).await.expect("deleted");
    }

    pub(crate) fn partition_of(&self, group_id: &str) -> Arc<Partition> {
        let index = partition_for(group_id, OFFSETS_PARTITIONS as u32);
        self.partitions.get_by_name(OFFSETS_TOPIC, index).expect("open")
    }

    /// Stops as an operator would.
    pub(crate) async fn stop(self) {
        self.streams.shutdown(STOP_LIMIT).await.expect("everything is offloaded");
        self.kill().await;
    }

    /// Ends without offloading.
    pub(crate) async fn kill(self) {
        self.quorum.shutdown().await;
        self.tasks.shutdown(STOP_LIMIT).await.expect("every task ends");
    }
}
