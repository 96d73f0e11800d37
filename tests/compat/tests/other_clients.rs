//! Clients that share no code with librdkafka or Java.

use std::time::Duration;

use aquifer_compat::{Node, Script};
use aquifer_services::Artifact;

const LIMIT: Duration = Duration::from_secs(180);

async fn a_script_is_content(name: &str, settings: &[(&str, &str)]) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path(), settings).await;
    let Some(script) = Script::start_with(Artifact::Clients, name, &[&node.bootstrap()]).await else {
        return;
    };
    let said = script.finish(LIMIT).await;
    assert_eq!(said.last().map(String::as_str), Some("done"), "{said:?}");
    node.stop().await;
}

#[tokio::test]
async fn kafka_python_writes_reads_in_a_group_and_administers() {
    // Its closed producers may ask for metadata once more, always with leave to create: that would bring the deleted
    // topic back, on Kafka too.
    a_script_is_content("kafka_python_client.py", &[("auto.create.topics.enable", "false")]).await;
}

#[tokio::test]
async fn aiokafka_writes_idempotently_and_reads_in_a_group() {
    a_script_is_content("aiokafka_client.py", &[]).await;
}
