use rdkafka::config::ClientConfig;

use crate::scenario::Produce;

/// Every client: loopback has no IPv6 here, and looking for it costs time at the first connection.
const CLIENT: &[(&str, &str)] = &[("broker.address.family", "v4")];

/// Throughput: large batches, and a queue that keeps them coming without hiding seconds of waiting.
const FLAT_OUT: &[(&str, &str)] = &[
    ("acks", "all"),
    ("linger.ms", "5"),
    ("batch.size", "1000000"),
    ("queue.buffering.max.messages", "1000000"),
];

/// Of all producers together; each has at least room for a batch.
const QUEUE_KIB: usize = 64 << 10;
const LEAST_QUEUE_KIB: usize = 2 << 10;

/// Latency: a record leaves when it comes.
const AT_RATE: &[(&str, &str)] = &[("acks", "all"), ("linger.ms", "0")];

/// Interruptions: a record leaves when it comes, and a new leader is found within moments. librdkafka's own pace of looking
/// would be measured otherwise. As `tests/faults/scripts/steady.py`.
const STEADY: &[(&str, &str)] = &[
    ("acks", "all"),
    ("linger.ms", "0"),
    ("enable.idempotence", "true"),
    // A dead host says nothing: what was sent to it is given up after a second, not after the usual half minute.
    ("request.timeout.ms", "1000"),
    ("socket.timeout.ms", "2000"),
    ("reconnect.backoff.ms", "10"),
    ("reconnect.backoff.max.ms", "100"),
    ("retry.backoff.ms", "20"),
    ("topic.metadata.refresh.fast.interval.ms", "20"),
    ("topic.metadata.refresh.interval.ms", "200"),
];

/// Consumers read every offset once, and need no group.
const CONSUMER: &[(&str, &str)] = &[
    ("group.id", "aquifer-bench"),
    ("enable.auto.commit", "false"),
    ("auto.offset.reset", "error"),
    ("check.crcs", "true"),
];

pub(super) fn producer(bootstrap: &str, produce: &Produce) -> ClientConfig {
    let mut config = client(bootstrap, if produce.rate.is_some() { AT_RATE } else { FLAT_OUT });
    let queue_kib = (QUEUE_KIB / produce.connections).max(LEAST_QUEUE_KIB);
    config.set("queue.buffering.max.kbytes", queue_kib.to_string());
    config.set("compression.type", produce.compression);
    config.set("enable.idempotence", if produce.idempotent { "true" } else { "false" });
    config
}

pub(super) fn steady(bootstrap: &str) -> ClientConfig {
    client(bootstrap, STEADY)
}

pub(super) fn consumer(bootstrap: &str) -> ClientConfig {
    client(bootstrap, CONSUMER)
}

pub(super) fn plain(bootstrap: &str) -> ClientConfig {
    client(bootstrap, &[])
}

fn client(bootstrap: &str, options: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    for (name, value) in CLIENT.iter().chain(options) {
        config.set(*name, *value);
    }
    config
}

/// The options for a report; those that are not named have the library's default.
pub(crate) fn shown() -> Vec<(String, String)> {
    let list = |options: &[(&str, &str)]| {
        options.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    vec![
        (
            "producer, flat out".to_owned(),
            format!("{} queue.buffering.max.kbytes={QUEUE_KIB}", list(FLAT_OUT)),
        ),
        ("producer, at a rate".to_owned(), list(AT_RATE)),
        ("producer, of interruptions".to_owned(), list(STEADY)),
        ("consumer".to_owned(), list(CONSUMER)),
    ]
}
