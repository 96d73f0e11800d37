use super::*;

const LEAST: [&str; 4] = ["node.id=1", "metadata.dir=/m", "wal.dir=/w", "store.url=file:///s"];

fn settings(more: &[&str]) -> Result<Settings, OptionError> {
    let mut given = Given::default();
    for assignment in LEAST.iter().chain(more) {
        given.set(assignment)?;
    }
    Settings::from_given(&given)
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
    let error = Settings::from_given(&Given::default()).expect_err("refused").to_string();
    assert_eq!(error, "option 'node.id' is required: give this node a number, such as node.id=1");
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
    assert!(error(&["process.roles=broker"]).contains("this release runs one node"));
    assert!(error(&["controller.quorum.voters=1@a:1,2@b:1"]).contains("single node"));
    assert!(error(&["controller.quorum.voters=2@a:1"]).contains("'node.id', 1"));
    let tls = error(&["listeners=SSL://127.0.0.1:9093", "listener.security.protocol.map=SSL:SSL"]);
    assert!(tls.contains("TLS and SASL are not built yet"), "{tls}");
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
