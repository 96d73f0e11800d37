//! The node under test.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use aquifer_client::{ClientConfig, MetadataClient};
use aquifer_coordinator::{GroupConfig, Groups};
use aquifer_disk::{SimulatedDisk, SimulatedFaults};
use aquifer_image::{Endpoint, Outcome, RegisterBroker, SecurityProtocol};
use aquifer_objects::{Store, StoreOptions};
use aquifer_partition::{Partitions, PartitionsConfig};
use aquifer_quorum::{Formation, MemoryStorage, Quorum, QuorumConfig, Router, Storage};
use aquifer_runtime::{Clock, Pool, Random, TaskGroup};
use aquifer_server::{Server, ServerConfig, Services};
use aquifer_stream::{Streams, StreamsConfig, StreamsParts};
use aquifer_types::{DiskId, NodeId};
use aquifer_wal::{Identity, WalConfig};

use crate::client::Client;

pub(crate) const NODE: NodeId = NodeId(1);
pub(crate) const LISTENER: &str = "PLAINTEXT";
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// A node with its clients' way in.
pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) metadata: MetadataClient,
    pub(crate) tasks: TaskGroup,
    /// The disk of its WAL.
    pub(crate) disk: SimulatedDisk,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_with(ServerConfig::new(NODE)).await
    }

    pub(crate) async fn start_with(config: ServerConfig) -> Self {
        Self::start_on(config, StreamsConfig::default()).await
    }

    pub(crate) async fn start_on(config: ServerConfig, streams: StreamsConfig) -> Self {
        Self::start_over("memory://", config, streams).await
    }

    /// With the store at `url`.
    pub(crate) async fn start_over(url: &str, config: ServerConfig, streams: StreamsConfig) -> Self {
        let (clock, _) = Clock::simulated(NOW_MS);
        let options = StoreOptions::default();
        let store = aquifer_objects::open(url, &options, clock, Random::seeded(8)).await.expect("opens");
        Self::start_in(store, config, streams).await
    }

    /// With that store.
    pub(crate) async fn start_in(store: Store, config: ServerConfig, streams: StreamsConfig) -> Self {
        let tasks = TaskGroup::new();
        let random = Random::seeded(7);
        let (clock, _) = Clock::simulated(NOW_MS);
        let metadata = metadata(&random, &tasks).await;
        let outcome = metadata.propose(registration(&random)).await.expect("registers");
        let Outcome::BrokerRegistered { epoch } = outcome else { panic!("{outcome:?}") };
        let disk = SimulatedDisk::new(1, SimulatedFaults::default());
        let identity = Identity { cluster: 1, disk: 2, owner: NODE.0 };
        let wal = WalConfig { capacity_bytes: 64 << 20, ..WalConfig::default() };
        let wal = aquifer_wal::open(wal, disk.attach().expect("free"), identity).await.expect("opens");
        let parts = StreamsParts {
            wal,
            store,
            metadata: metadata.clone(),
            node: NODE,
            broker_epoch: epoch,
            disk: DiskId(random.uuid()),
            mirroring: None,
            describe: aquifer_partition::describe,
            clock: clock.clone(),
            tasks: tasks.clone(),
        };
        let streams = Streams::open(streams, parts).await.expect("opens");
        let partitions =
            Partitions::start(PartitionsConfig::new(NODE), streams, metadata.clone(), clock.clone(), &tasks);
        let groups = Groups::start(
            GroupConfig::default(),
            NODE,
            partitions.clone(),
            metadata.clone(),
            clock.clone(),
            random.clone(),
            &tasks,
        );
        let services =
            Services { clock, random, metadata: metadata.clone(), partitions, groups, readers: Pool::none() };
        let server = Server::start(config, Vec::new(), services, &tasks);
        Self { server, metadata, tasks, disk }
    }

    /// A client with a connection of its own.
    pub(crate) fn client(&self) -> Client {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (reader, writer) = tokio::io::split(theirs);
        self.server.serve(Arc::from(LISTENER), IpAddr::V4(Ipv4Addr::LOCALHOST), reader, writer);
        Client::new(ours)
    }

    pub(crate) async fn stop(self) {
        self.tasks.shutdown(Duration::from_secs(30)).await.expect("all tasks end");
        assert!(self.tasks.failure().is_none(), "{:?}", self.tasks.failure());
    }
}

async fn metadata(random: &Random, tasks: &TaskGroup) -> MetadataClient {
    let formation = Formation::Bootstrap(BTreeMap::from([(NODE, String::new())]));
    let config = QuorumConfig::new(NODE, Storage::Memory(MemoryStorage::new()), formation);
    let network = Router::new(random.clone()).endpoint(NODE);
    let quorum = Quorum::start(config, network, random, tasks).await.expect("starts");
    MetadataClient::start(quorum, ClientConfig::default(), random, tasks).await.expect("follows")
}

fn registration(random: &Random) -> RegisterBroker {
    let endpoint = Endpoint {
        listener: LISTENER.to_owned(),
        host: "127.0.0.1".to_owned(),
        port: 9092,
        security: SecurityProtocol::Plaintext,
    };
    RegisterBroker { node: NODE, incarnation: random.uuid(), endpoints: vec![endpoint], rack: None }
}
