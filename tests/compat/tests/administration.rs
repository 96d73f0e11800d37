//! What an administrator does: topics, partitions, configs, offsets, retention.

use std::fs;
use std::path::Path;
use std::time::Duration;

use aquifer_compat::{LIMIT, Node, Target, run_script};

#[tokio::test]
async fn an_administrator_manages_topics_configs_offsets_and_groups() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path(), &[]).await;
    let Some(said) = run_script("admin.py", &[&node.bootstrap()], "done", LIMIT).await else { return };
    assert_eq!(said, ["done"]);
    node.stop().await;
}

/// Settings under which retention and the deletion of objects come at once.
const AT_ONCE: [(&str, &str); 4] = [
    ("log.retention.check.interval.ms", "200"),
    ("store.delete.delay.ms", "0"),
    ("store.offload.bytes", "1MiB"),
    ("wal.retain.after.offload.ms", "0"),
];

#[tokio::test]
async fn retention_by_size_removes_objects_from_the_store() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path(), &AT_ONCE).await;
    let bootstrap = node.bootstrap();
    // 20 MB, of which 2 MB are to stay.
    let write = ["write", &bootstrap, "short", "2000", "10000", "retention.bytes=2000000"];
    if run_script("fill.py", &write, "written", LIMIT).await.is_none() {
        return;
    }
    let start = run_script("fill.py", &["await-start", &bootstrap, "short", "1500"], "start", LIMIT).await;
    assert!(start.is_some());
    let store = node.dir().join("store");
    smaller_than(&store, 6_000_000).await;
    node.stop().await;
}

#[tokio::test]
async fn retention_by_time_and_topic_deletion_empty_the_store() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path(), &AT_ONCE).await;
    let bootstrap = node.bootstrap();
    let write = ["write", &bootstrap, "timed", "1000", "10000", "retention.ms=500"];
    if run_script("fill.py", &write, "written", LIMIT).await.is_none() {
        return;
    }
    let start = run_script("fill.py", &["await-start", &bootstrap, "timed", "1000"], "start", LIMIT).await;
    assert_eq!(start.expect("it ran before"), ["start 1000"]);
    let write = ["write", &bootstrap, "deleted", "1000", "10000"];
    run_script("fill.py", &write, "written", LIMIT).await.expect("it ran before");
    let delete = ["delete-topic", &bootstrap, "deleted"];
    run_script("fill.py", &delete, "deleted", LIMIT).await.expect("it ran before");
    // Of the 20 MB the object that holds the first topic's newest checkpoint stays, with what lies beside it.
    smaller_than(&node.dir().join("store"), 6_000_000).await;
    node.stop().await;
}

/// Waits until all files under `dir` together have fewer than `bytes` bytes.
async fn smaller_than(dir: &Path, bytes: u64) {
    let shrinks = async {
        while size(dir) >= bytes {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(
        tokio::time::timeout(LIMIT, shrinks).await.is_ok(),
        "{} still holds {} bytes",
        dir.display(),
        size(dir)
    );
}

fn size(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok().map(|metadata| (entry, metadata)))
        .map(|(entry, metadata)| if metadata.is_dir() { size(&entry.path()) } else { metadata.len() })
        .sum()
}
