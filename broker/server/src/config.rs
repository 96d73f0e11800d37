//! Validated settings of the server.

use std::time::Duration;

use aquifer_partition::config::{BrokerOptions, Kind};
use aquifer_types::NodeId;

/// What the Kafka server needs to know. Built by the node from its options.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// This broker's id.
    pub node: NodeId,
    /// Bounds on what clients may use.
    pub limits: Limits,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `num.partitions`: partitions of a topic whose creator asks for the default.
    pub default_partitions: i32,
    /// `default.replication.factor`: nominal, shown as given.
    pub default_replication_factor: i16,
    /// `offsets.topic.num.partitions`.
    pub offsets_topic_partitions: i32,
    /// `offsets.topic.replication.factor`: nominal, shown as given.
    pub offsets_topic_replication_factor: i16,
    /// Shown by DescribeLogDirs as the one log directory: where this node's WAL is.
    pub log_dir: String,
    /// What the operator set among the broker options that give topics their defaults.
    pub options: BrokerOptions,
    /// What DescribeConfigs shows for the broker itself.
    pub broker_options: Vec<BrokerOption>,
}

/// One option of this node as DescribeConfigs shows it.
#[derive(Clone, Debug)]
pub struct BrokerOption {
    /// Kafka's or our option name.
    pub name: String,
    /// Effective value; `None` for a sensitive one.
    pub value: Option<String>,
    /// Its type.
    pub kind: OptionType,
    /// The value is the built-in default.
    pub is_default: bool,
    /// The value is never returned.
    pub sensitive: bool,
    /// One sentence.
    pub documentation: String,
}

/// The types of Kafka's `ConfigDef`, as DescribeConfigs numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum OptionType {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Password = 9,
}

impl From<Kind> for OptionType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Boolean => Self::Boolean,
            Kind::String => Self::String,
            Kind::Int => Self::Int,
            Kind::Long => Self::Long,
            Kind::Double => Self::Double,
            Kind::List => Self::List,
        }
    }
}

impl BrokerOption {
    /// An option that was set for brokers and that the node does not list.
    pub(crate) fn unlisted(name: &str, kind: OptionType) -> Self {
        let documentation = String::new();
        Self { name: name.to_owned(), value: None, kind, is_default: true, sensitive: false, documentation }
    }
}

impl ServerConfig {
    /// Kafka's defaults for this node.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            limits: Limits::default(),
            auto_create_topics: true,
            default_partitions: 1,
            default_replication_factor: 1,
            offsets_topic_partitions: 50,
            offsets_topic_replication_factor: 3,
            log_dir: String::new(),
            options: BrokerOptions::new(),
            broker_options: Vec::new(),
        }
    }
}

/// Named limits on connections and requests.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `socket.request.max.bytes`: a larger frame closes its connection.
    pub max_request_bytes: usize,
    /// Memory for requests that are being read or answered, over all connections.
    pub request_memory_bytes: usize,
    /// Memory for fetched records that slow consumers have not taken yet, over all connections.
    pub fetch_memory_bytes: usize,
    /// `max.connections`: further ones are closed at once.
    pub max_connections: usize,
    /// `max.connections.per.ip`.
    pub max_connections_per_ip: usize,
    /// `connections.max.idle.ms`.
    pub idle: Duration,
    /// A frame of which no further byte arrives, or a reply of which no byte can be written, for this
    /// long closes the connection.
    pub stall: Duration,
    /// `fetch.max.bytes`: most bytes of records in one fetch response.
    pub fetch_max_bytes: usize,
    /// `max.incremental.fetch.session.cache.slots`.
    pub max_fetch_sessions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: 100 << 20,
            request_memory_bytes: 128 << 20,
            fetch_memory_bytes: 128 << 20,
            max_connections: 10_000,
            max_connections_per_ip: 10_000,
            idle: Duration::from_secs(600),
            stall: Duration::from_secs(30),
            fetch_max_bytes: 55 << 20,
            max_fetch_sessions: 1_000,
        }
    }
}
