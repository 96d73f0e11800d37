//! A real HDFS that loses DataNodes and its NameNode: the traps of hdfs-native, one by one.

use std::time::Duration;

use crate::suite::{open_store, options, pattern};
use aquifer_objects::{ErrorKind, HdfsOptions, RetryLimits, Store, StoreOptions};
use aquifer_services::{Hdfs, or_skip};

const MIB: usize = 1 << 20;

fn with_limits(time_limit: Duration, retry: RetryLimits) -> StoreOptions {
    let hdfs = HdfsOptions { replication: Some(3), ..HdfsOptions::default() };
    StoreOptions { time_limit, retry, hdfs, ..options() }
}

async fn open_hdfs(hdfs: &Hdfs, options: &StoreOptions) -> Store {
    open_store(&format!("hdfs://{}/aquifer", hdfs.address()), options).await
}

/// Three DataNodes, three copies, one dies in mid-write: the pipeline has no replacement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_survives_a_datanode_or_fails_without_a_trace() {
    let Some(mut hdfs) = or_skip(Hdfs::start(3).await) else { return };
    let store = open_hdfs(&hdfs, &with_limits(Duration::from_secs(15), RetryLimits::default())).await;
    let whole = pattern(1, 40 * MIB);
    let mut upload = store.upload("stream").await.expect("it begins");
    upload.write(whole.slice(..20 * MIB)).await.expect("it is taken");
    hdfs.kill_datanode(1);
    let rest = upload.write(whole.slice(20 * MIB..)).await;
    let finished = match rest {
        Ok(()) => upload.finish().await,
        Err(error) => upload.abort().await.and(Err(error)),
    };
    if finished.is_err() {
        // Not there, and not in the way of the next attempt under the same key.
        assert_eq!(store.head("stream").await.expect_err("no trace").kind, ErrorKind::NotFound);
        store.put_new("stream", vec![whole.clone()]).await.expect("it is still free");
    }
    assert!(store.get("stream").await.expect("it is there") == whole);
    store.sweep(Duration::ZERO).await.expect("it sweeps");
    assert_eq!(store.list("").await.expect("it lists").len(), 1);
}

/// A DataNode is dead and the NameNode does not know: with three copies on three nodes every new file fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_written_and_read_while_a_datanode_is_dead() {
    let Some(mut hdfs) = or_skip(Hdfs::start(3).await) else { return };
    let store = open_hdfs(&hdfs, &with_limits(Duration::from_secs(15), RetryLimits::default())).await;
    store.put_new("before", vec![pattern(0, 4 * MIB)]).await.expect("all is well");
    hdfs.kill_datanode(0);
    for i in 0..5 {
        store.put_new(&format!("during/{i}"), vec![pattern(i, 2 * MIB)]).await.expect("with fewer copies");
    }
    let metrics = store.metrics();
    assert!(metrics.retries > 0, "the dead DataNode was never asked");
    for i in 0..5 {
        assert!(store.get(&format!("during/{i}")).await.expect("it is there") == pattern(i, 2 * MIB));
    }
    assert!(store.get("before").await.expect("two copies live") == pattern(0, 4 * MIB));
    assert_eq!(store.list("during").await.expect("it lists").len(), 5);

    // A stream cannot be repeated by the store: its caller begins again, each time with fewer copies.
    let mut streamed = false;
    for _ in 0..20 {
        let mut upload = store.upload("streamed").await.expect("it begins");
        let written = upload.write(pattern(9, 6 * MIB)).await;
        streamed = written.is_ok() && upload.finish().await.is_ok();
        if streamed {
            break;
        }
    }
    assert!(streamed, "no stream got through");
    assert!(store.get("streamed").await.expect("it is there") == pattern(9, 6 * MIB));
    assert_eq!(store.sweep(Duration::ZERO).await.expect("it sweeps").failed, 0);
}

/// Without a NameNode a call would hang; when it is back, the call that waited goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namenode_that_restarts_is_waited_for_within_limits() {
    let Some(mut hdfs) = or_skip(Hdfs::start(1).await) else { return };
    let brief = RetryLimits { attempts: 2, ..RetryLimits::default() };
    let impatient = open_hdfs(&hdfs, &with_limits(Duration::from_secs(2), brief)).await;
    let patient = open_hdfs(&hdfs, &with_limits(Duration::from_secs(15), RetryLimits::default())).await;
    patient.put_new("before", vec![pattern(1, MIB)]).await.expect("all is well");
    hdfs.kill_namenode();
    let error = impatient.head("before").await.expect_err("nobody is there");
    assert!(matches!(error.kind, ErrorKind::Timeout | ErrorKind::Unavailable), "{error}");
    assert_eq!(error.attempts, 2);
    hdfs.start_namenode().expect("it starts");
    patient.put_new("after", vec![pattern(2, MIB)]).await.expect("it waits for the NameNode");
    assert!(patient.get("before").await.expect("it is there") == pattern(1, MIB));
}

/// Permission, quota and the like are no reason to try again, and their Java stacks are cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impossible_path_is_told_at_once() {
    let Some(hdfs) = or_skip(Hdfs::start(1).await) else { return };
    let store = open_hdfs(&hdfs, &with_limits(Duration::from_secs(15), RetryLimits::default())).await;
    store.put_new("file", vec![pattern(1, 10)]).await.expect("it is new");
    let error = store.put_new("file/below", vec![pattern(1, 10)]).await.expect_err("below a file");
    assert_eq!(error.attempts, 1, "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
}
