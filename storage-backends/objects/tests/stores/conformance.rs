//! The conformance suite against every store.

use crate::suite::{Orphans, Subject, open_store, options, run};
use aquifer_objects::{ErrorKind, HdfsOptions, S3Options, Secret, SimulatedStore, StoreFaults, StoreOptions};
use aquifer_runtime::Clock;
use aquifer_services::{Hdfs, Minio, PrivateCa, or_skip};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    run(&Subject::open("memory://", &options(), 1100, Orphans::None).await).await;
}

#[tokio::test(start_paused = true)]
async fn the_simulated_one_conforms_on_a_good_day_and_on_a_bad_one() {
    let good = StoreFaults::default();
    let bad = StoreFaults { latency_ms: 50, refused_per_mille: 20, unanswered_per_mille: 20, ..good.clone() };
    for (seed, faults) in [(1, good), (2, bad)] {
        let store = SimulatedStore::new(seed, faults, Clock::system());
        run(&Subject::simulated(&store, &options(), 1100)).await;
    }
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
async fn minio_with_a_private_ca_conforms() {
    let ca = PrivateCa::new();
    let Some(minio) = or_skip(Minio::start_with_tls(&ca).await) else { return };
    minio.create_bucket("bucket");
    let directory = tempfile::tempdir().expect("a directory");
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, &ca.ca).expect("written");
    let trusting = S3Options {
        endpoint: Some(minio.endpoint()),
        access_key: Some(Minio::ACCESS_KEY.to_owned()),
        secret_key: Some(Secret::new(Minio::ACCESS_KEY)),
        ca_file: Some(ca_file),
        unsigned_payload: true,
        ..S3Options::default()
    };
    let of = |s3: &S3Options| StoreOptions { s3: s3.clone(), ..options() };
    run(&Subject::open("s3://bucket", &of(&trusting), 30, Orphans::All).await).await;

    // A stranger's certificate, and ours under another name, are refused at once.
    let strange = S3Options { ca_file: None, ..trusting.clone() };
    let misnamed = S3Options {
        endpoint: trusting.endpoint.as_ref().map(|endpoint| endpoint.replace("127.0.0.1", "localhost")),
        ..trusting
    };
    for s3 in [strange, misnamed] {
        let store = open_store("s3://bucket", &of(&s3)).await;
        let error = store.head("key").await.expect_err("not trusted");
        assert_eq!((error.kind, error.attempts), (ErrorKind::Untrusted, 1), "{error}");
        assert!(error.to_string().contains("store.s3.ca.file"), "{error}");
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
