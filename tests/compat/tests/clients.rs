//! kcat and Kafka's own tools, each reading what the other wrote, on the file store, MinIO and HDFS.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use aquifer_compat::{JavaTools, LIMIT, Node, Target, kcat};
use aquifer_services::{Hdfs, Minio, or_skip};
use tokio::process::Command;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONSOLE_PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSOLE_CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const VERIFIABLE_PRODUCER: &str = "org.apache.kafka.tools.VerifiableProducer";
const VERIFIABLE_CONSUMER: &str = "org.apache.kafka.tools.VerifiableConsumer";
const PRODUCER_PERFORMANCE: &str = "org.apache.kafka.tools.ProducerPerformance";
const CONSUMER_PERFORMANCE: &str = "org.apache.kafka.tools.ConsumerPerformance";
const GET_OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";
const LOG_DIRS: &str = "org.apache.kafka.tools.LogDirsCommand";
const CLUSTER: &str = "org.apache.kafka.tools.ClusterTool";
const API_VERSIONS: &str = "org.apache.kafka.tools.BrokerApiVersionsCommand";
const FEATURES: &str = "org.apache.kafka.tools.FeatureCommand";
const CONSUMER_GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// A node, a JVM and a kcat that know each other.
struct Tour {
    node: Node,
    tools: JavaTools,
    bootstrap: String,
}

impl Tour {
    async fn start(dir: &Path, settings: &[(&str, &str)]) -> Option<Self> {
        kcat()?;
        let tools = JavaTools::start().await?;
        let node = Node::start(dir, settings).await;
        let bootstrap = node.bootstrap();
        Some(Self { node, tools, bootstrap })
    }

    async fn tool(&mut self, class: &str, arguments: &[&str]) -> String {
        let bootstrap = self.bootstrap.clone();
        let all = [&["--bootstrap-server", &bootstrap], arguments].concat();
        self.tools.run(class, &all).await.ok()
    }

    async fn kcat(&self, arguments: &[&str], input: Option<&Path>) -> String {
        let mut command: Command = kcat().expect("the tour began with a look at it");
        command.args(["-b", &self.bootstrap]).args(arguments).stdin(Stdio::null());
        if let Some(input) = input {
            command.args(["-l"]).arg(input);
        }
        let output =
            tokio::time::timeout(LIMIT, command.output()).await.expect("kcat ends").expect("kcat starts");
        assert!(output.status.success(), "kcat {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("the records are text")
    }

    /// Kafka's tools write, kcat reads, lines `headers key value`.
    async fn kcat_reads(&self, expected: &[String]) {
        let read = ["-C", "-q", "-t", "words", "-o", "beginning", "-e", "-f", "%h\t%k\t%s\n"];
        let mut read: Vec<String> = self.kcat(&read, None).await.lines().map(ToOwned::to_owned).collect();
        read.sort();
        assert_eq!(read.len(), expected.len());
        assert_eq!(read, expected);
    }

    /// kcat writes, Kafka's console consumer reads, in order, for one codec.
    async fn console_consumer_reads(&mut self, codec: &str, expected: &[String]) {
        let topic = format!("kcat-{codec}");
        let count = expected.len().to_string();
        let read = [
            ["--topic", &topic].as_slice(),
            &["--from-beginning", "--max-messages", &count, "--timeout-ms", "60000"],
            &["--formatter-property", "print.key=true", "--formatter-property", "print.headers=true"],
            &["--formatter-property", "print.offset=true"],
        ]
        .concat();
        let read = self.tool(CONSOLE_CONSUMER, &read).await;
        let read: Vec<&str> = read.lines().filter(|line| line.starts_with("Offset:")).collect();
        assert_eq!(read, expected, "{codec}");
    }
}

fn words() -> Vec<String> {
    let mut lines: Vec<String> = (0..300)
        .map(|number| {
            format!("origin=console,n={number}\tkey-{}\tvalue {number} {}", number % 7, "x".repeat(number))
        })
        .collect();
    lines.sort();
    lines
}

async fn the_tools_work_with(settings: &[(&str, &str)]) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(mut tour) = Tour::start(dir.path(), settings).await else { return };

    let create = ["--create", "--topic", "words", "--partitions", "3", "--config", "retention.ms=86400000"];
    assert!(tour.tool(TOPICS, &create).await.contains("Created topic words"));
    let described = tour.tool(TOPICS, &["--describe", "--topic", "words"]).await;
    assert!(
        described.contains("PartitionCount: 3") && described.contains("retention.ms=86400000"),
        "{described}"
    );
    assert_eq!(described.matches("Leader: 1").count(), 3, "{described}");

    let words = words();
    console_producer_writes(&mut tour, dir.path(), &words).await;
    tour.kcat_reads(&words).await;
    let kcat_lines = kcat_writes(&mut tour, dir.path()).await;
    for codec in CODECS {
        tour.console_consumer_reads(codec, &kcat_lines).await;
    }
    verifiable_clients(&mut tour).await;
    performance_tools(&mut tour).await;
    records_are_deleted(&mut tour, dir.path()).await;
    configs_change(&mut tour).await;
    cluster_is_described(&mut tour).await;

    tour.node.stop().await;
    tour.node.start_again().await;
    tour.kcat_reads(&words).await;
    for codec in ["none", "zstd"] {
        tour.console_consumer_reads(codec, &kcat_lines).await;
    }
    let _ = tour.tool(TOPICS, &["--alter", "--topic", "words", "--partitions", "5"]).await;
    assert!(tour.tool(TOPICS, &["--describe", "--topic", "words"]).await.contains("PartitionCount: 5"));
    let _ = tour.tool(TOPICS, &["--delete", "--topic", "words"]).await;
    let topics = tour.tool(TOPICS, &["--list"]).await;
    assert!(!topics.lines().any(|name| name == "words"), "{topics}");
    tour.node.stop().await;
}

async fn console_producer_writes(tour: &mut Tour, dir: &Path, words: &[String]) {
    let mut input = String::new();
    for line in words {
        writeln!(input, "{}", line.replace("origin=", "origin:").replace("n=", "n:"))
            .expect("a string grows");
    }
    let file = dir.join("words.txt");
    fs::write(&file, input).expect("the input can be written");
    let bootstrap = tour.bootstrap.clone();
    let arguments = ["--bootstrap-server", &bootstrap, "--topic", "words", "--compression-codec", "lz4"];
    let reader = ["--reader-property", "parse.key=true", "--reader-property", "parse.headers=true"];
    let arguments = [arguments.as_slice(), &reader].concat();
    let _ = tour.tools.run_with_input(CONSOLE_PRODUCER, &arguments, Some(&file)).await.ok();
}

/// Writes 100 records for each codec, and returns how the console consumer shows them.
async fn kcat_writes(tour: &mut Tour, dir: &Path) -> Vec<String> {
    let lines: Vec<String> =
        (0..100).map(|number| format!("k{number}|{}", "compress me ".repeat(number % 50 + 1))).collect();
    let file = dir.join("kcat.txt");
    fs::write(&file, lines.join("\n") + "\n").expect("the input can be written");
    for codec in CODECS {
        let topic = format!("kcat-{codec}");
        let _ = tour.tool(TOPICS, &["--create", "--topic", &topic]).await;
        let write = ["-P", "-t", &topic, "-p", "0", "-z", codec, "-K", "|", "-H", "by=kcat", "-H", "empty="];
        tour.kcat(&write, Some(&file)).await;
    }
    let shown = lines.iter().enumerate().map(|(offset, line)| {
        let (key, value) = line.split_once('|').expect("each line has a key");
        format!("Offset:{offset}\tby:kcat,empty:\t{key}\t{value}")
    });
    shown.collect()
}

async fn verifiable_clients(tour: &mut Tour) {
    let write = ["--topic", "verifiable", "--max-messages", "2000", "--acks", "-1"];
    let bootstrap = tour.bootstrap.clone();
    let write = [["--bootstrap-server", &bootstrap].as_slice(), &write].concat();
    let said = tour.tools.run_alone(VERIFIABLE_PRODUCER, &write).await.ok();
    assert_eq!(
        said.matches("producer_send_success").count(),
        2_000,
        "{}",
        &said[said.len().saturating_sub(600)..]
    );
    let read = ["--topic", "verifiable", "--group-id", "verifiers", "--max-messages", "2000", "--verbose"];
    let read = [read.as_slice(), &["--reset-policy", "earliest"]].concat();
    let read = [["--bootstrap-server", &bootstrap].as_slice(), &read].concat();
    let said = tour.tools.run_alone(VERIFIABLE_CONSUMER, &read).await.ok();
    let read = said.matches("\"name\":\"record_data\"").count();
    assert_eq!(read, 2_000, "{}", &said[said.len().saturating_sub(600)..]);
    assert!(said.contains("offsets_committed") && !said.contains("\"success\":false"), "{said}");
    let described = tour.tool(CONSUMER_GROUPS, &["--describe", "--group", "verifiers"]).await;
    // Topic, partition, committed offset, log end, lag.
    let line = described.lines().find(|line| line.contains(" verifiable ")).unwrap_or_default();
    let columns: Vec<&str> = line.split_whitespace().skip(1).take(5).collect();
    assert_eq!(columns, ["verifiable", "0", "2000", "2000", "0"], "{described}");
}

async fn performance_tools(tour: &mut Tour) {
    let arguments =
        ["--topic", "measured", "--num-records", "20000", "--record-size", "1024", "--throughput", "-1"];
    let arguments = [arguments.as_slice(), &["--command-property", "acks=all", "linger.ms=5"]].concat();
    let said = tour.tool(PRODUCER_PERFORMANCE, &arguments).await;
    assert!(said.contains("20000 records sent"), "{said}");
    let arguments = ["--topic", "measured", "--num-records", "20000", "--timeout", "60000"];
    let said = tour.tool(CONSUMER_PERFORMANCE, &arguments).await;
    assert!(said.contains(", 20000,"), "{said}");
    let said = tour.tool(GET_OFFSETS, &["--topic", "measured"]).await;
    assert_eq!(said.trim(), "measured:0:20000");
}

async fn records_are_deleted(tour: &mut Tour, dir: &Path) {
    let file = dir.join("delete.json");
    let json = r#"{"version":1,"partitions":[{"topic":"measured","partition":0,"offset":12345}]}"#;
    fs::write(&file, json).expect("the input can be written");
    let path = file.display().to_string();
    let said = tour.tool(DELETE_RECORDS, &["--offset-json-file", &path]).await;
    assert!(said.contains("low_watermark: 12345"), "{said}");
    let said = tour.tool(GET_OFFSETS, &["--topic", "measured", "--time", "earliest"]).await;
    assert_eq!(said.trim(), "measured:0:12345");
    let first = ["-C", "-q", "-t", "measured", "-o", "beginning", "-c", "1", "-f", "%o"];
    assert_eq!(tour.kcat(&first, None).await, "12345");
}

async fn configs_change(tour: &mut Tour) {
    let topic = ["--entity-type", "topics", "--entity-name", "words"];
    let with = |how: &[&'static str]| [topic.as_slice(), how].concat();
    let _ = tour
        .tool(CONFIGS, &with(&["--alter", "--add-config", "max.message.bytes=2000000,segment.bytes=2097152"]))
        .await;
    let said = tour.tool(CONFIGS, &with(&["--describe"])).await;
    assert!(said.contains("max.message.bytes=2000000") && said.contains("retention.ms=86400000"), "{said}");
    assert!(said.contains("DEFAULT_CONFIG:message.max.bytes=1048588"), "synonyms: {said}");
    let _ = tour.tool(CONFIGS, &with(&["--alter", "--delete-config", "segment.bytes"])).await;
    let said = tour.tool(CONFIGS, &with(&["--describe"])).await;
    assert!(!said.contains("segment.bytes=2097152"), "{said}");
    let said = tour.tool(CONFIGS, &with(&["--describe", "--all"])).await;
    assert!(said.contains("cleanup.policy=delete") && said.contains("segment.bytes=1073741824"), "{said}");
    let said =
        tour.tool(CONFIGS, &["--entity-type", "brokers", "--entity-name", "1", "--describe", "--all"]).await;
    assert!(said.contains("node.id=1"), "{said}");
}

async fn cluster_is_described(tour: &mut Tour) {
    let said = tour.tool(LOG_DIRS, &["--describe", "--topic-list", "measured"]).await;
    assert!(said.contains("\"partition\":\"measured-0\"") && said.contains("\"error\":null"), "{said}");
    let bootstrap = tour.bootstrap.clone();
    let id = tour.tools.run(CLUSTER, &["cluster-id", "--bootstrap-server", &bootstrap]).await.ok();
    let id = id.trim().strip_prefix("Cluster ID: ").unwrap_or_else(|| panic!("{id}"));
    assert_eq!(id.len(), 22, "a UUID in Kafka's base64: {id}");
    let said = tour.tools.run(CLUSTER, &["list-endpoints", "--bootstrap-server", &bootstrap]).await.ok();
    assert!(said.contains("127.0.0.1"), "{said}");
    let said = tour.tool(API_VERSIONS, &[]).await;
    if !Target::chosen().is_kafka() {
        assert_eq!(advertised(&said), promised(), "README.md lists what the broker advertises:\n{said}");
    }
    let said = tour.tools.run(FEATURES, &["--bootstrap-server", &bootstrap, "describe"]).await.ok();
    let version = said.lines().find(|line| line.contains("metadata.version")).unwrap_or_default();
    assert!(version.contains("FinalizedVersionLevel: 4.3-IV0"), "{said}");
}

/// `Name 0–13` for each line `Name(7): 0 to 13 [usable: 13],` of Kafka's tool, sorted.
fn advertised(said: &str) -> Vec<String> {
    let mut found: Vec<String> = said
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.trim().split_once('(')?;
            let versions = rest.split_once("): ")?.1.split(" [").next()?;
            (!versions.starts_with("UNSUPPORTED"))
                .then(|| format!("{name} {}", versions.replace(" to ", "–")))
        })
        .collect();
    found.sort();
    found
}

/// What the README promises, in the same form.
fn promised() -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let line = readme.lines().find_map(|line| line.strip_prefix("> ")).expect("the README lists the APIs");
    let mut found: Vec<String> = line
        .split(" · ")
        .map(|entry| entry.split(" (").next().expect("a split has a first part").to_owned())
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn kcat_and_kafkas_tools_work_with_the_file_store() {
    the_tools_work_with(&[]).await;
}

#[tokio::test]
async fn kcat_and_kafkas_tools_work_with_minio() {
    if Target::chosen().is_kafka() {
        return;
    }
    let Some(minio) = or_skip(Minio::start().await) else { return };
    minio.create_bucket("aquifer");
    the_tools_work_with(&[
        ("store.url", "s3://aquifer/tools"),
        ("store.s3.endpoint", &minio.endpoint()),
        ("store.s3.access.key", Minio::ACCESS_KEY),
        ("store.s3.secret.key", Minio::ACCESS_KEY),
    ])
    .await;
}

#[tokio::test]
async fn kcat_and_kafkas_tools_work_with_hdfs() {
    if Target::chosen().is_kafka() {
        return;
    }
    let Some(hdfs) = or_skip(Hdfs::start(3).await) else { return };
    let url = format!("hdfs://{}/aquifer/tools", hdfs.address());
    the_tools_work_with(&[("store.url", &url)]).await;
}
