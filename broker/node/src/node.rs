//! One node: opens the layers from the bottom up, and stops them from the top down.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aquifer_client::{ClientConfig, MetadataClient};
use aquifer_coordinator::{GroupConfig, Groups};
use aquifer_disk::{Disk, DiskOptions};
use aquifer_image::{Endpoint, Outcome, RegisterBroker, SecurityProtocol};
use aquifer_partition::{Partitions, PartitionsConfig};
use aquifer_quorum::{Quorum, QuorumConfig, Router};
use aquifer_runtime::{Clock, Failure, Random, TaskGroup};
use aquifer_server::{Limits, Server, ServerConfig, Services};
use aquifer_stream::{Streams, StreamsConfig, StreamsParts};
use aquifer_types::{BrokerEpoch, ClusterId, DiskId, NodeId};
use aquifer_wal::{Identity, WalConfig};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::health::NodeHealth;
use crate::http;
use crate::metrics::Page;
use crate::options::{Listener, Settings};

/// How long requests in progress may take to end after the stop began.
const SERVING_STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long a graceful stop tries to offload. What remains is in the WAL for the next start.
const OFFLOAD_STOP_LIMIT: Duration = Duration::from_secs(90);
/// How long recovery of the partitions may take before the node says that it is ready all the same.
const OPENING_LIMIT: Duration = Duration::from_secs(30);

type Attempt<T> = Result<T, Box<dyn Error>>;

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
    #[error("{path}: {reason}")]
    DiskId { path: PathBuf, reason: String },
    #[error("the quorum answered the registration with {0:?}")]
    Registration(Outcome),
}

/// A running node.
pub(crate) struct Node {
    /// Server, groups and HTTP: what clients see.
    serving: TaskGroup,
    /// Partitions, streams, WAL and the metadata follower.
    storing: TaskGroup,
    /// The quorum's member.
    deciding: TaskGroup,
    streams: Streams,
    /// Kept until the streams are offloaded: a stream is cut at its partition's checkpoint.
    partitions: Partitions,
    kafka: String,
    http: Option<String>,
}

impl Node {
    /// Starts a node and returns when clients are served.
    ///
    /// # Errors
    /// The first layer that refuses, with what to do. Nothing is left running.
    pub(crate) async fn start(settings: Settings) -> Attempt<Self> {
        let groups = [TaskGroup::new(), TaskGroup::new(), TaskGroup::new()];
        match Self::start_in(settings, &groups).await {
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
        // Sockets first: a port in use should be told before anything was changed.
        let (endpoints, sockets) = bind(&settings.listeners).await?;
        let http_socket = bind_http(settings.http_listen.as_deref()).await?;

        let quorum = start_quorum(&settings, node, &random, deciding).await?;
        let metadata = MetadataClient::start(quorum.clone(), ClientConfig::default(), storing).await?;
        let cluster = metadata.image().cluster_id().expect("the client waits until there is a cluster");
        let storage = &settings.storage;
        let store =
            aquifer_objects::open(&storage.store_url, &storage.store, clock.clone(), random.clone()).await?;
        let disk = aquifer_disk::open(&storage.wal_dir, &DiskOptions { engine: storage.wal_engine }).await?;
        let disk_id = disk_id(&storage.wal_dir, &random)?;
        let wal = open_wal(&settings, disk.clone(), cluster, disk_id).await?;
        let broker_epoch =
            register(&metadata, node, &random, endpoints.clone(), settings.rack.clone()).await?;

        let parts = StreamsParts {
            wal,
            store: store.clone(),
            metadata: metadata.clone(),
            node,
            broker_epoch,
            disk: disk_id,
            describe: aquifer_partition::describe,
            clock: clock.clone(),
            tasks: storing.clone(),
        };
        let streams = Streams::open(streams_config(&settings), parts).await?;
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
        until_open(&partitions).await;

        let services =
            Services { clock, random, metadata, partitions: partitions.clone(), groups: groups.clone() };
        let server = Server::start(server_config(&settings, node), sockets, services, serving);
        let health = NodeHealth {
            page: Page { server, streams: streams.clone(), store, quorum },
            partitions: partitions.clone(),
            groups,
            serving: serving.clone(),
        };
        let http = http_socket.map(|socket| http::serve(socket, Arc::new(health), serving)).transpose()?;
        let kafka = format!("{}:{}", endpoints[0].host, endpoints[0].port);
        info!(%kafka, %cluster, node = %node, "serving");
        Ok(Self {
            serving: serving.clone(),
            storing: storing.clone(),
            deciding: deciding.clone(),
            streams,
            partitions,
            kafka,
            http: http.map(|address| address.to_string()),
        })
    }

    /// Where Kafka clients connect first.
    pub(crate) fn kafka_address(&self) -> String {
        self.kafka.clone()
    }

    /// Where the HTTP port is, if there is one.
    pub(crate) fn http_address(&self) -> Option<String> {
        self.http.clone()
    }

    /// Resolves when an essential part has failed.
    pub(crate) async fn failed(&self) -> Failure {
        tokio::select! {
            () = self.serving.stopping().cancelled() => {}
            () = self.storing.stopping().cancelled() => {}
            () = self.deciding.stopping().cancelled() => {}
        }
        let groups = [&self.storing, &self.deciding, &self.serving];
        let stopped = || Failure { task: "node", reason: "a part of the node stopped".to_owned() };
        groups.iter().find_map(|group| group.failure()).unwrap_or_else(stopped)
    }

    /// Stops gracefully: answers what was asked, offloads everything, leaves nothing in the WAL.
    ///
    /// # Errors
    /// Not everything was offloaded; it stays in the WAL for the next start.
    pub(crate) async fn stop(self) -> Attempt<()> {
        if let Err(left) = self.serving.shutdown(SERVING_STOP_LIMIT).await {
            warn!(left, "requests were cut off");
        }
        let offloaded = self.streams.shutdown(OFFLOAD_STOP_LIMIT).await;
        if let Err(left) = self.storing.shutdown(SERVING_STOP_LIMIT).await {
            warn!(left, "storage tasks were cut off");
        }
        drop(self.partitions);
        if let Err(left) = self.deciding.shutdown(SERVING_STOP_LIMIT).await {
            warn!(left, "quorum tasks were cut off");
        }
        info!("stopped");
        Ok(offloaded?)
    }
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

async fn start_quorum(
    settings: &Settings,
    node: NodeId,
    random: &Random,
    tasks: &TaskGroup,
) -> Attempt<Quorum> {
    let cluster_id = match &settings.cluster_id {
        None => None,
        Some(text) => {
            Some(text.parse::<ClusterId>().map_err(|_| StartError::ClusterId { value: text.clone() })?)
        }
    };
    let config = QuorumConfig { cluster_id, ..QuorumConfig::single(node, &settings.metadata_dir) };
    Ok(Quorum::start(config, Router::new(random.clone()).endpoint(node), random, tasks).await?)
}

/// The id of the WAL's disk: drawn once and kept on that disk, so that a replaced disk has another.
fn disk_id(dir: &Path, random: &Random) -> Result<DiskId, StartError> {
    let path = dir.join("disk.id");
    let failed = |reason: String| StartError::DiskId { path: path.clone(), reason };
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| {
            failed(
                "it should hold the disk's id, 22 characters; restore it, or remove it together with the WAL"
                    .to_owned(),
            )
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = DiskId(random.uuid());
            let write = || {
                let staged = dir.join("disk.id.new");
                fs::write(&staged, format!("{id}\n"))?;
                fs::File::open(&staged)?.sync_all()?;
                fs::rename(&staged, &path)?;
                fs::File::open(dir)?.sync_all()
            };
            write().map_err(|error: std::io::Error| failed(error.to_string()))?;
            Ok(id)
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

async fn open_wal(
    settings: &Settings,
    disk: Arc<dyn Disk>,
    cluster: ClusterId,
    disk_id: DiskId,
) -> Attempt<aquifer_wal::Opened> {
    let storage = &settings.storage;
    let config = WalConfig {
        capacity_bytes: storage.wal_size,
        accept_loss: storage.wal_accept_loss,
        ..WalConfig::default()
    };
    let cluster = cluster.0.as_u64_pair();
    let identity =
        Identity { cluster: cluster.0 ^ cluster.1, disk: disk_id.0.as_u128(), owner: settings.node_id };
    Ok(aquifer_wal::open(config, disk, identity).await?)
}

async fn register(
    metadata: &MetadataClient,
    node: NodeId,
    random: &Random,
    endpoints: Vec<Endpoint>,
    rack: Option<String>,
) -> Attempt<BrokerEpoch> {
    let command = RegisterBroker { node, incarnation: random.uuid(), endpoints, rack };
    match metadata.propose(command).await? {
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

fn streams_config(settings: &Settings) -> StreamsConfig {
    let storage = &settings.storage;
    StreamsConfig {
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

fn server_config(settings: &Settings, node: NodeId) -> ServerConfig {
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
        log_dir: settings.storage.wal_dir.display().to_string(),
        options: settings.topics.broker_options.clone(),
        broker_options,
        ..ServerConfig::new(node)
    }
}
