use std::mem;
use std::time::Duration;

use aquifer_objects::{Effect, ErrorKind, Upload};
use bytes::Bytes;
use futures::future::join_all;

use super::{Orphans, Subject, pattern};

const MIB: usize = 1 << 20;

async fn stream(subject: &Subject, key: &str, whole: &Bytes, step: usize) -> Upload {
    let mut upload = subject.store.upload(key).await.expect("it begins");
    for start in (0..whole.len()).step_by(step) {
        upload.write(whole.slice(start..whole.len().min(start + step))).await.expect("it is taken");
    }
    assert_eq!(upload.size(), whole.len() as u64);
    upload
}

pub(crate) async fn a_streamed_object_appears_whole_at_the_end(subject: &Subject) {
    let (store, whole) = (&subject.store, pattern(1, 12 * MIB + 345));
    let upload = stream(subject, "upload/whole", &whole, 700_001).await;
    assert_eq!(store.head("upload/whole").await.expect_err("not yet").kind, ErrorKind::NotFound);
    assert_eq!(store.list("upload").await.expect("it lists"), []);
    upload.finish().await.expect("it is new");
    assert!(store.get("upload/whole").await.expect("it is there") == whole);
    assert_eq!(store.list("upload").await.expect("it lists").len(), 1);
}

pub(crate) async fn a_streamed_object_may_be_empty_or_small(subject: &Subject) {
    for (key, length) in [("upload/empty", 0), ("upload/small", 10), ("upload/part", 5 * MIB)] {
        let whole = pattern(2, length);
        stream(subject, key, &whole, MIB).await.finish().await.expect("it is new");
        assert!(subject.store.get(key).await.expect("it is there") == whole, "{key}");
    }
}

pub(crate) async fn a_stream_is_held_in_bounded_memory(subject: &Subject) {
    let chunk = pattern(3, 3 * MIB);
    let mut upload = subject.store.upload("upload/bounded").await.expect("it begins");
    for _ in 0..32 {
        upload.write(chunk.clone()).await.expect("it is taken");
        let in_flight = subject.store.metrics().upload_bytes_in_flight;
        assert!(in_flight <= 4 * 5 * MIB as u64, "{in_flight}");
    }
    upload.finish().await.expect("it is new");
    assert_eq!(subject.store.head("upload/bounded").await.expect("it is there").size, 96 * MIB as u64);
    let tail = subject.store.get_range("upload/bounded", 93 * MIB as u64..96 * MIB as u64).await;
    assert!(tail.expect("it is there") == chunk);
    subject.store.delete("upload/bounded").await.expect("it goes");
}

pub(crate) async fn a_stream_never_replaces_an_object(subject: &Subject) {
    let (store, first) = (&subject.store, pattern(4, 100));
    let upload = stream(subject, "upload/taken", &pattern(5, 6 * MIB), MIB).await;
    store.put_new("upload/taken", vec![first.clone()]).await.expect("it is new");
    let error = upload.finish().await.expect_err("it is taken");
    assert_eq!((error.kind, error.effect), (ErrorKind::AlreadyExists, Effect::None), "{error}");
    assert_eq!(store.get("upload/taken").await.expect("it is there"), first);
}

pub(crate) async fn of_racing_streams_one_wins(subject: &Subject) {
    let whole: Vec<Bytes> = (0..4).map(|seed| pattern(seed, 6 * MIB)).collect();
    let uploads = join_all(whole.iter().map(|whole| stream(subject, "upload/race", whole, 2 * MIB))).await;
    let outcomes = join_all(uploads.into_iter().map(Upload::finish)).await;
    let winners: Vec<usize> = (0..4).filter(|&i| outcomes[i].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert!(subject.store.get("upload/race").await.expect("it is there") == whole[winners[0]]);
}

pub(crate) async fn an_aborted_stream_leaves_nothing(subject: &Subject) {
    let upload = stream(subject, "upload/aborted", &pattern(6, 11 * MIB), MIB).await;
    upload.abort().await.expect("it goes");
    assert_eq!(subject.store.head("upload/aborted").await.expect_err("never").kind, ErrorKind::NotFound);
    let before = subject.store.metrics().swept_orphans;
    subject.store.discard("upload/aborted").await.expect("nothing to do");
    assert_eq!(subject.store.metrics().swept_orphans, before, "the abort left something");
}

/// Leaves an upload as a crash does: no destructor runs.
async fn crash(subject: &Subject, key: &str) {
    let mut upload = subject.crashing.upload(key).await.expect("it begins");
    upload.write(pattern(7, 11 * MIB)).await.expect("it is taken");
    mem::forget(upload);
    assert_eq!(subject.store.head(key).await.expect_err("never").kind, ErrorKind::NotFound);
}

pub(crate) async fn a_crashed_stream_is_discarded_by_key(subject: &Subject) {
    let store = &subject.store;
    crash(subject, "upload/crashed").await;
    let before = store.metrics().swept_orphans;
    let left = u64::from(subject.orphans != Orphans::None);
    for _ in 0..2 {
        store.discard("upload/crashed").await.expect("it goes, or has gone");
        assert_eq!(store.metrics().swept_orphans, before + left);
    }
}

pub(crate) async fn a_crashed_stream_is_swept_when_it_is_old(subject: &Subject) {
    let store = &subject.store;
    crash(subject, "upload/swept").await;
    let young = store.sweep(Duration::from_secs(3600)).await.expect("it sweeps");
    assert_eq!(young.removed, 0, "a young upload may be running");
    // An upload is old enough the moment after it began; the store's clock has milliseconds.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let swept = store.sweep(Duration::ZERO).await.expect("it sweeps");
    assert_eq!(swept.failed, 0);
    assert_eq!(swept.removed, u64::from(subject.orphans == Orphans::All));
    store.discard("upload/swept").await.expect("it goes, or has gone");
}
