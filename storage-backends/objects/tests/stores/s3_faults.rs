//! A real MinIO behind a proxy that answers 503, hangs, cuts answers off and loses them.

use std::time::Duration;

use crate::suite::{open_store, options, pattern};
use aquifer_objects::{Effect, ErrorKind, RetryLimits, S3Options, Secret, Store, StoreError, StoreOptions};
use aquifer_services::{Fault, Minio, Proxy, or_skip};

struct Site {
    minio: Minio,
    proxy: Proxy,
    store: Store,
    /// The same bucket without the proxy.
    direct: Store,
}

async fn site() -> Option<Site> {
    let minio = or_skip(Minio::start().await)?;
    minio.create_bucket("bucket");
    let proxy = Proxy::start(minio.port()).await;
    let store = open_store("s3://bucket", &quick(&proxy.endpoint(), Minio::ACCESS_KEY)).await;
    let direct = open_store("s3://bucket", &quick(&minio.endpoint(), Minio::ACCESS_KEY)).await;
    Some(Site { minio, proxy, store, direct })
}

/// Limits that make a test of hanging calls short.
fn quick(endpoint: &str, secret: &str) -> StoreOptions {
    let s3 = S3Options {
        endpoint: Some(endpoint.to_owned()),
        access_key: Some(Minio::ACCESS_KEY.to_owned()),
        secret_key: Some(Secret::new(secret)),
        ..S3Options::default()
    };
    let retry = RetryLimits { attempts: 4, first_wait: Duration::from_millis(20), ..RetryLimits::default() };
    StoreOptions { time_limit: Duration::from_secs(2), retry, s3, ..options() }
}

fn failed(result: Result<(), StoreError>) -> (ErrorKind, Effect, u32) {
    let error = result.expect_err("it fails");
    (error.kind, error.effect, error.attempts)
}

fn throttled(store: &Store) -> u64 {
    let operations = store.metrics().operations;
    operations.iter().map(|operation| operation.failures[ErrorKind::Throttled as usize].1).sum()
}

#[tokio::test]
async fn a_503_is_waited_out() {
    let Some(site) = site().await else { return };
    site.proxy.inject(2, "PUT", "/slow", Fault::Answer(503, "SlowDown"));
    site.store.put_new("slow", vec![pattern(1, 1000)]).await.expect("the third attempt succeeds");
    assert_eq!(throttled(&site.store), 2);
    assert!(site.store.metrics().retries == 2);
    assert_eq!(site.store.get("slow").await.expect("it is there"), pattern(1, 1000));
}

#[tokio::test]
async fn a_lasting_503_is_an_error_without_effect() {
    let Some(site) = site().await else { return };
    site.proxy.inject(4, "PUT", "/slow", Fault::Answer(503, "SlowDown"));
    let outcome = failed(site.store.put_new("slow", vec![pattern(1, 1000)]).await);
    assert_eq!(outcome, (ErrorKind::Throttled, Effect::None, 4));
    assert_eq!(site.direct.head("slow").await.expect_err("never written").kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn a_call_that_hangs_is_given_up_and_tried_again() {
    let Some(site) = site().await else { return };
    site.proxy.inject(1, "PUT", "/hang", Fault::Hang);
    site.store.put_new("hang", vec![pattern(1, 1000)]).await.expect("the second attempt succeeds");
    site.proxy.inject(1, "GET", "/hang", Fault::Hang);
    site.proxy.inject(1, "HEAD", "/hang", Fault::Hang);
    assert_eq!(site.store.get("hang").await.expect("the second attempt succeeds"), pattern(1, 1000));
    assert_eq!(site.proxy.heal(), 0);
}

#[tokio::test]
async fn a_store_that_hangs_for_good_gives_an_error_that_admits_not_to_know() {
    let Some(site) = site().await else { return };
    site.proxy.inject(100, "PUT", "/hang", Fault::Hang);
    site.proxy.inject(100, "HEAD", "/hang", Fault::Hang);
    let outcome = failed(site.store.put_new("hang", vec![pattern(1, 1000)]).await);
    assert_eq!(outcome, (ErrorKind::Timeout, Effect::Unknown, 4));
    let read = site.store.head("hang").await.expect_err("it hangs");
    assert_eq!((read.kind, read.effect), (ErrorKind::Timeout, Effect::None));
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_read_again() {
    let Some(site) = site().await else { return };
    site.store.put_new("cut", vec![pattern(1, 1 << 20)]).await.expect("it is new");
    site.proxy.inject(2, "GET", "/cut", Fault::Truncate(70_000));
    let read = site.store.get_range("cut", 1000..1_000_000).await.expect("the third attempt succeeds");
    assert!(read == pattern(1, 1 << 20).slice(1000..1_000_000));
    assert_eq!(site.proxy.heal(), 0);
}

#[tokio::test]
async fn a_lost_answer_of_a_put_is_resolved_by_looking() {
    let Some(site) = site().await else { return };
    site.proxy.inject(1, "PUT", "/lost", Fault::LoseReply);
    site.store.put_new("lost", vec![pattern(1, 3000)]).await.expect("it was a success");
    assert_eq!(site.store.get("lost").await.expect("it is there"), pattern(1, 3000));
    // And all answers lost: only looking can tell.
    site.proxy.inject(4, "PUT", "/all", Fault::LoseReply);
    site.store.put_new("all", vec![pattern(2, 3000)]).await.expect("it was a success");
    assert_eq!(site.proxy.heal(), 0);
}

#[tokio::test]
async fn a_lost_request_does_not_make_anothers_object_ours() {
    let Some(site) = site().await else { return };
    site.direct.put_new("theirs", vec![pattern(1, 3000)]).await.expect("it is new");
    // Same length, other bytes.
    site.proxy.inject(1, "PUT", "/theirs", Fault::LoseRequest);
    let error = site.store.put_new("theirs", vec![pattern(2, 3000)]).await.expect_err("it is theirs");
    assert_eq!((error.kind, error.effect), (ErrorKind::AlreadyExists, Effect::None), "{error}");
}

#[tokio::test]
async fn a_streamed_object_survives_faults_at_every_step() {
    let Some(site) = site().await else { return };
    let whole = pattern(5, 17 << 20);
    site.proxy.inject(1, "POST", "uploads", Fault::Answer(503, "SlowDown"));
    site.proxy.inject(1, "PUT", "partNumber=1", Fault::LoseReply);
    site.proxy.inject(1, "PUT", "partNumber=2", Fault::Answer(500, "InternalError"));
    site.proxy.inject(1, "PUT", "partNumber=3", Fault::Hang);
    site.proxy.inject(1, "POST", "uploadId", Fault::LoseReply);
    let mut upload = site.store.upload("stream").await.expect("it begins");
    for start in (0..whole.len()).step_by(1 << 20) {
        upload.write(whole.slice(start..start + (1 << 20))).await.expect("it is taken");
    }
    upload.finish().await.expect("it was a success");
    assert_eq!(site.proxy.heal(), 0);
    assert!(site.direct.get("stream").await.expect("it is there") == whole);
}

#[tokio::test]
async fn a_store_that_is_down_is_unavailable_and_then_is_back() {
    let Some(mut site) = site().await else { return };
    site.minio.kill();
    let outcome = failed(site.direct.put_new("down", vec![pattern(1, 1000)]).await);
    assert_eq!(outcome, (ErrorKind::Unavailable, Effect::None, 4));
    site.minio.restart().await.expect("it starts again");
    site.direct.put_new("down", vec![pattern(1, 1000)]).await.expect("it is back");
}

#[tokio::test]
async fn what_minio_acknowledged_is_there_after_a_kill() {
    let Some(mut site) = site().await else { return };
    for seed in 0..8 {
        site.direct
            .put_new(&format!("acknowledged/{seed}"), vec![pattern(seed, 1 << 20)])
            .await
            .expect("new");
    }
    site.minio.kill();
    site.minio.restart().await.expect("it starts again");
    for seed in 0..8 {
        let found = site.direct.get(&format!("acknowledged/{seed}")).await.expect("it was acknowledged");
        assert!(found == pattern(seed, 1 << 20), "{seed}");
    }
}

#[tokio::test]
async fn wrong_credentials_and_missing_buckets_are_told_at_once() {
    let Some(site) = site().await else { return };
    let wrong = open_store("s3://bucket", &quick(&site.minio.endpoint(), "wrong-secret")).await;
    let error = wrong.put_new("denied", Vec::new()).await.expect_err("denied");
    assert_eq!((error.kind, error.effect, error.attempts), (ErrorKind::Denied, Effect::None, 1));
    assert!(error.to_string().contains("SignatureDoesNotMatch"), "{error}");
    assert!(!error.to_string().contains("wrong-secret"), "{error}");

    let none = open_store("s3://no-such-bucket", &quick(&site.minio.endpoint(), Minio::ACCESS_KEY)).await;
    let error = none.put_new("k", vec![pattern(1, 10)]).await.expect_err("no bucket");
    assert_eq!((error.kind, error.effect, error.attempts), (ErrorKind::Invalid, Effect::None, 1));
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
}
