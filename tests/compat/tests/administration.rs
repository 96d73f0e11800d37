//! What an administrator does: topics, partitions, configs, offsets, retention.

use std::fs;
use std::path::{Path, PathBuf};
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
    // 20 MB, of which the newest 2 MB are to stay.
    let write = ["write", &bootstrap, "short", "2000", "10000", "retention.bytes=2000000"];
    if run_script("fill.py", &write, "written", LIMIT).await.is_none() {
        return;
    }
    // How far the start moves depends on how many records the oldest object took that is needed.
    let start = run_script("fill.py", &["await-start", &bootstrap, "short", "1"], "start", LIMIT).await;
    assert!(start.is_some());
    // As Kafka's segments, objects go one by one while the others have what is to be kept: without the oldest there
    // is less. Their indexes come on top.
    let data = node.dir().join("store/data");
    eventually(|| {
        let sizes = object_sizes(&data);
        let newer = sizes.iter().skip(1).sum::<u64>();
        let indexes = sizes.len() as u64 * (4 << 10);
        (newer < 2_000_000 + indexes).then_some(()).ok_or(format!("objects of {sizes:?} bytes"))
    })
    .await;
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
    // Of the 20 MB the first topic's checkpoint stays, in an object that is not worth another one (64 KiB).
    let data = node.dir().join("store/data");
    eventually(|| {
        let sizes = object_sizes(&data);
        (sizes.len() <= 1 && sizes.iter().sum::<u64>() < 64 << 10)
            .then_some(())
            .ok_or(format!("objects of {sizes:?} bytes"))
    })
    .await;
    node.stop().await;
}

#[tokio::test]
async fn deleted_records_take_their_objects_along() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path(), &AT_ONCE).await;
    let bootstrap = node.bootstrap();
    // Several objects, of which the first half is deleted, and then all.
    for name in ["gone", "kept"] {
        let write = ["write", &bootstrap, name, "1000", "10000"];
        if run_script("fill.py", &write, "written", LIMIT).await.is_none() {
            return;
        }
    }
    let data = node.dir().join("store/data");
    let total = || object_sizes(&data).iter().sum::<u64>();
    let delete = async |offset: &str| {
        let delete = ["delete-records", &bootstrap, "gone", offset];
        run_script("fill.py", &delete, "deleted", LIMIT).await.expect("it ran before")
    };
    // All of it was there before any of it goes.
    eventually(|| (total() >= 20_000_000).then_some(()).ok_or(format!("objects of {} bytes", total()))).await;
    let below = |limit: u64| {
        let total = total();
        (total < limit).then_some(()).ok_or(format!("objects of {total} bytes"))
    };
    assert_eq!(delete("500").await, ["deleted up to 500"]);
    // The object in which offset 500 lies stays whole; an object has about 1 MiB here.
    eventually(|| below(15_000_000 + 4 * (1 << 20))).await;
    assert_eq!(delete("-1").await, ["deleted up to 1000"]);
    eventually(|| below(10_000_000 + 4 * (1 << 20))).await;
    let read = run_script("fill.py", &["read", &bootstrap, "kept", "0"], "", LIMIT).await;
    assert_eq!(read.expect("it ran before"), ["read 1000"], "the other topic is whole");
    node.stop().await;
    node.start_again().await;
    let start = run_script("fill.py", &["await-start", &bootstrap, "gone", "1000"], "start", LIMIT).await;
    assert_eq!(start.expect("it ran before"), ["start 1000"], "also after a restart");
    let read = run_script("fill.py", &["read", &bootstrap, "kept", "0"], "", LIMIT).await;
    assert_eq!(read.expect("it ran before"), ["read 1000"], "also after a restart");
    node.stop().await;
}

/// Waits until `look` finds what it wants; what it finds instead is the failure's text.
async fn eventually(look: impl Fn() -> Result<(), String>) {
    let found = async {
        while look().is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(LIMIT, found).await.is_err() {
        look().expect("it comes in time");
    }
}

/// The sizes of all objects, the oldest first: their names grow.
fn object_sizes(data: &Path) -> Vec<u64> {
    let mut objects: Vec<(PathBuf, u64)> = files(data);
    objects.sort();
    objects.into_iter().map(|(_, size)| size).collect()
}

fn files(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => found.extend(files(&entry.path())),
            Ok(metadata) => found.push((entry.path(), metadata.len())),
            // Deleted while we look.
            Err(_) => {}
        }
    }
    found
}
