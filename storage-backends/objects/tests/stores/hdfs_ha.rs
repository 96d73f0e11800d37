//! A real name service of two NameNodes, of which the active one is lost.

use std::time::Duration;

use crate::suite::{Orphans, Subject, open_store, options, pattern, run};
use aquifer_objects::{ErrorKind, HdfsOptions, RetryLimits, StoreOptions};
use aquifer_services::{HaHdfs, or_skip};

const MIB: usize = 1 << 20;

/// The name service as options describe it, and as Hadoop's own files do.
fn both_ways(hdfs: &HaHdfs) -> [StoreOptions; 2] {
    let named = HdfsOptions { namenodes: hdfs.namenodes(), ..HdfsOptions::default() };
    let filed = HdfsOptions { config_dir: Some(hdfs.config_dir()), ..HdfsOptions::default() };
    [named, filed].map(|hdfs| StoreOptions { hdfs, ..options() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hdfs_name_service_conforms_and_outlives_its_active_namenode() {
    let Some(mut hdfs) = or_skip(HaHdfs::start(1).await) else { return };
    let url = format!("hdfs://{}/aquifer", HaHdfs::NAME_SERVICE);
    let [named, filed] = both_ways(&hdfs);
    run(&Subject::open(&url, &named, 10, Orphans::All).await).await;

    let [first, second] = [open_store(&url, &named).await, open_store(&url, &filed).await];
    first.put_new("ha/before", vec![pattern(1, MIB)]).await.expect("all is well");
    assert!(second.get("ha/before").await.expect("the same store") == pattern(1, MIB));
    let brief = RetryLimits { attempts: 2, ..RetryLimits::default() };
    let impatient = StoreOptions { time_limit: Duration::from_secs(2), retry: brief, ..named.clone() };
    let impatient = open_store(&url, &impatient).await;

    hdfs.kill_namenode(0);
    let error = impatient.head("ha/before").await.expect_err("nobody is active");
    assert!(matches!(error.kind, ErrorKind::Timeout | ErrorKind::Unavailable), "{error}");

    // Calls that began without an active NameNode end well with the next one.
    let (put, get, activated) = tokio::join!(
        first.put_new("ha/during", vec![pattern(2, MIB)]),
        second.get("ha/before"),
        hdfs.activate(1),
    );
    activated.expect("the standby takes over");
    put.expect("it waits for the standby");
    assert!(get.expect("it waits for the standby") == pattern(1, MIB));
    // Who comes anew finds the active one behind the dead one.
    for store in [open_store(&url, &named).await, open_store(&url, &filed).await] {
        assert!(store.get("ha/during").await.expect("it is there") == pattern(2, MIB));
        assert_eq!(store.list("ha").await.expect("it lists").len(), 2);
    }
}
