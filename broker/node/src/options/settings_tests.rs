use super::*;

const LEAST: [&str; 4] = ["node.id=1", "metadata.dir=/m", "wal.dir=/w", "store.url=file:///s"];

fn of(assignments: &[&str]) -> Result<Settings, Problems> {
    let mut given = Given::default();
    assignments.iter().for_each(|assignment| given.set(assignment));
    Settings::from_given(&given)
}

fn settings(more: &[&str]) -> Result<Settings, Problems> {
    of(&[&LEAST, more].concat())
}

fn error(more: &[&str]) -> String {
    settings(more).expect_err("refused").to_string()
}

#[test]
fn four_options_are_enough() {
    let settings = settings(&[]).expect("valid");
    assert_eq!(settings.listeners[0].port, 9092);
    assert_eq!(settings.topics.partitions, 1);
    assert!(settings.topics.broker_options.keys().eq(["node.id"]));
}

#[test]
fn an_error_names_option_value_place_and_remedy() {
    assert_eq!(
        error(&["num.partitions=many"]),
        "option 'num.partitions' has the value 'many' (--set), expected a whole number from 1 to 2147483647"
    );
}

#[test]
fn a_missing_option_says_what_to_give() {
    let error = of(&LEAST[1..]).expect_err("refused").to_string();
    assert_eq!(error, "option 'node.id' is required: give this node a number, such as node.id=1");
}

/// The lines of an error of several problems, without the first.
fn lines(problems: &Problems) -> Vec<String> {
    let text = problems.to_string();
    text.lines().skip(1).map(|line| line.trim_start_matches("  - ").to_owned()).collect()
}

#[test]
fn all_that_is_missing_is_named_in_one_run() {
    let missing = lines(&of(&[]).expect_err("refused"));
    let names: Vec<_> = missing.iter().filter_map(|line| line.split('\'').nth(1)).collect();
    assert_eq!(names, ["node.id", "metadata.dir", "store.url", "wal.dir"], "{missing:?}");
    assert!(missing.iter().all(|line| line.contains("is required: ")), "{missing:?}");
}

#[test]
fn all_that_is_wrong_is_named_in_one_run_and_each_once() {
    let wrong = of(&[
        "node.id=1",
        "num.partition=3",
        "num.partitions=many",
        "wal.io.engine=quick",
        "wal.accept.loss=1",
        "queued.max.request.bytes=1MiB",
        "broker.session.timeout.ms=500",
        "listeners=SSL://127.0.0.1:1,PLAINTEXT://:2",
        "listener.security.protocol.map=SSL:SSL",
        THREE,
    ]);
    let wrong = lines(&wrong.expect_err("refused"));
    let words = [
        "unknown option 'num.partition'",
        "'num.partitions' has the value 'many'",
        "'metadata.dir' is required",
        "'store.url' is required",
        "'wal.dir' is required",
        "'wal.io.engine' has the value 'quick'",
        "'wal.accept.loss' has the value '1'",
        "PLAINTEXT for 'SSL'",
        "'advertised.listeners' is required",
        "'broker.session.timeout.ms' has the value '500'",
        "'listeners' is required: a node of a cluster needs an internal port",
        "'queued.max.request.bytes' has the value '1MiB'",
    ];
    for word in words {
        assert_eq!(wrong.iter().filter(|line| line.contains(word)).count(), 1, "{word}: {wrong:#?}");
    }
    assert_eq!(wrong.len(), words.len(), "{wrong:#?}");
}

#[test]
fn both_files_of_the_internal_port_are_named_at_once() {
    let listeners = "listeners=PLAINTEXT://10.0.0.1:9092,CONTROLLER://10.0.0.1:9093";
    let tls = "listener.security.protocol.map=CONTROLLER:SSL,PLAINTEXT:PLAINTEXT";
    let missing = error(&[THREE, listeners, tls]);
    assert!(missing.contains("keystore.location") && missing.contains("truststore.location"), "{missing}");
}

#[test]
fn a_wildcard_listener_needs_an_advertised_address() {
    assert!(error(&["listeners=PLAINTEXT://:9092"]).starts_with("option 'advertised.listeners' is required"));
    let fine = settings(&["listeners=PLAINTEXT://:9092", "advertised.listeners=PLAINTEXT://192.0.2.1:9092"]);
    assert_eq!(fine.expect("valid").listeners[0].advertised, Some(("192.0.2.1".to_owned(), 9092)));
}

#[test]
fn the_stock_kafka_listeners_are_a_starting_point() {
    let settings = settings(&[
        "listeners=PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL",
        "controller.quorum.bootstrap.servers=localhost:9093",
    ]);
    assert_eq!(settings.expect("valid").listeners.len(), 1);
}

#[test]
fn what_is_not_built_is_refused() {
    let tls = error(&["listeners=SSL://127.0.0.1:9093", "listener.security.protocol.map=SSL:SSL"]);
    assert!(tls.contains("TLS and SASL are not built yet"), "{tls}");
}

const THREE: &str = "controller.quorum.voters=1@10.0.0.1:9093,2@10.0.0.2:9093,3@10.0.0.3:9093";

#[test]
fn a_node_of_a_cluster_needs_an_internal_port_and_its_certificates() {
    assert!(error(&[THREE]).contains("a node of a cluster needs an internal port"));
    let listeners = "listeners=PLAINTEXT://10.0.0.1:9092,CONTROLLER://10.0.0.1:9093";
    let tls = "listener.security.protocol.map=CONTROLLER:SSL,PLAINTEXT:PLAINTEXT";
    assert!(error(&[THREE, listeners, tls]).contains("`aquifer certs` makes the files"));
    let files = [
        "listener.name.controller.ssl.keystore.location=/k.pem",
        "listener.name.controller.ssl.truststore.location=/t.pem",
    ];
    let settings = settings(&[THREE, listeners, tls, files[0], files[1]]).expect("valid");
    assert_eq!(settings.cluster.servers, ["10.0.0.1:9093", "10.0.0.2:9093", "10.0.0.3:9093"]);
    assert_eq!(settings.cluster.internal.expect("open").listen, "10.0.0.1:9093");
    assert_eq!(settings.listeners.len(), 1, "clients have no business at the internal port");
}

#[test]
fn a_controller_alone_needs_no_store_and_a_broker_alone_needs_controllers() {
    let controller = ["process.roles=controller", "listeners=CONTROLLER://127.0.0.1:1"];
    let settings = of(&[&LEAST[..2], &controller].concat()).expect("valid");
    assert!(settings.storage.is_none() && settings.listeners.is_empty());
    assert!(error(&["process.roles=broker"]).contains("a broker must know where the controllers are"));
    assert!(error(&["process.roles=zookeeper"]).contains("'broker,controller'"));
}

#[test]
fn a_session_is_several_heartbeats() {
    let error = error(&["broker.session.timeout.ms=900", "broker.heartbeat.interval.ms=250"]);
    assert!(error.contains("at least four times 'broker.heartbeat.interval.ms', 1000"), "{error}");
}

#[test]
fn broker_options_reach_topics_as_plain_numbers() {
    let settings = settings(&["log.retention.hours=2", "log.retention.bytes=1GiB"]).expect("valid");
    let option = |name: &str| settings.topics.broker_options.get(name).map(String::as_str);
    assert_eq!(option("log.retention.hours"), Some("2"));
    assert_eq!(option("log.retention.bytes"), Some("1073741824"));
}

#[test]
fn secrets_are_not_shown() {
    let settings = settings(&["store.s3.secret.key=hush"]).expect("valid");
    let shown = settings.shown.iter().find(|shown| shown.spec.name == "store.s3.secret.key").expect("listed");
    assert_eq!((&shown.value, shown.is_default), (&None, false));
}

#[test]
fn ipv6_listeners_are_understood() {
    let settings = settings(&["listeners=PLAINTEXT://[::1]:9092"]).expect("valid");
    assert_eq!(settings.listeners[0].host, "::1");
}

#[test]
fn producers_do_not_wait_for_uploads_that_are_paced_for_others() {
    let storage = |more: &[&str]| settings(more).expect("valid").storage.expect("a broker");
    let object = storage(&["wal.mode=object", "store.offload.interval.ms=60000"]);
    assert_eq!(object.wal_mode, WalMode::Object);
    assert_eq!((object.offload_bytes, object.offload_interval), (8 << 20, Duration::from_millis(250)));
    let local = storage(&["wal.object.interval.ms=10", "store.offload.bytes=48MiB"]);
    assert_eq!((local.offload_bytes, local.offload_interval), (48 << 20, Duration::from_secs(30)));
    assert!(error(&["wal.mode=mirror"]).contains("'local' or 'object'"));
}
