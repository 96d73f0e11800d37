//! Every service starts, answers, and survives being killed.

use std::time::Duration;

use aquifer_services::{Hdfs, Kafka, KafkaConfig, Minio, known_brokers, or_skip};
use tokio::net::TcpStream;

#[tokio::test]
async fn minio_starts_and_restarts_on_its_port() {
    let Some(mut minio) = or_skip(Minio::start().await) else { return };
    minio.create_bucket("b");
    minio.kill();
    assert!(TcpStream::connect(("127.0.0.1", minio.port())).await.is_err());
    minio.restart().await.expect("it starts again");
    assert!(TcpStream::connect(("127.0.0.1", minio.port())).await.is_ok());
}

#[tokio::test]
async fn hdfs_starts_with_its_datanodes() {
    let Some(mut hdfs) = or_skip(Hdfs::start(1).await) else { return };
    assert!(TcpStream::connect(hdfs.address()).await.is_ok());
    assert!(hdfs.config_dir().join("core-site.xml").is_file());
    hdfs.kill_namenode();
    hdfs.start_namenode().expect("it starts again");
    hdfs.ready().await.expect("it is ready again");
}

#[tokio::test]
async fn kafka_starts_and_keeps_its_topics() {
    let Some(mut kafka) = or_skip(Kafka::start(&KafkaConfig::default()).await) else { return };
    let topics = |arguments: &[&str]| {
        let mut tool = Kafka::tool("org.apache.kafka.tools.TopicCommand").expect("it is installed");
        let output = tool.args(["--bootstrap-server", &kafka.bootstrap()]).args(arguments).output();
        String::from_utf8_lossy(&output.expect("java runs").stdout).into_owned()
    };
    topics(&["--create", "--topic", "first"]);
    assert_eq!(topics(&["--list"]).trim(), "first");
    kafka.restart().await.expect("it starts again");
    let stream = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(kafka.bootstrap())).await;
    assert!(stream.is_ok_and(|stream| stream.is_ok()));
}

#[tokio::test]
async fn kafka_starts_as_a_cluster() {
    let roles = ["controller", "broker", "broker"];
    let Some(mut nodes) = or_skip(Kafka::start_cluster(&KafkaConfig::default(), &roles).await) else {
        return;
    };
    assert_eq!(nodes.iter().map(Kafka::is_broker).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(known_brokers(nodes[1].port()).await.expect("it answers"), 2);
    assert!(nodes[0].quorum_state().expect("it noted who leads").contains("\"leaderId\":1"));
    nodes[2].kill();
    assert!(!nodes[2].runs());
    nodes[2].start_again().await.expect("it starts again");
}
