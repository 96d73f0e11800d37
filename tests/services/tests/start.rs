//! Every service starts, answers, and survives being killed.

use std::time::Duration;

use aquifer_services::{Hdfs, Kafka, KafkaConfig, Minio, or_skip};
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
