use super::value::Kind;

/// Whose option it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Kafka has it under the same name, with the same meaning.
    Kafka,
    /// Aquifer's own.
    Aquifer,
}

/// One option. The sample file, the reference page, validation and `DescribeConfigs` all come from here.
#[derive(Debug)]
pub(crate) struct OptionSpec {
    /// Its name in the properties file.
    pub(crate) name: &'static str,
    /// Its type and bounds.
    pub(crate) kind: Kind,
    /// Its default as text; `None` if it has none.
    pub(crate) default: Option<&'static str>,
    /// Whose it is.
    pub(crate) source: Source,
    /// Its section of the reference.
    pub(crate) section: &'static str,
    /// What it does, with units.
    pub(crate) doc: &'static str,
}

const fn kafka(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    doc: &'static str,
) -> OptionSpec {
    OptionSpec { name, kind, default, source: Source::Kafka, section, doc }
}

const fn ours(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    doc: &'static str,
) -> OptionSpec {
    OptionSpec { name, kind, default, source: Source::Aquifer, section, doc }
}

/// The definition of the option `name`.
pub(crate) fn find(name: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|spec| spec.name == name)
}

const NODE: &str = "Node";
const NETWORK: &str = "Network";
const TOPICS: &str = "Topics";
const GROUPS: &str = "Groups and producers";
const STORE: &str = "Object store";
/// How the store is reached.
const STORE_ACCESS: &str = "Access to the object store";
const WAL: &str = "Write-ahead log";
const MEMORY: &str = "Memory";

const I32: i64 = i32::MAX as i64;
const NATURAL: Kind = Kind::Int { min: 0, max: I32 };
const POSITIVE: Kind = Kind::Int { min: 1, max: I32 };
const MILLIS: Kind = Kind::Int { min: 1, max: i64::MAX };

/// All options, in the order of the reference page; a table, one row each.
#[rustfmt::skip]
pub(crate) const OPTIONS: &[OptionSpec] = &[
    kafka(NODE, "node.id", NATURAL, None, "The id of this node, unique in the cluster. It must not change once the node has run."),
    kafka(NODE, "process.roles", Kind::List, Some("broker,controller"), "What the node is: `broker`, `controller`, or both. Controllers form the metadata quorum; 1, 3 or 5 of them."),
    ours(NODE, "cluster.id", Kind::Text, None, "The id of the cluster, a UUID in Kafka's base64 form. Without it the first start makes one. A node refuses directories and stores of another cluster."),
    kafka(NODE, "broker.rack", Kind::Text, None, "The rack, room or host group this broker stands in, as clients see it."),
    kafka(NODE, "controller.quorum.bootstrap.servers", Kind::List, None, "Where the controllers' internal ports are, `host:port` each; the same list on every node. A controller with an empty `metadata.dir` founds or joins the cluster only after it has asked all of them. Without it the node is a cluster of its own."),
    kafka(NODE, "controller.quorum.voters", Kind::List, None, "The older form, `id@host:port` each; only the addresses count. Membership is dynamic (KIP-853) in either form."),
    kafka(NODE, "controller.listener.names", Kind::List, Some("CONTROLLER"), "Which of `listeners` is the internal port: metadata quorum, metadata feed and heartbeats, between all nodes, brokers too. The first name counts."),
    kafka(NODE, "listener.name.controller.ssl.keystore.location", Kind::Text, None, "PEM file with this node's private key and certificate for the internal port, whose URI name is `aquifer://node/ID`. `aquifer certs` makes it."),
    kafka(NODE, "listener.name.controller.ssl.truststore.location", Kind::Text, None, "PEM file with the cluster's CA for the internal port."),
    kafka(NODE, "broker.heartbeat.interval.ms", Kind::Int { min: 50, max: 60_000 }, Some("250"), "How often a broker tells the active controller that it is alive."),
    kafka(NODE, "broker.session.timeout.ms", Kind::Int { min: 500, max: 600_000 }, Some("2000"), "A broker that was not heard for so long is fenced. A process that ends is noticed at once, by its connections. At least four heartbeats."),
    kafka(NODE, "auto.leader.rebalance.enable", Kind::Bool, Some("true"), "Whether the active controller moves partitions so that each broker leads its share, once nothing has happened for 10 s. A partition whose replicas were assigned by a user goes to the first of them in service, as Kafka elects the preferred leader; all others are spread by number. Brokers that are drained or stopping are emptied in any case. The same value on every controller."),
    ours(NODE, "metadata.dir", Kind::Text, None, "Directory of the metadata quorum's log and snapshots, and of the admin socket `admin.sock`. Give it a disk that keeps what was flushed."),
    ours(NODE, "http.listen", Kind::Text, Some("127.0.0.1:9644"), "Address of the HTTP port with `/livez`, `/readyz` and `/metrics`. Empty: none."),

    kafka(NETWORK, "listeners", Kind::List, Some("PLAINTEXT://127.0.0.1:9092"), "Addresses to listen on, `NAME://host:port`. An empty host means all interfaces. Port 0 takes a free one."),
    kafka(NETWORK, "advertised.listeners", Kind::List, None, "Addresses that clients are told, by listener name. Default: those of `listeners`. Prefer an address to `localhost`, which some clients try over IPv6 first."),
    kafka(NETWORK, "listener.security.protocol.map", Kind::Text, Some("PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"), "The security protocol of each listener name. Client listeners speak PLAINTEXT only; the internal port speaks `SSL` (mutual TLS), or `PLAINTEXT` on a loopback address."),
    kafka(NETWORK, "socket.request.max.bytes", Kind::Bytes { min: 1024, max: I32 }, Some("104857600"), "The largest request accepted, in bytes; a larger one closes the connection."),
    kafka(NETWORK, "queued.max.request.bytes", Kind::Bytes { min: 1 << 20, max: i64::MAX }, Some("134217728"), "Memory for requests that are being read or answered, over all connections, in bytes. When it is used up, reading pauses. At least `socket.request.max.bytes`."),
    kafka(NETWORK, "max.connections", POSITIVE, Some("10000"), "Connections accepted at once; further ones are closed at once."),
    kafka(NETWORK, "max.connections.per.ip", POSITIVE, Some("2147483647"), "Connections accepted at once from one address."),
    kafka(NETWORK, "connections.max.idle.ms", MILLIS, Some("600000"), "A connection without a request for this long is closed."),
    kafka(NETWORK, "max.incremental.fetch.session.cache.slots", NATURAL, Some("1000"), "Fetch sessions (KIP-227) kept at once."),
    kafka(NETWORK, "fetch.max.bytes", Kind::Bytes { min: 1024, max: I32 }, Some("57671680"), "The most a Fetch response carries, in bytes, whatever the client asks for; the first batch is always sent whole (KIP-74)."),

    kafka(TOPICS, "num.partitions", POSITIVE, Some("1"), "Partitions of a topic that is created without a number."),
    kafka(TOPICS, "default.replication.factor", POSITIVE, Some("1"), "Nominal replication factor of a topic that is created without one. It is shown as asked; copies are the storage's business."),
    kafka(TOPICS, "auto.create.topics.enable", Kind::Bool, Some("true"), "Whether a Metadata request may create a topic, if the client also allows it."),
    kafka(TOPICS, "min.insync.replicas", POSITIVE, Some("1"), "Default of the topic option of the same name: copies of the write-ahead log that acks=all asks for. With fewer than that acks=all is refused (NOT_ENOUGH_REPLICAS). With `wal.mode=local` there is one; with `wal.mode=object` an acknowledged record is as safe as the store, which counts as any number."),
    kafka(TOPICS, "message.max.bytes", Kind::Bytes { min: 0, max: I32 }, Some("1048588"), "Default of `max.message.bytes`: the largest record batch, in bytes, as stored."),
    kafka(TOPICS, "compression.type", Kind::Choice(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]), Some("producer"), "Default of the topic option of the same name."),
    kafka(TOPICS, "compression.gzip.level", Kind::Int { min: -1, max: 9 }, Some("-1"), "Default of the topic option of the same name."),
    kafka(TOPICS, "compression.lz4.level", Kind::Int { min: 1, max: 17 }, Some("9"), "Default of the topic option of the same name: shown only, the encoder has one level."),
    kafka(TOPICS, "compression.zstd.level", Kind::Int { min: -131_072, max: 22 }, Some("3"), "Default of the topic option of the same name."),
    kafka(TOPICS, "log.cleanup.policy", Kind::List, Some("delete"), "Default of `cleanup.policy`."),
    kafka(TOPICS, "log.retention.ms", Kind::Int { min: -1, max: i64::MAX }, None, "Default of `retention.ms`: how long records are kept, -1 for ever. Before `log.retention.minutes`, which is before `log.retention.hours`."),
    kafka(TOPICS, "log.retention.minutes", Kind::Int { min: -1, max: I32 }, None, "As `log.retention.ms`, in minutes."),
    kafka(TOPICS, "log.retention.hours", Kind::Int { min: -1, max: I32 }, Some("168"), "As `log.retention.ms`, in hours."),
    kafka(TOPICS, "log.retention.bytes", Kind::Bytes { min: -1, max: i64::MAX }, Some("-1"), "Default of `retention.bytes`: how much a partition keeps, -1 for no limit."),
    kafka(TOPICS, "log.retention.check.interval.ms", MILLIS, Some("300000"), "How often retention is applied."),
    kafka(TOPICS, "log.segment.bytes", Kind::Bytes { min: 1 << 20, max: I32 }, Some("1073741824"), "Default of `segment.bytes`, kept for tools; nothing here is cut into log segments."),
    kafka(TOPICS, "log.message.timestamp.type", Kind::Choice(&["CreateTime", "LogAppendTime"]), Some("CreateTime"), "Default of `message.timestamp.type`."),
    kafka(TOPICS, "log.message.timestamp.before.max.ms", Kind::Int { min: 0, max: i64::MAX }, Some("9223372036854775807"), "Default of `message.timestamp.before.max.ms`."),
    kafka(TOPICS, "log.message.timestamp.after.max.ms", Kind::Int { min: 0, max: i64::MAX }, Some("3600000"), "Default of `message.timestamp.after.max.ms`."),

    kafka(GROUPS, "offsets.topic.num.partitions", POSITIVE, Some("50"), "Partitions of `__consumer_offsets`. It must not change once the topic exists."),
    kafka(GROUPS, "offsets.topic.replication.factor", Kind::Int { min: 1, max: 32767 }, Some("3"), "Nominal replication factor of `__consumer_offsets`."),
    kafka(GROUPS, "offsets.retention.minutes", POSITIVE, Some("10080"), "Offsets of a group that has been empty for this long are removed."),
    kafka(GROUPS, "offsets.retention.check.interval.ms", MILLIS, Some("600000"), "How often expired offsets are looked for."),
    kafka(GROUPS, "offset.metadata.max.bytes", NATURAL, Some("4096"), "The longest metadata string of an offset commit, in bytes."),
    kafka(GROUPS, "group.initial.rebalance.delay.ms", NATURAL, Some("3000"), "How long the first rebalance of a group waits for more members."),
    kafka(GROUPS, "group.min.session.timeout.ms", NATURAL, Some("6000"), "The shortest session timeout a member may ask for."),
    kafka(GROUPS, "group.max.session.timeout.ms", NATURAL, Some("1800000"), "The longest session timeout a member may ask for."),
    kafka(GROUPS, "group.max.size", POSITIVE, Some("2147483647"), "The most members of a group."),
    kafka(GROUPS, "producer.id.expiration.ms", POSITIVE, Some("86400000"), "An idempotent producer that has been silent for this long is forgotten."),

    ours(STORE, "store.url", Kind::Text, None, "Where primary storage is: `s3://bucket/prefix`, `hdfs://nameservice/path`, `file:///path` or `memory://` (tests only: lost at exit)."),
    ours(STORE, "store.offload.bytes", Kind::Bytes { min: 1 << 20, max: 1 << 30 }, Some("32MiB"), "Records are uploaded when this many bytes wait in the WAL."),
    ours(STORE, "store.offload.interval.ms", Kind::Int { min: 100, max: 3_600_000 }, Some("30000"), "Records are uploaded when the oldest has waited this long."),
    ours(STORE, "store.start.wait.ms", Kind::Int { min: 1_000, max: 86_400_000 }, Some("60000"), "How long the first start of a node waits for a store that does not answer; then it ends with an error. Later starts serve from the WAL and do not wait. Wrong credentials, a missing bucket or another cluster's store end any start at once."),
    ours(STORE, "store.delete.delay.ms", Kind::Int { min: 0, max: i64::MAX }, Some("300000"), "An object that nobody needs any more is deleted after this delay, so that reads that began before can end."),

    ours(STORE_ACCESS, "store.time.limit.ms", MILLIS, Some("15000"), "Time limit of one request to the store; a request that carries data gets more, by its size."),
    ours(STORE_ACCESS, "store.upload.bytes.in.flight", Kind::Bytes { min: 1 << 20, max: 1 << 40 }, Some("128MiB"), "Bytes of uploads on their way at once; more wait."),
    ours(STORE_ACCESS, "store.download.bytes.in.flight", Kind::Bytes { min: 1 << 20, max: 1 << 40 }, Some("128MiB"), "Bytes of reads on their way at once; more wait."),
    ours(STORE_ACCESS, "store.s3.endpoint", Kind::Text, None, "`http://host:port` or `https://host:port` of the S3 service. Without it: Amazon's own, by region."),
    ours(STORE_ACCESS, "store.s3.region", Kind::Text, Some("us-east-1"), "The region. Most private stores do not care."),
    ours(STORE_ACCESS, "store.s3.access.key", Kind::Text, None, "The access key. Default: the environment variable `AWS_ACCESS_KEY_ID`."),
    ours(STORE_ACCESS, "store.s3.secret.key", Kind::Secret, None, "The secret key. Default: the environment variable `AWS_SECRET_ACCESS_KEY`."),
    ours(STORE_ACCESS, "store.s3.path.style", Kind::Bool, Some("true"), "`endpoint/bucket/key` (true, what private stores want) or `bucket.endpoint/key`."),
    ours(STORE_ACCESS, "store.s3.ca.file", Kind::Text, None, "PEM file of the private CA that signed the endpoint's certificate; trusted besides the system's."),
    ours(STORE_ACCESS, "store.s3.unsigned.payload", Kind::Bool, Some("false"), "Leave the payload's SHA-256 unsigned. It is three quarters of an upload's CPU; objects carry their own checksums."),
    ours(STORE_ACCESS, "store.hdfs.config.dir", Kind::Text, None, "Directory with `core-site.xml` and `hdfs-site.xml`. Default: the environment variable `HADOOP_CONF_DIR`."),
    ours(STORE_ACCESS, "store.hdfs.namenodes", Kind::List, None, "`host:port` of each NameNode of an HA name service that no configuration file describes."),
    ours(STORE_ACCESS, "store.hdfs.replication", Kind::Int { min: 1, max: 512 }, None, "Copies of each block. Default: the cluster's."),
    ours(STORE_ACCESS, "store.hdfs.block.size", Kind::Bytes { min: 1 << 20, max: 1 << 40 }, None, "Block size of new files. Default: one block for each object, so that each asks the NameNode once."),
    ours(STORE_ACCESS, "store.hdfs.user", Kind::Text, None, "The user's name without Kerberos. Default: the environment variable `HADOOP_USER_NAME`, or the process's user."),
    ours(STORE_ACCESS, "store.hdfs.principal", Kind::Text, None, "Kerberos principal, with a keytab or a ticket cache."),
    ours(STORE_ACCESS, "store.hdfs.keytab", Kind::Text, None, "Kerberos keytab. Prefer it to a ticket cache: it logs in again by itself."),
    ours(STORE_ACCESS, "store.hdfs.ticket.cache", Kind::Text, None, "Kerberos ticket cache; every call fails once its ticket has expired."),

    ours(WAL, "wal.dir", Kind::Text, None, "Directory of the write-ahead log, on a local NVMe with a file system that knows O_DIRECT (ext4, XFS)."),
    ours(WAL, "wal.size", Kind::Bytes { min: 64 << 20, max: i64::MAX }, Some("2GiB"), "Size of the write-ahead log. It is written full of zeros once, behind the first start."),
    ours(WAL, "wal.mode", Kind::Choice(&["local", "mirror", "mirror-fast", "object"]), None, "What a record takes to be acknowledged. `local`: this node's disk. `mirror`: two other brokers' disks too, all of them synced; fewer while brokers are away, but not fewer than `wal.min.copies`. `mirror-fast`: the same copies, and two of them must be synced. `object`: an object in the store, committed in the quorum; the WAL is a buffer that may be lost, for brokers without a durable disk, and acknowledgements are as slow as uploads. Default: `mirror` on a node that names other controllers, else `local`."),
    ours(WAL, "wal.min.copies", Kind::Int { min: 1, max: 3 }, Some("2"), "With `wal.mode` mirror or mirror-fast: with fewer copies than this, the node's own included, nothing is acknowledged. A node waits for so many at its start."),
    ours(WAL, "wal.object.interval.ms", Kind::Int { min: 10, max: 2_000 }, Some("250"), "With `wal.mode=object`, in place of `store.offload.interval.ms`: records are uploaded when the oldest has waited this long. Each upload is an object, and an entry of the metadata until its records are deleted."),
    ours(WAL, "wal.object.bytes", Kind::Bytes { min: 64 << 10, max: 256 << 20 }, Some("8MiB"), "With `wal.mode=object`, in place of `store.offload.bytes`: records are uploaded when this many bytes wait."),
    ours(WAL, "wal.mirror.size", Kind::Bytes { min: 64 << 20, max: i64::MAX }, Some("2GiB"), "Size of the log below `wal.dir` in which a broker of a cluster keeps copies of other brokers' segments. Half of it is for copies, an eighth for each segment; that is also the most memory they take. An eighth should not be less than `wal.unoffloaded.max.bytes`, or it is what slows producers down."),
    ours(WAL, "wal.io.engine", Kind::Choice(&["io_uring", "threads"]), Some("io_uring"), "How the WAL does its I/O: `io_uring` (with O_DIRECT), or `threads` for kernels and containers without io_uring."),
    ours(WAL, "wal.retain.after.offload.ms", Kind::Int { min: 0, max: i64::MAX }, Some("60000"), "How long records stay in the WAL's files after they were uploaded, for a rescue by hand: some stores can lose a PUT they just acknowledged in a power cut. Nothing reads them back by itself yet. Gives way, oldest first, while the WAL is more than half full or what its mirrors take more than a quarter: what is not uploaded yet has nowhere else to be."),
    ours(WAL, "wal.unoffloaded.max.bytes", Kind::Bytes { min: 16 << 20, max: i64::MAX }, Some("256MiB"), "The most that may wait for upload. From 70 % on producers are slowed down (`throttle_time_ms`, KIP-219), from 90 % on they are refused with a retriable error."),
    ours(WAL, "wal.accept.loss", Kind::Text, None, "For one start, with the value that a refused start printed: give up what follows a damaged place in the WAL."),
    ours(WAL, "wal.accept.blank", Kind::Bool, Some("false"), "For one start: go on although the WAL directory is empty and records in the lost one were not offloaded. They are given up."),

    ours(MEMORY, "memory.limit.bytes", Kind::Bytes { min: 256 << 20, max: i64::MAX }, None, "What this node may use, in bytes. Default: the limit of its memory cgroup, else the machine's memory. Below 1 GiB the options `wal.unoffloaded.max.bytes`, `store.offload.bytes`, `store.*.bytes.in.flight` and `cache.*` that have no value get less than their defaults, as the log says at the start."),
    ours(MEMORY, "cache.log.bytes", Kind::Bytes { min: 1 << 20, max: i64::MAX }, Some("32MiB"), "Memory that keeps recently uploaded records for consumers near the tail, in bytes; what waits for upload is kept in any case."),
    ours(MEMORY, "cache.block.bytes", Kind::Bytes { min: 8 << 20, max: i64::MAX }, Some("64MiB"), "Memory for blocks read from the object store, in bytes."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_default_passes_its_own_bounds() {
        for spec in OPTIONS {
            if let Some(default) = spec.default {
                assert!(spec.kind.parse(default).is_ok(), "{}", spec.name);
            }
        }
    }

    #[test]
    fn names_are_unique_and_none_is_also_ignored() {
        let mut seen = BTreeSet::new();
        for spec in OPTIONS {
            assert!(seen.insert(spec.name), "{} stands twice", spec.name);
            // Of the listeners' own options only the internal port's have a meaning.
            let named = spec.name.starts_with("listener.name.controller.");
            assert!(named || super::super::ignored::reason(spec.name).is_none(), "{} is both", spec.name);
        }
    }
}
