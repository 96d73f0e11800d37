//! What was written is read back equal byte for byte: from the cache, from the object store after a
//! graceful stop, and after a kill. On the file store, on MinIO and on HDFS.

use std::path::Path;
use std::time::Duration;

use aquifer_compat::{Node, Target, run_script};
use aquifer_services::{Hdfs, Minio, or_skip};

const LIMIT: Duration = Duration::from_secs(240);

/// Every codec times every size, key and header; three lives of the node.
async fn everything_comes_back(settings: &[(&str, &str)]) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path(), settings).await;
    let bootstrap = node.bootstrap();
    let write = ["write", &bootstrap, "first"];
    let Some(written) = run_script("matrix.py", &write, "partition", LIMIT).await else { return };
    assert_eq!(written.len(), 15, "five codecs, three partitions");
    assert_read(&written, &bootstrap, "first", "from the cache").await;

    node.stop().await;
    node.start_again().await;
    assert_read(&written, &bootstrap, "first", "from the store, after a graceful stop").await;

    let write = ["write", &bootstrap, "second"];
    let written_second = run_script("matrix.py", &write, "partition", LIMIT).await.expect("it ran before");
    node.kill();
    node.start_again().await;
    assert_read(&written_second, &bootstrap, "second", "from the WAL and the store, after a kill").await;
    assert_read(&written, &bootstrap, "first", "from the store, after a kill").await;
    node.stop().await;
}

async fn assert_read(written: &[String], bootstrap: &str, prefix: &str, how: &str) {
    let read = run_script("matrix.py", &["read", bootstrap, prefix], "partition", LIMIT).await;
    let read = read.expect("it ran before");
    for (written, read) in written.iter().zip(&read) {
        assert_eq!(written, read, "{how}");
    }
    assert_eq!(written.len(), read.len(), "{how}");
}

#[tokio::test]
async fn everything_written_comes_back_on_the_file_store() {
    everything_comes_back(&[]).await;
}

#[tokio::test]
async fn everything_written_comes_back_on_minio() {
    if Target::chosen().is_kafka() {
        return;
    }
    let Some(minio) = or_skip(Minio::start().await) else { return };
    minio.create_bucket("aquifer");
    everything_comes_back(&[
        ("store.url", "s3://aquifer/round/trip"),
        ("store.s3.endpoint", &minio.endpoint()),
        ("store.s3.access.key", Minio::ACCESS_KEY),
        ("store.s3.secret.key", Minio::ACCESS_KEY),
    ])
    .await;
}

#[tokio::test]
async fn everything_written_comes_back_on_hdfs() {
    if Target::chosen().is_kafka() {
        return;
    }
    let Some(hdfs) = or_skip(Hdfs::start(3).await) else { return };
    let url = format!("hdfs://{}/aquifer/round-trip", hdfs.address());
    everything_comes_back(&[("store.url", &url)]).await;
}

/// The replay's size: several GB, more on demand.
fn replay_megabytes() -> String {
    std::env::var("AQUIFER_COMPAT_REPLAY_MB").unwrap_or_else(|_| "3000".to_owned())
}

#[tokio::test]
async fn a_replay_with_small_fetch_limits_counts_every_offset() {
    const REPLAY_LIMIT: Duration = Duration::from_secs(1_800);
    let dir = tempfile::tempdir_in(replay_dir()).expect("a temporary directory");
    let settings = [("cache.log.bytes", "16MiB"), ("cache.block.bytes", "32MiB"), ("wal.size", "1GiB")];
    let mut node = Node::start(dir.path(), &settings).await;
    let (bootstrap, megabytes) = (node.bootstrap(), replay_megabytes());
    let write = ["write", &bootstrap, "replay", &megabytes];
    let Some(written) = run_script("replay.py", &write, "written", REPLAY_LIMIT).await else { return };
    node.stop().await;
    node.start_again().await;
    let read = ["read", &bootstrap, "replay", &megabytes];
    let counted = run_script("replay.py", &read, "counted", REPLAY_LIMIT).await.expect("it ran before");
    assert_eq!(written[0].strip_prefix("written"), counted[0].strip_prefix("counted"));
    node.stop().await;
}

/// Where gigabytes fit.
fn replay_dir() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}
