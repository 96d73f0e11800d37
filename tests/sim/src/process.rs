//! A node's process, wired as the `aquifer` binary wires it, on simulated ground.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aquifer_client::{ClientConfig, MetadataClient, Source};
use aquifer_coordinator::{GroupConfig, Groups};
use aquifer_heartbeat::{HEARTBEAT, Heart, Port};
use aquifer_image::{Endpoint, FenceBroker, OfferMirror, Outcome, RegisterBroker, SecurityProtocol};
use aquifer_mirror::{Links, Member, OwnCopies, PeerCopies, Takeovers};
use aquifer_objects::{RetryLimits, Store, StoreOptions};
use aquifer_partition::{Partitions, PartitionsConfig};
use aquifer_peer::{Listener, Peers};
use aquifer_quorum::{
    Formation, PeerNetwork, Quorum, QuorumConfig, RemoteQuorum, Storage, agree_on_formation, stay_joined,
    succeed_dead_leaders,
};
use aquifer_rebalancing::{depart, until_others_have_stopped};
use aquifer_runtime::{CancellationToken, OnEnd, Random, TaskGroup};
use aquifer_stream::{Durability, Mirroring, Recoverer, Streams, StreamsConfig, StreamsParts};
use aquifer_types::{BrokerEpoch, ClusterId, DiskId, NodeId};
use aquifer_wal::{Identity, MirrorStore, MirrorStoreConfig, OpenError, WalConfig};
use tokio::time::timeout;

use crate::machine::Machine;
use crate::planted::Planted;
use crate::scenario::WalMode;

/// `broker.heartbeat.interval.ms`
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);
/// `broker.session.timeout.ms`
const SESSION: Duration = Duration::from_millis(2_000);
/// As of a node that is no controller.
const PROPOSE_LIMIT: Duration = Duration::from_secs(10);
/// As of a node's stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);
const OFFLOAD_STOP_LIMIT: Duration = Duration::from_secs(90);
const LEAVING_LIMIT: Duration = Duration::from_secs(3);
/// The listener name of the internal port.
const INTERNAL: &str = "CONTROLLER";

pub(crate) type Attempt<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The task groups of a process, and what severs it from the world.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) serving: TaskGroup,
    pub(crate) storing: TaskGroup,
    pub(crate) deciding: TaskGroup,
    /// Cancelled at the moment of death: whoever waits for an answer gets none.
    pub(crate) dead: CancellationToken,
    pub(crate) store: Store,
    /// By which the store knows this process.
    pub(crate) store_process: u64,
}

/// A process that serves.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) node: NodeId,
    pub(crate) epoch: BrokerEpoch,
    pub(crate) partitions: Partitions,
    pub(crate) groups: Groups,
    pub(crate) metadata: MetadataClient,
    pub(crate) quorum: Option<Quorum>,
    pub(crate) body: Body,
    streams: Streams,
    beating: TaskGroup,
    /// Copies that it keeps for others.
    member: Member,
    _takeovers: Takeovers<PeerCopies>,
}

impl Body {
    pub(crate) fn new(machine: &Machine, random: &Random) -> Self {
        let options = StoreOptions {
            time_limit: Duration::from_secs(3),
            retry: RetryLimits { within: Duration::from_secs(20), ..RetryLimits::default() },
            ..StoreOptions::default()
        };
        let (store, store_process) = machine.store.attach(&options, machine.clock.clone(), random.clone());
        Self {
            serving: TaskGroup::new(),
            storing: TaskGroup::new(),
            deciding: TaskGroup::new(),
            dead: CancellationToken::new(),
            store,
            store_process,
        }
    }

    /// What runs in it, from the top down.
    pub(crate) fn tasks(&self) -> [&TaskGroup; 3] {
        [&self.serving, &self.storing, &self.deciding]
    }

    /// Resolves when an essential part has failed: why.
    pub(crate) async fn failed(&self) -> String {
        tokio::select! {
            biased;
            () = self.serving.stopping().cancelled() => {}
            () = self.storing.stopping().cancelled() => {}
            () = self.deciding.stopping().cancelled() => {}
        }
        let failure = self.tasks().into_iter().rev().find_map(TaskGroup::failure);
        failure.map_or("a part stopped".to_owned(), |failure| failure.to_string())
    }
}

/// Starts a process, and gives it when clients are served.
pub(crate) async fn start(
    machine: &Machine,
    servers: &[String],
    body: Body,
    random: Random,
) -> Attempt<Process> {
    let node = machine.node;
    let incarnation = random.uuid();
    let port = open_port(machine, aquifer_heartbeat::instance(incarnation), &body.deciding);
    let quorum = match machine.controller {
        true => Some(start_quorum(machine, servers, &port, &random, &body.deciding).await?),
        false => None,
    };
    let source: Source = match &quorum {
        Some(quorum) => quorum.clone().into(),
        None => RemoteQuorum::new(port.peers.clone(), servers.to_vec(), PROPOSE_LIMIT).into(),
    };
    let config = ClientConfig { form_limit: None, ..ClientConfig::default() };
    let metadata = MetadataClient::start(source.clone(), config, &random, &body.storing).await?;
    let cluster = metadata.image().cluster_id().expect("the client waits until there is a cluster");
    let (mirrors, mirror_disk) = open_mirrors(machine, cluster, &random, &body.storing).await?;
    let member = Member::serve(mirrors, metadata.clone(), &port.listener, &body.storing);
    let (wal_disk, wal_disk_id) = machine.wal_disk();
    let identity = identity(cluster, wal_disk_id, node);
    let disposable = machine.wal_mode == WalMode::Object;
    let wal = WalConfig { capacity_bytes: machine.wal_bytes, disposable, ..WalConfig::default() };
    let wal = aquifer_wal::open(wal, wal_disk.attach()?, identity).await?;
    let registration = RegisterBroker {
        node,
        incarnation,
        endpoints: vec![
            Endpoint {
                listener: "PLAINTEXT".to_owned(),
                host: format!("host-{node}"),
                port: 9092,
                security: SecurityProtocol::Plaintext,
            },
            port.endpoint.clone(),
        ],
        rack: None,
    };
    let epoch = register(&metadata, registration).await?;
    let beating = body.storing.child();
    let peers = port.peers.clone();
    Heart { port, source, metadata: metadata.clone(), epoch, interval: HEARTBEAT_INTERVAL }.start(&beating);
    stop_with(&beating, &body.storing);
    if machine.wal_mode != WalMode::Object {
        metadata.propose(OfferMirror { node, broker_epoch: epoch, disk: mirror_disk }).await?;
    }
    let left = OwnCopies::new(node, wal_disk_id, &wal.recovered);
    let recoverer = Recoverer {
        copies: PeerCopies::new(peers.clone(), Some(left.clone())),
        metadata: metadata.clone(),
        store: body.store.clone(),
        clock: machine.clock.clone(),
        node,
        broker_epoch: epoch,
        describe: aquifer_partition::describe,
    };
    let takeovers = Takeovers::start(recoverer, &body.storing);
    takeovers.end_own().await;
    left.forget();
    let links = Links::new(peers.clone(), body.storing.clone());
    let mirroring = machine.wal_mode.copies_and_needed().map(|(copies, needed)| Mirroring {
        copies,
        min_copies: 2,
        needed,
        connect: Arc::new(move |segment, member, acks| links.connect(segment, member, acks)),
    });
    let parts = StreamsParts {
        mirroring,
        wal,
        store: body.store.clone(),
        metadata: metadata.clone(),
        node,
        broker_epoch: epoch,
        disk: wal_disk_id,
        describe: aquifer_partition::describe,
        clock: machine.clock.clone(),
        tasks: body.storing.clone(),
    };
    let streams = Streams::open(streams_config(machine), parts).await?;
    let partitions = Partitions::start(
        PartitionsConfig { retention_interval: Duration::from_secs(5), ..PartitionsConfig::new(node) },
        streams.clone(),
        metadata.clone(),
        machine.clock.clone(),
        &body.storing,
    );
    let groups = Groups::start(
        group_config(),
        node,
        partitions.clone(),
        metadata.clone(),
        machine.clock.clone(),
        random,
        &body.serving,
    );
    Ok(Process {
        node,
        epoch,
        partitions,
        groups,
        metadata,
        quorum,
        body,
        streams,
        beating,
        member,
        _takeovers: takeovers,
    })
}

impl Process {
    /// Stops as a node stops that is told to: has others lead what it led, offloads everything, says that it leaves, hands the
    /// lead of the quorum over.
    pub(crate) async fn stop(&self) -> Result<(), String> {
        depart(&self.metadata, self.node, self.epoch, self.body.storing.stopping()).await;
        let _ = self.body.serving.shutdown(STOP_LIMIT).await;
        let offloaded = self.streams.shutdown(OFFLOAD_STOP_LIMIT).await;
        self.leave().await;
        let _ = self.body.storing.shutdown(STOP_LIMIT).await;
        if let Some(quorum) = &self.quorum {
            quorum.resign(LEAVING_LIMIT).await;
        }
        let _ = self.body.deciding.shutdown(STOP_LIMIT).await;
        offloaded.map_err(|error| error.to_string())
    }

    /// Tells the others that this broker is gone.
    async fn leave(&self) {
        let _ = self.beating.shutdown(LEAVING_LIMIT).await;
        if self.metadata.image().is_decommissioned(self.node) {
            return;
        }
        let leaving = self.metadata.propose(FenceBroker { node: self.node, broker_epoch: self.epoch });
        let _ = timeout(LEAVING_LIMIT, leaving).await;
        until_others_have_stopped(&self.metadata, self.node).await;
        self.member.leave(self.node, LEAVING_LIMIT).await;
    }

    /// Resolves when the cluster has forgotten this node for good.
    pub(crate) async fn forgotten(&self) {
        let mut changes = self.metadata.changes();
        let forgotten = changes.wait_for(|image| image.is_decommissioned(self.node)).await.is_ok();
        if !forgotten {
            // The feed ends only with the process.
            std::future::pending::<()>().await;
        }
    }
}

/// Opens the store of copies. A damaged one is given up, with its disk's id.
async fn open_mirrors(
    machine: &Machine,
    cluster: ClusterId,
    random: &Random,
    tasks: &TaskGroup,
) -> Attempt<(MirrorStore, DiskId)> {
    let open = async || {
        let (disk, id) = machine.mirror_disk();
        let wal = WalConfig { capacity_bytes: machine.wal_bytes, ..WalConfig::default() };
        let config = MirrorStoreConfig { wal, ..MirrorStoreConfig::default() };
        let attached = disk.attach()?;
        MirrorStore::open(config, attached, identity(cluster, id, machine.node), tasks).await
    };
    let store = match open().await {
        Err(OpenError::Corrupt(_) | OpenError::Mirror(_)) => {
            machine.replace_mirror_disk(random);
            open().await?
        }
        opened => opened?,
    };
    let (_, id) = machine.mirror_disk();
    Ok((store, id))
}

/// Who writes on a disk.
fn identity(cluster: ClusterId, disk: DiskId, node: NodeId) -> Identity {
    let cluster = cluster.0.as_u64_pair();
    Identity { cluster: cluster.0 ^ cluster.1, disk: disk.0.as_u128(), owner: node.get() }
}

fn open_port(machine: &Machine, instance: u64, tasks: &TaskGroup) -> Port {
    let transport = machine.network.transport(machine.node, &machine.address());
    let channels: Vec<_> =
        aquifer_quorum::CHANNELS.into_iter().chain([HEARTBEAT]).chain(aquifer_mirror::CHANNELS).collect();
    let peers = Peers::new(machine.node, instance, &channels, transport, tasks);
    let listener = Listener::start(&peers);
    let (host, port) = (machine.host(), Machine::PORT);
    let endpoint =
        Endpoint { listener: INTERNAL.to_owned(), host, port, security: SecurityProtocol::Plaintext };
    Port { peers, listener, endpoint }
}

async fn start_quorum(
    machine: &Machine,
    servers: &[String],
    port: &Port,
    random: &Random,
    tasks: &TaskGroup,
) -> Attempt<Quorum> {
    let formation = match machine.storage.is_blank() {
        true => agree_on_formation(&port.peers, &port.listener, &port.address(), servers).await,
        false => Formation::Join,
    };
    let planted = machine.planted;
    let config = QuorumConfig {
        leads_on_after_restart: planted == Some(Planted::LeadsOn),
        // Often enough that followers far behind get a snapshot.
        snapshot_every: 200,
        log_keep: 50,
        ..QuorumConfig::new(machine.node, Storage::Memory(machine.storage.clone()), formation)
    };
    let quorum = Quorum::start(config, PeerNetwork::new(port.peers.clone()), random, tasks).await?;
    aquifer_quorum::serve(&quorum, &port.listener);
    let stopping = tasks.stopping().clone();
    let joined = stay_joined(quorum.clone(), port.peers.clone(), port.address(), servers.to_vec(), stopping);
    tasks.spawn("metadata-join", OnEnd::Continue, joined);
    let succession = succeed_dead_leaders(quorum.clone(), port.peers.clone(), tasks.stopping().clone());
    tasks.spawn("metadata-succession", OnEnd::Continue, succession);
    aquifer_heartbeat::start_controller(port, &quorum, SESSION, tasks);
    if planted != Some(Planted::IdleController) {
        aquifer_rebalancing::start(&quorum, true, tasks);
    }
    Ok(quorum)
}

async fn register(metadata: &MetadataClient, registration: RegisterBroker) -> Attempt<BrokerEpoch> {
    match metadata.propose_until_known(registration, "the registration of a broker").await? {
        Outcome::BrokerRegistered { epoch } => Ok(epoch),
        other => Err(format!("the registration was answered with {other:?}").into()),
    }
}

/// Carries a failure of `tasks` over to `group`.
fn stop_with(tasks: &TaskGroup, group: &TaskGroup) {
    let (tasks, stopping) = (tasks.clone(), group.stopping().clone());
    group.spawn("heartbeats watch", OnEnd::StopGroup, async move {
        tokio::select! {
            biased;
            () = stopping.cancelled() => Ok(()),
            () = tasks.stopping().cancelled() => tasks.failure().map_or(Ok(()), |failure| Err(failure.reason)),
        }
    });
}

/// Members of groups are quick here.
fn group_config() -> GroupConfig {
    GroupConfig { initial_rebalance_delay_ms: 300, min_session_timeout_ms: 500, ..GroupConfig::default() }
}

/// Small and quick, so that everything happens often in a short run.
fn streams_config(machine: &Machine) -> StreamsConfig {
    let (durability, upload_age_ms) = match machine.wal_mode {
        WalMode::Local | WalMode::Mirror | WalMode::MirrorFast => (Durability::Wal, 1_500),
        WalMode::Object => (Durability::Store, 250),
    };
    let idle_sweeper = machine.planted == Some(Planted::IdleSweeper);
    StreamsConfig {
        durability,
        unoffloaded_max_bytes: 2 << 20,
        upload_bytes: 64 << 10,
        upload_age: Duration::from_millis(upload_age_ms),
        prepared_limit: Duration::from_secs(12),
        retain_after_offload: Duration::from_millis(500),
        tail_cache_bytes: 64 << 10,
        block_cache_bytes: 256 << 10,
        store_wait: Duration::from_secs(20),
        removal_delay_ms: 2_000,
        sweep_interval: if idle_sweeper { Duration::from_secs(3_600) } else { Duration::from_secs(1) },
        leftover_interval: Duration::from_secs(if idle_sweeper { 3_600 } else { 5 }),
        ..StreamsConfig::default()
    }
}
