use aquifer_objects::{Effect, ErrorKind};
use bytes::Bytes;
use futures::future::join_all;

use super::{Subject, pattern};

pub(crate) async fn an_object_is_read_as_it_was_written(subject: &Subject) {
    let (store, whole) = (&subject.store, pattern(1, 3 << 20));
    let parts = vec![whole.slice(..10), Bytes::new(), whole.slice(10..1_000_000), whole.slice(1_000_000..)];
    store.put_new("create/parts", parts).await.expect("it is new");
    assert!(store.get("create/parts").await.expect("it is there") == whole);
    let info = store.head("create/parts").await.expect("it is there");
    assert_eq!((info.key.as_str(), info.size), ("create/parts", 3 << 20));
    assert!(info.modified_ms > 1_600_000_000_000, "{info:?}");
}

pub(crate) async fn an_object_is_created_once(subject: &Subject) {
    let store = &subject.store;
    store.put_new("create/once", vec![pattern(1, 100)]).await.expect("it is new");
    // The same bytes are refused too: whoever writes them did not create the object.
    for seed in [1, 2] {
        let error = store.put_new("create/once", vec![pattern(seed, 100)]).await.expect_err("it exists");
        assert_eq!((error.kind, error.effect), (ErrorKind::AlreadyExists, Effect::None), "{error}");
    }
    assert_eq!(store.get("create/once").await.expect("it is there"), pattern(1, 100));
}

pub(crate) async fn of_racing_writers_one_wins(subject: &Subject) {
    let store = &subject.store;
    let writers = (0..16).map(|seed| store.put_new("create/race", vec![pattern(seed, 10_000)]));
    let outcomes = join_all(writers).await;
    let winners: Vec<u64> = (0..16).filter(|&i| outcomes[i as usize].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    let losers = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    assert!(losers.clone().all(|error| error.kind == ErrorKind::AlreadyExists), "{outcomes:?}");
    assert_eq!(store.get("create/race").await.expect("it is there"), pattern(winners[0], 10_000));
}

pub(crate) async fn an_empty_object_exists(subject: &Subject) {
    let store = &subject.store;
    store.put_new("create/empty", Vec::new()).await.expect("it is new");
    assert_eq!(store.head("create/empty").await.expect("it is there").size, 0);
    assert_eq!(store.get("create/empty").await.expect("it is there"), Bytes::new());
    let error = store.get_range("create/empty", 0..1).await.expect_err("it has no byte");
    assert_eq!(error.kind, ErrorKind::Truncated);
}

pub(crate) async fn what_is_absent_is_not_found(subject: &Subject) {
    let store = &subject.store;
    let errors = [
        store.head("absent/a").await.expect_err("absent"),
        store.get("absent/a").await.expect_err("absent"),
        store.get_range("absent/a", 0..1).await.expect_err("absent"),
    ];
    for error in errors {
        assert_eq!((error.kind, error.effect), (ErrorKind::NotFound, Effect::None), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

pub(crate) async fn deleting_what_is_absent_succeeds(subject: &Subject) {
    subject.store.delete("absent/deep/er").await.expect("absent is fine");
    subject.store.discard("absent/deep/er").await.expect("absent is fine");
}

pub(crate) async fn a_deleted_key_is_free_again(subject: &Subject) {
    let store = &subject.store;
    store.put_new("create/again", vec![pattern(1, 10)]).await.expect("it is new");
    store.delete("create/again").await.expect("it goes");
    assert_eq!(store.head("create/again").await.expect_err("it is gone").kind, ErrorKind::NotFound);
    store.put_new("create/again", vec![pattern(2, 20)]).await.expect("it is new again");
    assert_eq!(store.get("create/again").await.expect("it is there"), pattern(2, 20));
}

pub(crate) async fn a_malformed_key_is_refused(subject: &Subject) {
    for key in ["", "/a", "a/", "a//b", "../a", ".uploads/a", "a b", "a#1"] {
        let error = subject.store.put_new(key, Vec::new()).await.expect_err(key);
        assert_eq!((error.kind, error.effect), (ErrorKind::Invalid, Effect::None));
    }
}
