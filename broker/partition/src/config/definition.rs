//! The one table of topic configs: names, types, defaults, bounds, documentation.

/// The type of a config, as DescribeConfigs tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
    /// A decimal fraction.
    Double,
    /// Comma-separated; APPEND and SUBTRACT work on it.
    List,
}

/// Which values are allowed, beyond the type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bounds {
    /// Every value of the type.
    Any,
    /// Not smaller.
    AtLeast(i64),
    /// Both ends included.
    Between(i64, i64),
    /// For decimal fractions, both ends included.
    Fraction(f64, f64),
    /// One of these words; every one of them, for a list.
    Words(&'static [&'static str]),
    /// `*` or a list of `partition:broker`.
    ThrottledReplicas,
}

/// A broker option that gives the default of a topic config, in another unit maybe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The broker's option.
    pub name: &'static str,
    /// What its value is multiplied with.
    pub factor: i64,
}

/// One topic config.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// Kafka's name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The value when nobody set one.
    pub default: &'static str,
    /// Allowed values.
    pub bounds: Bounds,
    /// The broker's options that set its default, the strongest first.
    pub synonyms: &'static [Synonym],
    /// For a user of DescribeConfigs.
    pub doc: &'static str,
}

const FOREVER: &str = "9223372036854775807";

const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

const fn scaled(name: &'static str, factor: i64) -> Synonym {
    Synonym { name, factor }
}

const fn define(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    bounds: Bounds,
    synonyms: &'static [Synonym],
    doc: &'static str,
) -> Definition {
    Definition { name, kind, default, bounds, synonyms, doc }
}

/// All topic configs, by name.
pub const TOPIC_CONFIGS: &[Definition] = &[
    define(
        "cleanup.policy",
        Kind::List,
        "delete",
        Bounds::Words(&["compact", "delete"]),
        &[same("log.cleanup.policy")],
        "How old records go: `delete` by age and size, `compact` keeps the newest record of each key; both may be given.",
    ),
    define(
        "compression.gzip.level",
        Kind::Int,
        "-1",
        Bounds::Between(-1, 9),
        &[same("compression.gzip.level")],
        "Level for compression.type=gzip, 1 to 9; -1 is the codec's default.",
    ),
    define(
        "compression.lz4.level",
        Kind::Int,
        "9",
        Bounds::Between(1, 17),
        &[same("compression.lz4.level")],
        "Level for compression.type=lz4. Accepted and shown; the broker's encoder has a single, fast level.",
    ),
    define(
        "compression.type",
        Kind::String,
        "producer",
        Bounds::Words(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        &[same("compression.type")],
        "How batches are stored: `producer` keeps them as they were sent, any other recompresses what differs.",
    ),
    define(
        "compression.zstd.level",
        Kind::Int,
        "3",
        Bounds::Between(-131_072, 22),
        &[same("compression.zstd.level")],
        "Level for compression.type=zstd.",
    ),
    define(
        "delete.retention.ms",
        Kind::Long,
        "86400000",
        Bounds::AtLeast(0),
        &[same("log.cleaner.delete.retention.ms")],
        "How long a compacted topic keeps tombstones, so that a slow reader learns of the deletion.",
    ),
    define(
        "file.delete.delay.ms",
        Kind::Long,
        "60000",
        Bounds::AtLeast(0),
        &[same("log.segment.delete.delay.ms")],
        "Accepted and shown; objects are removed some minutes after nobody needs them.",
    ),
    define(
        "flush.messages",
        Kind::Long,
        FOREVER,
        Bounds::AtLeast(1),
        &[same("log.flush.interval.messages")],
        "Accepted and shown; every batch is durable before it is acknowledged.",
    ),
    define(
        "flush.ms",
        Kind::Long,
        FOREVER,
        Bounds::AtLeast(0),
        &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
        "Accepted and shown; every batch is durable before it is acknowledged.",
    ),
    define(
        "follower.replication.throttled.replicas",
        Kind::List,
        "",
        Bounds::ThrottledReplicas,
        &[],
        "Accepted and shown; partitions move without copying their records.",
    ),
    define(
        "index.interval.bytes",
        Kind::Int,
        "4096",
        Bounds::AtLeast(0),
        &[same("log.index.interval.bytes")],
        "Accepted and shown; objects carry their own index.",
    ),
    define(
        "leader.replication.throttled.replicas",
        Kind::List,
        "",
        Bounds::ThrottledReplicas,
        &[],
        "Accepted and shown; partitions move without copying their records.",
    ),
    define(
        "local.retention.bytes",
        Kind::Long,
        "-2",
        Bounds::AtLeast(-2),
        &[same("log.local.retention.bytes")],
        "Accepted and shown; the object store is the primary storage, there is no local tier.",
    ),
    define(
        "local.retention.ms",
        Kind::Long,
        "-2",
        Bounds::AtLeast(-2),
        &[same("log.local.retention.ms")],
        "Accepted and shown; the object store is the primary storage, there is no local tier.",
    ),
    define(
        "max.compaction.lag.ms",
        Kind::Long,
        FOREVER,
        Bounds::AtLeast(1),
        &[same("log.cleaner.max.compaction.lag.ms")],
        "How long a record of a compacted topic may stay uncompacted.",
    ),
    define(
        "max.message.bytes",
        Kind::Int,
        "1048588",
        Bounds::AtLeast(0),
        &[same("message.max.bytes")],
        "Largest record batch, as it is stored.",
    ),
    define(
        "message.timestamp.after.max.ms",
        Kind::Long,
        "3600000",
        Bounds::AtLeast(0),
        &[same("log.message.timestamp.after.max.ms")],
        "How far in the future a record's timestamp may lie; only for message.timestamp.type=CreateTime.",
    ),
    define(
        "message.timestamp.before.max.ms",
        Kind::Long,
        FOREVER,
        Bounds::AtLeast(0),
        &[same("log.message.timestamp.before.max.ms")],
        "How far in the past a record's timestamp may lie; only for message.timestamp.type=CreateTime.",
    ),
    define(
        "message.timestamp.type",
        Kind::String,
        "CreateTime",
        Bounds::Words(&["CreateTime", "LogAppendTime"]),
        &[same("log.message.timestamp.type")],
        "Whether records keep the producer's timestamp or get the time of the append.",
    ),
    define(
        "min.cleanable.dirty.ratio",
        Kind::Double,
        "0.5",
        Bounds::Fraction(0.0, 1.0),
        &[same("log.cleaner.min.cleanable.ratio")],
        "Share of uncompacted bytes from which on a compacted topic is compacted.",
    ),
    define(
        "min.compaction.lag.ms",
        Kind::Long,
        "0",
        Bounds::AtLeast(0),
        &[same("log.cleaner.min.compaction.lag.ms")],
        "How long a record of a compacted topic stays uncompacted at least.",
    ),
    define(
        "min.insync.replicas",
        Kind::Int,
        "1",
        Bounds::AtLeast(1),
        &[same("min.insync.replicas")],
        "Copies of the write-ahead log that acks=all asks for; with fewer it is refused. Not compared with the nominal replication factor.",
    ),
    define(
        "preallocate",
        Kind::Boolean,
        "false",
        Bounds::Any,
        &[same("log.preallocate")],
        "Accepted and shown; the WAL's files are always written beforehand.",
    ),
    define(
        "remote.log.copy.disable",
        Kind::Boolean,
        "false",
        Bounds::Any,
        &[],
        "Accepted and shown; the object store is the primary storage.",
    ),
    define(
        "remote.log.delete.on.disable",
        Kind::Boolean,
        "false",
        Bounds::Any,
        &[],
        "Accepted and shown; the object store is the primary storage.",
    ),
    define(
        "remote.storage.enable",
        Kind::Boolean,
        "false",
        Bounds::Any,
        &[],
        "Accepted and shown; the object store is the primary storage of every topic.",
    ),
    define(
        "retention.bytes",
        Kind::Long,
        "-1",
        Bounds::Any,
        &[same("log.retention.bytes")],
        "Size beyond which the oldest records of a partition are deleted; -1 is no limit.",
    ),
    define(
        "retention.ms",
        Kind::Long,
        "604800000",
        Bounds::AtLeast(-1),
        &[
            same("log.retention.ms"),
            scaled("log.retention.minutes", 60_000),
            scaled("log.retention.hours", 3_600_000),
        ],
        "Age from which on records are deleted; -1 is no limit.",
    ),
    define(
        "segment.bytes",
        Kind::Int,
        "1073741824",
        Bounds::AtLeast(1_048_576),
        &[same("log.segment.bytes")],
        "Accepted and shown; objects are cut by the broker's upload settings.",
    ),
    define(
        "segment.index.bytes",
        Kind::Int,
        "10485760",
        Bounds::AtLeast(4),
        &[same("log.index.size.max.bytes")],
        "Accepted and shown; objects carry their own index.",
    ),
    define(
        "segment.jitter.ms",
        Kind::Long,
        "0",
        Bounds::AtLeast(0),
        &[same("log.roll.jitter.ms"), scaled("log.roll.jitter.hours", 3_600_000)],
        "Accepted and shown; objects are cut by the broker's upload settings.",
    ),
    define(
        "segment.ms",
        Kind::Long,
        "604800000",
        Bounds::AtLeast(1),
        &[same("log.roll.ms"), scaled("log.roll.hours", 3_600_000)],
        "Accepted and shown; objects are cut by the broker's upload settings.",
    ),
    define(
        "unclean.leader.election.enable",
        Kind::Boolean,
        "false",
        Bounds::Any,
        &[same("unclean.leader.election.enable")],
        "Accepted and shown; a new leader always has every acknowledged record.",
    ),
];

impl Definition {
    /// The definition of a topic config.
    pub fn named(name: &str) -> Option<&'static Definition> {
        let position = TOPIC_CONFIGS.binary_search_by(|definition| definition.name.cmp(name)).ok()?;
        Some(&TOPIC_CONFIGS[position])
    }
}
