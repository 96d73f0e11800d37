//! The conformance suite against every store.

use crate::suite::{Orphans, Subject, options, run};
use aquifer_objects::{HdfsOptions, S3Options, Secret, StoreOptions};
use aquifer_services::{Hdfs, Minio, or_skip};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    run(&Subject::open("memory://", &options(), 1100, Orphans::None).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_conforms() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("file://{}/not/yet", directory.path().display());
    run(&Subject::open(&url, &options(), 1100, Orphans::All).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn minio_conforms() {
    let Some(minio) = or_skip(Minio::start().await) else { return };
    minio.create_bucket("bucket");
    for unsigned_payload in [false, true] {
        let s3 = S3Options {
            endpoint: Some(minio.endpoint()),
            access_key: Some(Minio::ACCESS_KEY.to_owned()),
            secret_key: Some(Secret::new(Minio::ACCESS_KEY)),
            unsigned_payload,
            ..S3Options::default()
        };
        let options = StoreOptions { s3, ..options() };
        let url = if unsigned_payload { "s3://bucket/some/prefix" } else { "s3://bucket" };
        let many = if unsigned_payload { 30 } else { 1100 };
        run(&Subject::open(url, &options, many, Orphans::All).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hdfs_conforms() {
    let Some(hdfs) = or_skip(Hdfs::start(3).await) else { return };
    let options =
        StoreOptions { hdfs: HdfsOptions { replication: Some(2), ..HdfsOptions::default() }, ..options() };
    let url = format!("hdfs://{}/aquifer/objects", hdfs.address());
    run(&Subject::open(&url, &options, 40, Orphans::All).await).await;
}
