use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use aquifer_disk::Engine;
use aquifer_objects::{HdfsOptions, S3Options, Secret, StoreOptions};
use aquifer_wal::LossPoint;

use super::cluster::{self, ClusterSettings, Roles};
use super::given::Given;
use super::problems::{OptionError, Problems};
use super::table::{self, OptionSpec, Source};
use super::value::{Kind, Value};

/// A Kafka listener: where it listens and what clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// Its name, `PLAINTEXT` unless the operator chose another.
    pub(crate) name: String,
    /// Host or address to bind; empty for all interfaces.
    pub(crate) host: String,
    /// Port to bind; 0 takes a free one.
    pub(crate) port: u16,
    /// Host and port that clients are told; `None`: those that are bound.
    pub(crate) advertised: Option<(String, u16)>,
}

/// Options of topics that have no setting of their own.
#[derive(Clone, Debug)]
pub(crate) struct TopicDefaults {
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i16,
    pub(crate) auto_create: bool,
    pub(crate) retention_check_interval: Duration,
    /// What the operator set among Kafka's broker options, checked; some of them give topics their defaults.
    pub(crate) broker_options: BTreeMap<String, String>,
}

/// Limits of the Kafka listeners.
#[derive(Clone, Debug)]
pub(crate) struct NetworkSettings {
    pub(crate) request_max_bytes: usize,
    pub(crate) queued_max_request_bytes: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_connections_per_ip: usize,
    pub(crate) max_idle: Duration,
    pub(crate) fetch_session_slots: usize,
    pub(crate) fetch_max_bytes: usize,
}

/// Limits of groups and producers.
#[derive(Clone, Debug)]
pub(crate) struct GroupSettings {
    pub(crate) offsets_partitions: u32,
    pub(crate) offsets_replication_factor: u16,
    pub(crate) offsets_retention_ms: i64,
    pub(crate) offsets_retention_check_interval_ms: i64,
    pub(crate) offset_metadata_max_bytes: usize,
    pub(crate) initial_rebalance_delay_ms: i64,
    pub(crate) min_session_timeout_ms: i32,
    pub(crate) max_session_timeout_ms: i32,
    pub(crate) max_size: usize,
    pub(crate) producer_id_expiration_ms: i64,
}

/// What a record takes to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WalMode {
    /// One copy, on this node's disk.
    Local,
    /// Three copies, all of them synced.
    Mirror,
    /// Three copies, two of them synced.
    MirrorFast,
    /// An object that is committed.
    Object,
}

/// Where and how records are stored.
#[derive(Clone, Debug)]
pub(crate) struct StorageSettings {
    pub(crate) store_url: String,
    pub(crate) store: StoreOptions,
    pub(crate) offload_bytes: u64,
    pub(crate) offload_interval: Duration,
    pub(crate) start_wait: Duration,
    pub(crate) delete_delay_ms: i64,
    pub(crate) wal_dir: PathBuf,
    pub(crate) wal_size: u64,
    pub(crate) wal_mode: WalMode,
    pub(crate) wal_min_copies: usize,
    pub(crate) wal_mirror_size: u64,
    pub(crate) wal_engine: Engine,
    pub(crate) wal_retain_after_offload: Duration,
    pub(crate) wal_unoffloaded_max_bytes: u64,
    pub(crate) wal_accept_loss: Option<LossPoint>,
    pub(crate) wal_accept_blank: bool,
    pub(crate) log_cache_bytes: u64,
    pub(crate) block_cache_bytes: u64,
}

/// An option as operators and clients are shown it.
#[derive(Clone, Debug)]
pub(crate) struct ShownOption {
    pub(crate) spec: &'static OptionSpec,
    /// In force; `None` for a secret, and for an option without a value.
    pub(crate) value: Option<String>,
    pub(crate) is_default: bool,
}

/// Options that were checked, in the types the node works with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) node_id: u32,
    pub(crate) roles: Roles,
    pub(crate) cluster: ClusterSettings,
    pub(crate) cluster_id: Option<String>,
    pub(crate) rack: Option<String>,
    pub(crate) metadata_dir: PathBuf,
    pub(crate) http_listen: Option<String>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) network: NetworkSettings,
    pub(crate) topics: TopicDefaults,
    pub(crate) groups: GroupSettings,
    /// Brokers that must be there for anything to be acknowledged.
    pub(crate) min_copies: usize,
    /// Absent for a node that is a controller only.
    pub(crate) storage: Option<StorageSettings>,
    /// Every option with its value in force.
    pub(crate) shown: Vec<ShownOption>,
}

impl Settings {
    /// Checks what was given.
    ///
    /// # Errors
    /// Everything that is missing or wrong, as far as one thing can be told without another.
    pub(crate) fn from_given(given: &Given) -> Result<Self, Problems> {
        let mut problems = given.problems().clone();
        match check(given, &mut problems) {
            Some(settings) if problems.is_empty() => Ok(settings),
            _ => Err(problems),
        }
    }
}

/// The settings, if nothing they need is missing or wrong.
fn check(given: &Given, problems: &mut Problems) -> Option<Settings> {
    for spec in table::OPTIONS {
        problems.keep(value(given, spec.name));
    }
    let node_id =
        problems.keep(required_number(given, "node.id", "give this node a number, such as node.id=1"));
    let metadata_dir = problems.keep(metadata_dir(given));
    let roles = problems.keep(cluster::roles(given));
    let is_broker = roles.is_some_and(|roles| roles.broker);
    if is_broker {
        // What a broker cannot do without, whatever else is wrong.
        problems.keep(store_url(given));
        problems.keep(wal_dir(given));
        problems.keep(wal_engine(given));
        problems.keep(wal_accept_loss(given));
    }
    let listeners = if is_broker { listeners(given, problems) } else { Some(Vec::new()) };
    let cluster = roles.and_then(|roles| cluster::cluster(given, roles, problems));
    let network = problems.keep(network(given));
    let topics = problems.keep(topics(given));
    let groups = problems.keep(groups(given));
    let shown = problems.keep(shown(given));
    let (roles, cluster) = (roles?, cluster?);
    let min_copies = problems.keep(min_copies(given, &cluster));
    let storage = roles.broker.then(|| problems.keep(storage(given, &cluster)));
    Some(Settings {
        node_id: node_id?,
        roles,
        cluster_id: problems.keep(text(given, "cluster.id"))?,
        rack: problems.keep(text(given, "broker.rack"))?,
        metadata_dir: metadata_dir?,
        http_listen: problems.keep(text(given, "http.listen"))?,
        listeners: listeners?,
        network: network?,
        topics: topics?,
        groups: groups?,
        min_copies: min_copies?,
        storage: match storage {
            Some(storage) => Some(storage?),
            None => None,
        },
        cluster,
        shown: shown?,
    })
}

/// Checks names and values, each for itself: for who gives options to several nodes, each of which has more of its own.
///
/// # Errors
/// Everything that is wrong.
pub(crate) fn check_values(given: &Given) -> Result<(), Problems> {
    let mut problems = given.problems().clone();
    for (name, ..) in given.all() {
        problems.keep(value(given, name));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn shown(given: &Given) -> Result<Vec<ShownOption>, OptionError> {
    let show = |spec: &'static OptionSpec| {
        let value = value(given, spec.name)?.map(|value| value.to_string());
        let value = if spec.kind == Kind::Secret { None } else { value };
        Ok(ShownOption { spec, value, is_default: given.get(spec.name).is_none() })
    };
    table::OPTIONS.iter().map(show).collect()
}

fn network(given: &Given) -> Result<NetworkSettings, OptionError> {
    let settings = NetworkSettings {
        request_max_bytes: number(given, "socket.request.max.bytes")?,
        queued_max_request_bytes: number(given, "queued.max.request.bytes")?,
        max_connections: number(given, "max.connections")?,
        max_connections_per_ip: number(given, "max.connections.per.ip")?,
        max_idle: millis(given, "connections.max.idle.ms")?,
        fetch_session_slots: number(given, "max.incremental.fetch.session.cache.slots")?,
        fetch_max_bytes: number(given, "fetch.max.bytes")?,
    };
    if settings.queued_max_request_bytes < settings.request_max_bytes {
        return Err(invalid(
            given,
            "queued.max.request.bytes",
            format!("at least 'socket.request.max.bytes', {}", settings.request_max_bytes),
        ));
    }
    Ok(settings)
}

fn topics(given: &Given) -> Result<TopicDefaults, OptionError> {
    let mut broker_options = BTreeMap::new();
    for spec in
        table::OPTIONS.iter().filter(|spec| spec.source == Source::Kafka && given.get(spec.name).is_some())
    {
        if let Some(value) = value(given, spec.name)? {
            broker_options.insert(spec.name.to_owned(), value.to_string());
        }
    }
    Ok(TopicDefaults {
        partitions: number(given, "num.partitions")?,
        replication_factor: number(given, "default.replication.factor")?,
        auto_create: flag(given, "auto.create.topics.enable")?,
        retention_check_interval: millis(given, "log.retention.check.interval.ms")?,
        broker_options,
    })
}

fn groups(given: &Given) -> Result<GroupSettings, OptionError> {
    let retention_minutes: i64 = number(given, "offsets.retention.minutes")?;
    let settings = GroupSettings {
        offsets_partitions: number(given, "offsets.topic.num.partitions")?,
        offsets_replication_factor: number(given, "offsets.topic.replication.factor")?,
        offsets_retention_ms: retention_minutes * 60_000,
        offsets_retention_check_interval_ms: number(given, "offsets.retention.check.interval.ms")?,
        offset_metadata_max_bytes: number(given, "offset.metadata.max.bytes")?,
        initial_rebalance_delay_ms: number(given, "group.initial.rebalance.delay.ms")?,
        min_session_timeout_ms: number(given, "group.min.session.timeout.ms")?,
        max_session_timeout_ms: number(given, "group.max.session.timeout.ms")?,
        max_size: number(given, "group.max.size")?,
        producer_id_expiration_ms: number(given, "producer.id.expiration.ms")?,
    };
    if settings.min_session_timeout_ms > settings.max_session_timeout_ms {
        let expected = "at most 'group.max.session.timeout.ms'".to_owned();
        return Err(invalid(given, "group.min.session.timeout.ms", expected));
    }
    Ok(settings)
}

fn storage(given: &Given, cluster: &ClusterSettings) -> Result<StorageSettings, OptionError> {
    let wal_mode = wal_mode(given, cluster)?;
    let (offload_bytes, offload_interval) = match wal_mode {
        // Producers wait for it.
        WalMode::Object => ("wal.object.bytes", "wal.object.interval.ms"),
        WalMode::Local | WalMode::Mirror | WalMode::MirrorFast => {
            ("store.offload.bytes", "store.offload.interval.ms")
        }
    };
    Ok(StorageSettings {
        store_url: store_url(given)?,
        store: store_options(given)?,
        offload_bytes: number(given, offload_bytes)?,
        offload_interval: millis(given, offload_interval)?,
        start_wait: millis(given, "store.start.wait.ms")?,
        delete_delay_ms: number(given, "store.delete.delay.ms")?,
        wal_dir: wal_dir(given)?,
        wal_size: number(given, "wal.size")?,
        wal_mode,
        wal_min_copies: number(given, "wal.min.copies")?,
        wal_mirror_size: number(given, "wal.mirror.size")?,
        wal_engine: wal_engine(given)?,
        wal_accept_loss: wal_accept_loss(given)?,
        wal_accept_blank: flag(given, "wal.accept.blank")?,
        wal_retain_after_offload: millis(given, "wal.retain.after.offload.ms")?,
        wal_unoffloaded_max_bytes: number(given, "wal.unoffloaded.max.bytes")?,
        log_cache_bytes: number(given, "cache.log.bytes")?,
        block_cache_bytes: number(given, "cache.block.bytes")?,
    })
}

fn store_url(given: &Given) -> Result<String, OptionError> {
    text(given, "store.url")?.ok_or(OptionError::Missing {
        name: "store.url",
        remedy: "say where primary storage is, such as s3://bucket/prefix, hdfs://nameservice/path or file:///path",
    })
}

fn wal_dir(given: &Given) -> Result<PathBuf, OptionError> {
    required_path(given, "wal.dir", "name a directory on a local disk for the write-ahead log")
}

/// A controller that is no broker is asked too, by the options that it shares with the brokers.
fn min_copies(given: &Given, cluster: &ClusterSettings) -> Result<usize, OptionError> {
    match wal_mode(given, cluster)? {
        WalMode::Local | WalMode::Object => Ok(1),
        WalMode::Mirror | WalMode::MirrorFast => number(given, "wal.min.copies"),
    }
}

/// Mirrors are reached over the internal port.
fn wal_mode(given: &Given, cluster: &ClusterSettings) -> Result<WalMode, OptionError> {
    let mode = match text(given, "wal.mode")?.as_deref() {
        Some("local") => WalMode::Local,
        Some("mirror-fast") => WalMode::MirrorFast,
        Some("object") => WalMode::Object,
        Some(_) => WalMode::Mirror,
        None if cluster.alone => WalMode::Local,
        None => WalMode::Mirror,
    };
    if matches!(mode, WalMode::Mirror | WalMode::MirrorFast) && cluster.internal.is_none() {
        let expected =
            "'local' or 'object' on a node without an internal port (controller.listener.names)".to_owned();
        return Err(invalid(given, "wal.mode", expected));
    }
    Ok(mode)
}

fn wal_engine(given: &Given) -> Result<Engine, OptionError> {
    let text = text(given, "wal.io.engine")?.expect("it has a default");
    text.parse().map_err(|expected| invalid(given, "wal.io.engine", expected))
}

fn wal_accept_loss(given: &Given) -> Result<Option<LossPoint>, OptionError> {
    text(given, "wal.accept.loss")?
        .map(|text| text.parse().map_err(|expected| invalid(given, "wal.accept.loss", expected)))
        .transpose()
}

/// Where the quorum's log is and the admin socket; all that `aquifer node` needs.
pub(crate) fn metadata_dir(given: &Given) -> Result<PathBuf, OptionError> {
    required_path(
        given,
        "metadata.dir",
        "name the directory of the quorum's log and of the admin socket, in the file of --config or with --set metadata.dir=DIR",
    )
}

/// How the store is reached; all that `aquifer store probe` needs.
pub(crate) fn store_options(given: &Given) -> Result<StoreOptions, OptionError> {
    let defaults = StoreOptions::default();
    Ok(StoreOptions {
        time_limit: millis(given, "store.time.limit.ms")?,
        upload_bytes_in_flight: number(given, "store.upload.bytes.in.flight")?,
        download_bytes_in_flight: number(given, "store.download.bytes.in.flight")?,
        s3: S3Options {
            endpoint: text(given, "store.s3.endpoint")?,
            region: text(given, "store.s3.region")?.unwrap_or(defaults.s3.region),
            access_key: text(given, "store.s3.access.key")?,
            secret_key: text(given, "store.s3.secret.key")?.map(Secret::new),
            path_style: flag(given, "store.s3.path.style")?,
            ca_file: text(given, "store.s3.ca.file")?.map(PathBuf::from),
            unsigned_payload: flag(given, "store.s3.unsigned.payload")?,
        },
        hdfs: HdfsOptions {
            config_dir: text(given, "store.hdfs.config.dir")?.map(PathBuf::from),
            namenodes: list(given, "store.hdfs.namenodes")?,
            replication: optional_number(given, "store.hdfs.replication")?,
            block_size: optional_number(given, "store.hdfs.block.size")?,
            user: text(given, "store.hdfs.user")?,
            principal: text(given, "store.hdfs.principal")?,
            keytab: text(given, "store.hdfs.keytab")?.map(PathBuf::from),
            ticket_cache: text(given, "store.hdfs.ticket.cache")?,
            ..defaults.hdfs
        },
        ..defaults
    })
}

fn listeners(given: &Given, problems: &mut Problems) -> Option<Vec<Listener>> {
    let advertised = problems.keep(endpoints(given, "advertised.listeners"))?;
    let internal = problems.keep(list(given, "controller.listener.names"))?;
    let listed = problems.keep(endpoints(given, "listeners"))?;
    let clients: Vec<_> = listed.into_iter().filter(|(name, ..)| !internal.contains(name)).collect();
    if clients.is_empty() {
        problems.add(invalid(given, "listeners", "at least one listener for clients".to_owned()));
    }
    // Of each what is wrong with it, not only of the first.
    let checked: Vec<_> = clients
        .into_iter()
        .map(|endpoint| problems.keep(client_listener(given, endpoint, &advertised)))
        .collect();
    checked.into_iter().collect()
}

fn client_listener(
    given: &Given,
    (name, host, port): (String, String, u16),
    advertised: &[(String, String, u16)],
) -> Result<Listener, OptionError> {
    if protocol(given, &name)? != "PLAINTEXT" {
        let expected = format!("PLAINTEXT for '{name}': TLS and SASL are not built yet");
        return Err(invalid(given, "listener.security.protocol.map", expected));
    }
    let told = advertised.iter().find(|(of, _, _)| *of == name).map(|(_, host, port)| (host.clone(), *port));
    let wildcard = host.is_empty() || host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
    if wildcard && told.is_none() {
        return Err(OptionError::Missing {
            name: "advertised.listeners",
            remedy: "a listener on all interfaces must say which address clients should use, such as advertised.listeners=PLAINTEXT://192.0.2.10:9092",
        });
    }
    if told.as_ref().is_some_and(|(host, _)| host.is_empty()) {
        return Err(invalid(given, "advertised.listeners", "a host in each address".to_owned()));
    }
    Ok(Listener { name, host, port, advertised: told })
}

/// The security protocol of a listener: as mapped, else its name.
pub(super) fn protocol(given: &Given, listener: &str) -> Result<String, OptionError> {
    let protocols = text(given, "listener.security.protocol.map")?.unwrap_or_default();
    let mapped = protocols.split(',').filter_map(|entry| entry.trim().split_once(':'));
    let mut mapped = mapped.filter(|(name, _)| *name == listener).map(|(_, protocol)| protocol);
    Ok(mapped.next().unwrap_or(listener).to_owned())
}

pub(super) fn endpoints(
    given: &Given,
    name: &'static str,
) -> Result<Vec<(String, String, u16)>, OptionError> {
    let parse = |entry: &String| {
        let (listener, address) = entry.split_once("://")?;
        let (host, port) = address.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((listener.to_owned(), host.to_owned(), port.parse().ok()?))
    };
    list(given, name)?
        .iter()
        .map(|entry| parse(entry).ok_or_else(|| invalid(given, name, "NAME://host:port".to_owned())))
        .collect()
}

pub(super) fn value(given: &Given, name: &'static str) -> Result<Option<Value>, OptionError> {
    let spec = table::find(name).expect("settings read only options of the table");
    match given.get(name).map(|(text, _)| text).or_else(|| given.text_by_default(spec)) {
        None => Ok(None),
        Some(text) => spec.kind.parse(text).map(Some).map_err(|expected| invalid(given, name, expected)),
    }
}

pub(super) fn invalid(given: &Given, name: &'static str, expected: String) -> OptionError {
    let spec = table::find(name).expect("settings read only options of the table");
    let (value, origin) = match given.get(name) {
        Some((value, origin)) => (value, origin.to_string()),
        None => (given.text_by_default(spec).unwrap_or(""), "default".to_owned()),
    };
    let value = if spec.kind == Kind::Secret { "(hidden)" } else { value };
    OptionError::Invalid { name, value: value.to_owned(), origin, expected }
}

pub(super) fn text(given: &Given, name: &'static str) -> Result<Option<String>, OptionError> {
    Ok(match value(given, name)? {
        Some(Value::Text(text)) if !text.is_empty() => Some(text),
        _ => None,
    })
}

pub(super) fn list(given: &Given, name: &'static str) -> Result<Vec<String>, OptionError> {
    Ok(match value(given, name)? {
        Some(Value::List(items)) => items,
        _ => Vec::new(),
    })
}

pub(super) fn flag(given: &Given, name: &'static str) -> Result<bool, OptionError> {
    Ok(value(given, name)? == Some(Value::Bool(true)))
}

pub(super) fn number<N: TryFrom<i64>>(given: &Given, name: &'static str) -> Result<N, OptionError> {
    match value(given, name)? {
        Some(Value::Int(number)) => {
            N::try_from(number).map_err(|_| invalid(given, name, "a smaller number".to_owned()))
        }
        _ => unreachable!("{name} is a number with a default"),
    }
}

/// A number, if the option has a value.
pub(super) fn optional_number<N: TryFrom<i64>>(
    given: &Given,
    name: &'static str,
) -> Result<Option<N>, OptionError> {
    value(given, name)?.map(|_| number(given, name)).transpose()
}

pub(super) fn millis(given: &Given, name: &'static str) -> Result<Duration, OptionError> {
    number(given, name).map(Duration::from_millis)
}

fn required_number(given: &Given, name: &'static str, remedy: &'static str) -> Result<u32, OptionError> {
    if given.get(name).is_none() {
        return Err(OptionError::Missing { name, remedy });
    }
    number(given, name)
}

fn required_path(given: &Given, name: &'static str, remedy: &'static str) -> Result<PathBuf, OptionError> {
    text(given, name)?.map(PathBuf::from).ok_or(OptionError::Missing { name, remedy })
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
