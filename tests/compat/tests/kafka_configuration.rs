//! A site's `server.properties` is a starting point.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use aquifer_compat::{JavaTools, LIMIT, Target, aquifer, http_get, run_script};
use aquifer_services::{Process, free_ports};

/// What `config/server.properties` of Apache Kafka 4.3's distribution sets.
const STOCK: &str = "\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";

#[tokio::test]
async fn kafkas_own_file_and_four_lines_make_a_node() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [port, internal, http] = free_ports();
    let mut properties = STOCK.replace("9092", &port.to_string()).replace("9093", &internal.to_string());
    let below = |name: &str| dir.path().join(name).display().to_string();
    write!(
        properties,
        "store.url=file://{}\nwal.dir={}\nmetadata.dir={}\nhttp.listen=127.0.0.1:{http}\n",
        below("store"),
        below("wal"),
        below("metadata")
    )
    .expect("a string grows");
    let file = dir.path().join("server.properties");
    fs::write(&file, properties).expect("written");
    let mut command = Command::new(aquifer());
    command.args(["serve", "--config"]).arg(&file);
    let mut process = Process::start("node", &command, &dir.path().join("log")).expect("it starts");
    let log = || fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !http_get(http, "/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
        assert!(process.ended().is_none(), "{}", log());
        assert!(tokio::time::Instant::now() < deadline, "{}", log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let bootstrap = format!("127.0.0.1:{port}");
    if run_script("fill.py", &["write", &bootstrap, "stock", "100", "100"], "written", LIMIT).await.is_none()
    {
        return;
    }
    let read = run_script("fill.py", &["read", &bootstrap, "stock", "0"], "", LIMIT).await;
    assert_eq!(read.expect("it ran before"), ["read 100"]);
    assert!(process.stop(LIMIT).await, "{}", log());

    // Each line that means nothing is told, once, with the reason.
    for name in
        ["log.dirs", "num.io.threads", "num.recovery.threads.per.data.dir", "inter.broker.listener.name"]
    {
        let told = log().lines().filter(|line| line.contains(&format!("option '{name}'"))).count();
        assert_eq!(told, 1, "{name}: {}", log());
    }
    assert!(!log().contains("option 'num.partitions'"), "{}", log());
}

/// The list against which the binary's unit tests hold its options is Kafka's own.
#[tokio::test]
async fn the_list_of_kafkas_options_is_kafkas() {
    let Some(mut tools) = JavaTools::start().await else { return };
    let page = tools.run("kafka.server.KafkaConfig", &[]).await.ok();
    let mut theirs: Vec<&str> = page
        .split("id=\"brokerconfigs_")
        .skip(1)
        .filter_map(|rest| rest.split_once('"').map(|(name, _)| name))
        .collect();
    theirs.sort_unstable();
    theirs.dedup();
    let ours: Vec<&str> =
        include_str!("../../../broker/node/src/options/kafka_options.txt").lines().collect();
    assert_eq!(ours, theirs);
}
