//! What the probe says of each store.

use crate::suite::{open_store, options};
use aquifer_objects::{HdfsOptions, Outcome, ProbeReport, S3Options, Secret, StoreOptions, probe};
use aquifer_services::{Hdfs, Minio, or_skip};

#[expect(clippy::print_stdout, reason = "the report is what a person wants to see of this test")]
async fn report(url: &str, options: &StoreOptions) -> ProbeReport {
    let store = open_store(url, options).await;
    let report = probe(&store).await;
    println!("{report}");
    assert_eq!(store.list("").await.expect("it lists"), [], "the probe tidies up");
    report
}

fn outcome<'a>(report: &'a ProbeReport, name: &str) -> &'a Outcome {
    &report.checks.iter().find(|check| check.name.contains(name)).expect("it is checked").outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_and_memory_can_do_everything() {
    let directory = tempfile::tempdir().expect("a directory");
    for url in [format!("file://{}", directory.path().display()), "memory://".to_owned()] {
        let report = report(&url, &options()).await;
        assert!(report.usable(), "{report}");
        assert_eq!(report.measurements.len(), 6);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn minio_is_usable_and_ignores_the_condition_of_a_delete() {
    let Some(minio) = or_skip(Minio::start().await) else { return };
    minio.create_bucket("bucket");
    let s3 = S3Options {
        endpoint: Some(minio.endpoint()),
        access_key: Some(Minio::ACCESS_KEY.to_owned()),
        secret_key: Some(Secret::new(Minio::ACCESS_KEY)),
        ..S3Options::default()
    };
    let report = report("s3://bucket/p", &StoreOptions { s3, ..options() }).await;
    assert!(report.usable(), "{report}");
    assert!(
        matches!(outcome(&report, "conditional delete"), Outcome::Limited(why) if why.contains("ignored"))
    );
    assert_eq!(*outcome(&report, "left-overs"), Outcome::Works);
    assert_eq!(*outcome(&report, "streaming upload"), Outcome::Works);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hdfs_is_usable() {
    let Some(hdfs) = or_skip(Hdfs::start(3).await) else { return };
    let hdfs_options = HdfsOptions { replication: Some(3), ..HdfsOptions::default() };
    let options = StoreOptions { hdfs: hdfs_options, ..options() };
    let report = report(&format!("hdfs://{}/aquifer", hdfs.address()), &options).await;
    assert!(report.usable(), "{report}");
    assert_eq!(*outcome(&report, "left-overs"), Outcome::Works);
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_said_to_be_unusable() {
    let s3 = S3Options {
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        access_key: Some("a".to_owned()),
        secret_key: Some(Secret::new("s")),
        ..S3Options::default()
    };
    let retry = aquifer_objects::RetryLimits { attempts: 2, ..Default::default() };
    let store = open_store("s3://bucket", &StoreOptions { s3, retry, ..options() }).await;
    let report = probe(&store).await;
    assert!(!report.usable());
    assert!(report.to_string().contains("cannot connect"), "{report}");
}
