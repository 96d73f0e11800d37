/// Kafka's options that have no meaning here, each with the reason.
///
/// They are accepted, so that a site's `server.properties` is a starting point. A name that ends in
/// `*` stands for every option that begins with it.
pub(super) const IGNORED: &[(&str, &str)] = &[
    ("log.dir", DISKS),
    ("log.dirs", DISKS),
    ("metadata.log.dir", "the metadata quorum keeps its files in 'metadata.dir'"),
    ("num.io.threads", THREADS),
    ("num.network.threads", THREADS),
    ("num.recovery.threads.per.data.dir", "recovery reads one WAL, not one log per partition"),
    ("num.replica.fetchers", COPIES),
    ("num.replica.alter.log.dirs.threads", DISKS),
    ("num.partitions.per.broker", "partitions are not bound to brokers"),
    ("background.threads", THREADS),
    ("queued.max.requests", "requests are limited by bytes: 'queued.max.request.bytes'"),
    ("socket.send.buffer.bytes", "the kernel sizes socket buffers"),
    ("socket.receive.buffer.bytes", "the kernel sizes socket buffers"),
    ("socket.listen.backlog.size", "the listen backlog is fixed"),
    ("socket.connection.setup.timeout.ms", PORT),
    ("socket.connection.setup.timeout.max.ms", PORT),
    ("log.flush.interval.messages", FLUSH),
    ("log.flush.interval.ms", FLUSH),
    ("log.flush.scheduler.interval.ms", FLUSH),
    ("log.flush.offset.checkpoint.interval.ms", FLUSH),
    ("log.flush.start.offset.checkpoint.interval.ms", FLUSH),
    ("log.segment.delete.delay.ms", OBJECTS),
    ("log.roll.hours", OBJECTS),
    ("log.roll.ms", OBJECTS),
    ("log.roll.jitter.hours", OBJECTS),
    ("log.roll.jitter.ms", OBJECTS),
    ("log.index.size.max.bytes", "objects carry their own index"),
    ("log.index.interval.bytes", "objects carry their own index"),
    ("log.preallocate", "the WAL is always preallocated"),
    ("log.cleaner.*", "compaction of object data has no threads to size"),
    ("log.initial.task.delay.ms", OBJECTS),
    ("log.dir.failure.timeout.ms", DISKS),
    ("log.local.retention.*", TIERS),
    ("remote.fetch.max.wait.ms", TIERS),
    ("remote.list.offsets.request.timeout.ms", TIERS),
    ("remote.log.*", TIERS),
    ("cordoned.log.dirs", DISKS),
    ("replica.*", COPIES),
    ("replication.quota.*", COPIES),
    ("alter.log.dirs.replication.quota.*", DISKS),
    ("leader.replication.throttled.*", COPIES),
    ("follower.*", COPIES),
    (
        "leader.imbalance.*",
        "partitions move as soon as the cluster is at rest, see 'auto.leader.rebalance.enable'",
    ),
    ("unclean.leader.election.enable", COPIES),
    ("eligible.leader.replicas.enable", COPIES),
    ("controlled.shutdown.*", "a graceful stop always offloads and hands over"),
    ("initial.broker.registration.timeout.ms", PORT),
    ("controller.quorum.election.*", PORT),
    ("controller.quorum.fetch.*", PORT),
    ("controller.quorum.append.linger.ms", PORT),
    ("controller.quorum.auto.join.enable", "a controller always joins by itself"),
    ("controller.quorum.request.timeout.ms", PORT),
    ("controller.quorum.retry.backoff.ms", PORT),
    ("controller.socket.timeout.ms", PORT),
    ("request.timeout.ms", PORT),
    ("early.start.listeners", "all listeners open when the node is ready"),
    ("inter.broker.listener.name", "brokers do not speak the Kafka protocol to each other"),
    ("inter.broker.protocol.version", "brokers do not speak the Kafka protocol to each other"),
    ("security.inter.broker.protocol", "brokers do not speak the Kafka protocol to each other"),
    ("log.message.format.version", "records are always of format 2"),
    ("log.message.downconversion.enable", "records are always of format 2"),
    ("metadata.log.*", "the metadata quorum bounds its own log"),
    ("metadata.max.*", "the metadata quorum bounds its own log"),
    ("broker.id", "use 'node.id'"),
    ("broker.id.generation.enable", "'node.id' is always given"),
    ("zookeeper.*", "there is no ZooKeeper"),
    ("metric.reporters", JAVA),
    ("metrics.*", "metrics are served at /metrics of 'http.listen'"),
    ("kafka.metrics.*", "metrics are served at /metrics of 'http.listen'"),
    ("auto.include.jmx.reporter", JAVA),
    ("create.topic.policy.class.name", JAVA),
    ("alter.config.policy.class.name", JAVA),
    ("principal.builder.class", JAVA),
    ("fetch.purgatory.purge.interval.requests", "waiting requests hold no purgatory"),
    ("producer.purgatory.purge.interval.requests", "waiting requests hold no purgatory"),
    ("delete.records.purgatory.purge.interval.requests", "waiting requests hold no purgatory"),
    ("delete.topic.enable", "topics can always be deleted"),
    ("transaction.*", "transactions are not built yet"),
    ("transactional.id.expiration.ms", "transactions are not built yet"),
    ("add.partitions.to.txn.*", "transactions are not built yet"),
    ("group.share.*", "share groups are not built yet"),
    ("share.*", "share groups are not built yet"),
    ("max.request.partition.size.limit", "requests are limited by bytes: 'socket.request.max.bytes'"),
    ("quota.window.*", "quotas are not built yet"),
    ("controller.quota.window.*", "quotas are not built yet"),
    ("client.quota.callback.class", JAVA),
    ("max.connection.creation.rate", "the rate of new connections is not limited yet"),
    ("max.connections.per.ip.overrides", "there is one limit for all addresses: 'max.connections.per.ip'"),
    ("telemetry.max.bytes", "clients' telemetry is not received"),
    ("delegation.token.*", "SASL is not built yet"),
    ("sasl.*", SECURITY),
    ("ssl.*", SECURITY),
    ("listener.name.*", SECURITY),
    ("connections.max.reauth.ms", SECURITY),
    ("connection.failed.authentication.delay.ms", SECURITY),
    ("super.users", "there are no ACLs yet"),
    ("allow.everyone.if.no.acl.found", "there are no ACLs yet"),
    ("security.providers", JAVA),
    ("group.streams.*", "streams groups are not built yet"),
    ("group.consumer.*", "the new consumer protocol is not built yet"),
    ("group.coordinator.*", "coordinators batch and run without settings"),
    ("offsets.commit.timeout.ms", "an offset commit waits for the WAL only"),
    ("offsets.load.buffer.size", "offsets are loaded in fixed pieces"),
    ("offsets.topic.compression.codec", "offset records are stored uncompressed"),
    ("offsets.topic.segment.bytes", OBJECTS),
];

const DISKS: &str = "a broker keeps no log on disk; data goes to 'wal.dir' and then to 'store.url'";
const THREADS: &str = "the runtime sizes itself to the machine's cores";
const COPIES: &str = "partitions have no replicas on brokers; copies are the storage's business";
const FLUSH: &str = "every acknowledged record is already synced to the WAL";
const OBJECTS: &str = "data lives in objects, not in log segments; see 'store.offload.bytes'";
const PORT: &str = "the internal port has fixed time limits";
const JAVA: &str = "Java classes cannot be loaded";
const TIERS: &str = "all data is in the object store already";
const SECURITY: &str = "clients are served over PLAINTEXT only; a listener that asks for more is refused";

/// Kafka's options that cannot be left aside without harm, each with what that would mean.
const REFUSED: &[(&str, &str)] = &[
    (
        "authorizer.class.name",
        "ACLs are not built yet, every client may do everything; remove the option to accept that",
    ),
    (
        "config.providers",
        "values like ${file:…} are not resolved; give secrets in the environment: AQUIFER_CONFIG_STORE_S3_SECRET_KEY=…",
    ),
];

/// Why a file with `name` must not be started from, if it is an option of Kafka whose loss would do harm.
pub(super) fn refusal(name: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(refused, _)| *refused == name).map(|(_, reason)| *reason)
}

/// Why `name` does nothing, if it is one of Kafka's options that do nothing.
pub(super) fn reason(name: &str) -> Option<&'static str> {
    IGNORED
        .iter()
        .find(|(pattern, _)| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *pattern,
        })
        .map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    /// Kafka 4.3.1's broker options, as its own class prints them; the compatibility suite compares.
    const KAFKAS: &str = include_str!("kafka_options.txt");

    #[test]
    fn every_broker_option_of_kafka_has_a_meaning_or_a_reason_to_have_none() {
        let known =
            |name: &&str| table::find(name).is_some() || reason(name).is_some() || refusal(name).is_some();
        let unknown: Vec<&str> = KAFKAS.lines().filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert!(KAFKAS.lines().count() > 300);
    }
}
