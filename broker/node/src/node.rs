//! One node: opens the layers from the bottom up, and stops them from the top down.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aquifer_client::{ClientConfig, MetadataClient, Source};
use aquifer_coordinator::{GroupConfig, Groups};
use aquifer_disk::{Disk, DiskOptions};
use aquifer_heartbeat::{Heart, Port};
use aquifer_image::{Endpoint, Outcome, RegisterBroker, SecurityProtocol};
use aquifer_mirror::{OwnCopies, PeerCopies, Takeovers};
use aquifer_partition::{Partitions, PartitionsConfig};
use aquifer_quorum::Quorum;
use aquifer_runtime::{Clock, Failure, OnEnd, Pool, Random, TaskGroup};
use aquifer_server::{Limits, Server, ServerConfig, Services};
use aquifer_stream::{Durability, Streams, StreamsConfig, StreamsParts};
use aquifer_types::{BrokerEpoch, ClusterId, NodeId};
use aquifer_wal::{Identity, WalConfig};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};
use uuid::Uuid;

use crate::admin;
use crate::disk_id;
use crate::health::{BrokerHealth, NodeHealth, watch_readiness};
use crate::http::{self, Health};
use crate::metrics::{BrokerLayers, Page};
use crate::mirrors::{Mirrors, identity};
use crate::options::{Listener, Settings, StorageSettings, WalMode};
use crate::port;
use crate::waiting::told;

/// How long requests in progress may take to end after the stop began.
pub(crate) const SERVING_STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long recovery of the partitions may take before the node says that it is ready all the same.
const OPENING_LIMIT: Duration = Duration::from_secs(30);

pub(crate) type Attempt<T> = Result<T, Box<dyn Error>>;

/// Why a node does not start, where no layer below says it.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(
        "option 'cluster.id' has the value '{value}', expected a UUID in Kafka's base64 form, 22 characters"
    )]
    ClusterId { value: String },
    #[error(
        "cannot listen on {address} ({option}): {source}; another process may use the port, or the address is not this machine's"
    )]
    Listen { option: &'static str, address: String, source: std::io::Error },
    #[error("the quorum answered the registration with {0:?}")]
    Registration(Outcome),
}

/// A running node.
pub(crate) struct Node {
    /// Server, groups and HTTP: what clients see.
    pub(crate) serving: TaskGroup,
    /// Partitions, streams, WAL and the metadata follower.
    pub(crate) storing: TaskGroup,
    /// The quorum's member.
    pub(crate) deciding: TaskGroup,
    /// The member of the quorum, on a controller.
    pub(crate) quorum: Option<Quorum>,
    /// Absent on a node that is a controller only.
    pub(crate) broker: Option<Broker>,
    http: Option<String>,
    /// To the end: connections of the store that a read made are of these threads, and the last uploads use them.
    _readers: Pool,
}

/// What a broker has beside the quorum.
pub(crate) struct Broker {
    pub(crate) node: u32,
    pub(crate) streams: Streams,
    /// Kept until the streams are offloaded: a stream is cut at its partition's checkpoint.
    partitions: Partitions,
    groups: Groups,
    pub(crate) metadata: MetadataClient,
    pub(crate) epoch: BrokerEpoch,
    /// Copies that it keeps for others, in a cluster.
    pub(crate) mirrors: Option<Mirrors>,
    /// Its heartbeats, in a cluster.
    pub(crate) beating: Option<TaskGroup>,
    kafka: String,
}

/// What the parts of a node are made from.
struct Ground {
    settings: Settings,
    clock: Clock,
    random: Random,
    port: Option<Port>,
    source: Source,
    /// Threads of connections that fetch.
    readers: Pool,
    /// For the operator's way in, which is open before the broker serves.
    tell_takeovers: watch::Sender<Option<Takeovers<PeerCopies>>>,
}

impl Node {
    /// Starts a node and returns when clients are served.
    ///
    /// # Errors
    /// The first layer that refuses, with what to do. Nothing is left running.
    pub(crate) async fn start(settings: Settings) -> Attempt<Self> {
        let groups = [TaskGroup::new(), TaskGroup::new(), TaskGroup::new()];
        let started = tokio::select! {
            started = Box::pin(Self::start_in(settings, &groups)) => started,
            // As when the controllers take a node for dead that waits for mirrors.
            failure = any_failure(&groups) => Err(failure.to_string().into()),
        };
        match started {
            Ok(node) => Ok(node),
            Err(error) => {
                for group in &groups {
                    let _ = group.shutdown(SERVING_STOP_LIMIT).await;
                }
                Err(error)
            }
        }
    }

    async fn start_in(settings: Settings, [serving, storing, deciding]: &[TaskGroup; 3]) -> Attempt<Self> {
        let (clock, random) = (Clock::system(), Random::from_os());
        let node = NodeId(settings.node_id);
        let incarnation = random.uuid();
        // Sockets first: a port in use should be told before anything was changed.
        let clients = bind(&settings.listeners).await?;
        let http_socket = bind_http(settings.http_listen.as_deref()).await?;
        let port = port::open(&settings, incarnation, deciding).await?;

        let cluster_id = cluster_id(&settings)?;
        let source = port::start_quorum(&settings, cluster_id, &random, port.as_ref(), deciding);
        let source = told("the metadata log and the other controllers", String::new, source).await?;
        let quorum = match &source {
            Source::Member(quorum) => Some(quorum.clone()),
            Source::Remote(_) => None,
        };
        if let (Some(port), Some(quorum)) = (&port, &quorum) {
            aquifer_heartbeat::start_controller(port, quorum, settings.cluster.session, deciding);
            aquifer_rebalancing::start(quorum, settings.cluster.rebalance, deciding);
        }
        let (tell_takeovers, looks) = watch::channel(None);
        admin::start(&settings.metadata_dir, &source, port.as_ref(), settings.min_copies, looks, serving)?;
        let is_broker = settings.roles.broker;
        let readers = Pool::start("aquifer-read")?;
        let ground =
            Ground { settings, clock, random, port, source, readers: readers.clone(), tell_takeovers };
        let (broker, layers) = if is_broker {
            let (broker, layers) = ground.start_broker(incarnation, clients, serving, storing).await?;
            (Some(broker), Some(layers))
        } else {
            (None, None)
        };
        let health = NodeHealth {
            page: Page { broker: layers, quorum: quorum.clone() },
            broker: broker.as_ref().map(|broker| BrokerHealth {
                partitions: broker.partitions.clone(),
                groups: broker.groups.clone(),
                streams: broker.streams.clone(),
            }),
            quorum: quorum.clone(),
            serving: serving.clone(),
        };
        let health: Arc<dyn Health> = Arc::new(health);
        watch_readiness(health.clone(), serving);
        let http = http_socket.map(|socket| http::serve(socket, health, serving)).transpose()?;
        info!(%node, kafka = broker.as_ref().map_or("none", |broker| broker.kafka.as_str()), "serving");
        Ok(Self {
            serving: serving.clone(),
            storing: storing.clone(),
            deciding: deciding.clone(),
            quorum,
            broker,
            http: http.map(|address| address.to_string()),
            _readers: readers,
        })
    }

    /// Where Kafka clients connect first, if this is a broker.
    pub(crate) fn kafka_address(&self) -> Option<String> {
        self.broker.as_ref().map(|broker| broker.kafka.clone())
    }

    /// Where the HTTP port is, if there is one.
    pub(crate) fn http_address(&self) -> Option<String> {
        self.http.clone()
    }

    /// Resolves when an essential part has failed.
    pub(crate) async fn failed(&self) -> Failure {
        any_failure(&[self.serving.clone(), self.storing.clone(), self.deciding.clone()]).await
    }

    /// Resolves when the cluster has forgotten this node for good. A node that is a controller only does not notice.
    pub(crate) async fn forgotten(&self) {
        if let Some(broker) = &self.broker {
            let mut changes = broker.metadata.changes();
            if changes.wait_for(|image| image.is_decommissioned(NodeId(broker.node))).await.is_ok() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

impl Ground {
    async fn start_broker(
        self,
        incarnation: Uuid,
        (endpoints, sockets): (Vec<Endpoint>, Vec<aquifer_server::Listener>),
        serving: &TaskGroup,
        storing: &TaskGroup,
    ) -> Attempt<(Broker, BrokerLayers)> {
        let Self { settings, clock, random, port, source, readers, tell_takeovers } = self;
        let node = NodeId(settings.node_id);
        let alone = port.is_none();
        let defaults = ClientConfig::default();
        let form_limit = defaults.form_limit.filter(|_| alone);
        let config = ClientConfig { form_limit, ..defaults };
        let metadata = MetadataClient::start(source.clone(), config, &random, storing);
        let metadata =
            told("the metadata, as the quorum's leader has it", || port::standing(&source), metadata).await?;
        let cluster = metadata.image().cluster_id().expect("the client waits until there is a cluster");
        let storage = settings.storage.as_ref().expect("a broker's settings have it");
        let mirrors = match &port {
            Some(port) => {
                let opening = Mirrors::open(port, (node, cluster), storage, &metadata, &random, storing);
                Some(told("the copies that are kept for others", String::new, opening).await?)
            }
            None => None,
        };
        let store =
            aquifer_objects::open(&storage.store_url, &storage.store, clock.clone(), random.clone()).await?;
        let disk = aquifer_disk::open(&storage.wal_dir, &DiskOptions { engine: storage.wal_engine }).await?;
        let disk_id = disk_id::of(&storage.wal_dir, &random)?;
        let identity = identity(cluster, disk_id, node);
        // A WAL that is needed and cannot be read is told before anything is registered.
        let early = match storage.wal_mode {
            WalMode::Local | WalMode::Mirror | WalMode::MirrorFast => {
                let opening = open_wal(storage, disk.clone(), identity, false);
                Some(told("the recovery of the WAL", String::new, opening).await?)
            }
            WalMode::Object => None,
        };
        let registration = RegisterBroker {
            node,
            incarnation,
            endpoints: endpoints.iter().chain(port.as_ref().map(|port| &port.endpoint)).cloned().collect(),
            rack: settings.rack.clone(),
        };
        let epoch = register(&metadata, registration, alone);
        let epoch = told("the registration of this broker", || port::standing(&source), epoch).await?;
        let beating = port.map(|port| {
            let tasks = storing.child();
            let (source, metadata, interval) = (source.clone(), metadata.clone(), settings.cluster.heartbeat);
            Heart { port, source, metadata, epoch, interval }.start(&tasks);
            stop_with(&tasks, storing);
            tasks
        });
        let wal = match early {
            Some(wal) => wal,
            None => {
                // Earlier processes may have run in another mode: what they list, they acknowledged.
                let disposable = metadata.image().segments_of(node).next().is_none();
                open_wal(storage, disk, identity, disposable).await?
            }
        };

        let (mut takeovers, mut mirroring) = (None, None);
        if let Some(mirrors) = &mirrors {
            mirrors.offer(storage, &metadata, epoch).await?;
            let left = OwnCopies::new(node, disk_id, &wal.recovered);
            let ending =
                mirrors.take_over(left, (&metadata, &store, &clock), epoch, &tell_takeovers, storing);
            takeovers =
                Some(told("the end of what its last process left in the WAL", String::new, ending).await);
            mirroring = mirrors.mirroring(storage, storing);
        }
        let parts = StreamsParts {
            mirroring,
            wal,
            store: store.clone(),
            metadata: metadata.clone(),
            node,
            broker_epoch: epoch,
            disk: disk_id,
            describe: aquifer_partition::describe,
            clock: clock.clone(),
            tasks: storing.clone(),
        };
        let opening = Streams::open(streams_config(storage), parts);
        let streams =
            told("the store and its first segment of the WAL", || port::standing(&source), opening).await?;
        let partitions = Partitions::start(
            partitions_config(&settings, node),
            streams.clone(),
            metadata.clone(),
            clock.clone(),
            storing,
        );
        let groups = Groups::start(
            group_config(&settings),
            node,
            partitions.clone(),
            metadata.clone(),
            clock.clone(),
            random.clone(),
            serving,
        );
        told("the partitions that it leads", String::new, until_open(&partitions)).await;

        let kafka = format!("{}:{}", endpoints[0].host, endpoints[0].port);
        let services = Services {
            clock,
            random,
            metadata: metadata.clone(),
            partitions: partitions.clone(),
            groups: groups.clone(),
            readers,
        };
        let server = Server::start(server_config(&settings, storage, node), sockets, services, serving);
        let layers = BrokerLayers { server, streams: streams.clone(), store, takeovers };
        Ok((
            Broker {
                node: settings.node_id,
                streams,
                partitions,
                groups,
                metadata,
                epoch,
                mirrors,
                beating,
                kafka,
            },
            layers,
        ))
    }
}

/// Resolves when one of the node's groups stops: why.
async fn any_failure([serving, storing, deciding]: &[TaskGroup; 3]) -> Failure {
    tokio::select! {
        () = serving.stopping().cancelled() => {}
        () = storing.stopping().cancelled() => {}
        () = deciding.stopping().cancelled() => {}
    }
    let stopped = || Failure { task: "node", reason: "a part of the node stopped".to_owned() };
    [storing, deciding, serving].iter().find_map(|group| group.failure()).unwrap_or_else(stopped)
}

/// Carries a failure of `tasks` over to `group`: a node whose heart fails stops.
fn stop_with(tasks: &TaskGroup, group: &TaskGroup) {
    let (tasks, stopping) = (tasks.clone(), group.stopping().clone());
    group.spawn("heartbeats watch", OnEnd::StopGroup, async move {
        tokio::select! {
            () = stopping.cancelled() => Ok(()),
            () = tasks.stopping().cancelled() => tasks.failure().map_or(Ok(()), |failure| Err(failure.reason)),
        }
    });
}

async fn bind(listeners: &[Listener]) -> Attempt<(Vec<Endpoint>, Vec<aquifer_server::Listener>)> {
    let (mut endpoints, mut sockets) = (Vec::new(), Vec::new());
    for listener in listeners {
        let host = if listener.host.is_empty() { "::" } else { &listener.host };
        let socket = TcpListener::bind((host, listener.port)).await.map_err(|source| StartError::Listen {
            option: "listeners",
            address: format!("{host}:{}", listener.port),
            source,
        })?;
        let bound = socket.local_addr()?.port();
        let (host, port) = listener.advertised.clone().unwrap_or_else(|| (listener.host.clone(), bound));
        endpoints.push(Endpoint {
            listener: listener.name.clone(),
            host,
            port,
            security: SecurityProtocol::Plaintext,
        });
        sockets.push(aquifer_server::Listener { name: listener.name.clone(), socket });
    }
    Ok((endpoints, sockets))
}

async fn bind_http(address: Option<&str>) -> Attempt<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listen = |source| StartError::Listen { option: "http.listen", address: address.to_owned(), source };
    Ok(Some(TcpListener::bind(address).await.map_err(listen)?))
}

fn cluster_id(settings: &Settings) -> Result<Option<ClusterId>, StartError> {
    let parse =
        |text: &String| text.parse::<ClusterId>().map_err(|_| StartError::ClusterId { value: text.clone() });
    settings.cluster_id.as_ref().map(parse).transpose()
}

async fn open_wal(
    storage: &StorageSettings,
    disk: Arc<dyn Disk>,
    identity: Identity,
    disposable: bool,
) -> Attempt<aquifer_wal::Opened> {
    let config = WalConfig {
        capacity_bytes: storage.wal_size,
        accept_loss: storage.wal_accept_loss,
        disposable,
        ..WalConfig::default()
    };
    Ok(aquifer_wal::open(config, disk, identity).await?)
}

/// Registers this process. Alone, what stands in the way is an error; in a cluster it is waited out, as when the other
/// controllers are still starting. Repeating it changes nothing: the incarnation tells.
async fn register(
    metadata: &MetadataClient,
    registration: RegisterBroker,
    alone: bool,
) -> Attempt<BrokerEpoch> {
    let outcome = match alone {
        true => metadata.propose(registration).await?,
        false => metadata.propose_until_known(registration, "the registration of this broker").await?,
    };
    match outcome {
        Outcome::BrokerRegistered { epoch } => Ok(epoch),
        other => Err(StartError::Registration(other).into()),
    }
}

/// Waits until every partition is open, or until waiting would only keep the healthy ones from their clients.
async fn until_open(partitions: &Partitions) {
    let mut changes = partitions.changes();
    let all_open = async { while !partitions.all_open() && changes.changed().await.is_ok() {} };
    if timeout(OPENING_LIMIT, all_open).await.is_err() {
        warn!("serving although some partitions are not open yet; their clients are told to retry");
    }
}

fn streams_config(storage: &StorageSettings) -> StreamsConfig {
    StreamsConfig {
        durability: match storage.wal_mode {
            WalMode::Local | WalMode::Mirror | WalMode::MirrorFast => Durability::Wal,
            WalMode::Object => Durability::Store,
        },
        unoffloaded_max_bytes: storage.wal_unoffloaded_max_bytes,
        upload_bytes: storage.offload_bytes,
        upload_age: storage.offload_interval,
        retain_after_offload: storage.wal_retain_after_offload,
        tail_cache_bytes: storage.log_cache_bytes,
        block_cache_bytes: storage.block_cache_bytes,
        store_wait: storage.start_wait,
        accept_blank_wal: storage.wal_accept_blank,
        removal_delay_ms: storage.delete_delay_ms,
        ..StreamsConfig::default()
    }
}

fn partitions_config(settings: &Settings, node: NodeId) -> PartitionsConfig {
    PartitionsConfig {
        options: settings.topics.broker_options.clone(),
        producer_id_expiration_ms: settings.groups.producer_id_expiration_ms,
        retention_interval: settings.topics.retention_check_interval,
        ..PartitionsConfig::new(node)
    }
}

fn group_config(settings: &Settings) -> GroupConfig {
    let groups = &settings.groups;
    GroupConfig {
        initial_rebalance_delay_ms: groups.initial_rebalance_delay_ms,
        min_session_timeout_ms: groups.min_session_timeout_ms,
        max_session_timeout_ms: groups.max_session_timeout_ms,
        max_size: groups.max_size,
        offset_metadata_max_bytes: groups.offset_metadata_max_bytes,
        offsets_retention_ms: groups.offsets_retention_ms,
        offsets_retention_check_interval_ms: groups.offsets_retention_check_interval_ms,
    }
}

fn server_config(settings: &Settings, storage: &StorageSettings, node: NodeId) -> ServerConfig {
    let network = &settings.network;
    let limits = Limits {
        max_request_bytes: network.request_max_bytes,
        request_memory_bytes: network.queued_max_request_bytes,
        max_connections: network.max_connections,
        max_connections_per_ip: network.max_connections_per_ip,
        idle: network.max_idle,
        fetch_max_bytes: network.fetch_max_bytes,
        max_fetch_sessions: network.fetch_session_slots,
        ..Limits::default()
    };
    let broker_options = settings
        .shown
        .iter()
        .map(|shown| aquifer_server::BrokerOption {
            name: shown.spec.name.to_owned(),
            value: shown.value.clone(),
            kind: shown.spec.kind.into(),
            is_default: shown.is_default,
            sensitive: shown.spec.kind == crate::options::Kind::Secret,
            documentation: shown.spec.doc.to_owned(),
        })
        .collect();
    ServerConfig {
        limits,
        auto_create_topics: settings.topics.auto_create,
        default_partitions: settings.topics.partitions,
        default_replication_factor: settings.topics.replication_factor,
        offsets_topic_partitions: i32::try_from(settings.groups.offsets_partitions).unwrap_or(i32::MAX),
        offsets_topic_replication_factor: i16::try_from(settings.groups.offsets_replication_factor)
            .unwrap_or(i16::MAX),
        log_dir: storage.wal_dir.display().to_string(),
        options: settings.topics.broker_options.clone(),
        broker_options,
        ..ServerConfig::new(node)
    }
}
