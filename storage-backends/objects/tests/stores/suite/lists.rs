use futures::{StreamExt, stream};

use super::{Subject, pattern};

pub(crate) async fn a_listing_is_whole_and_in_order(subject: &Subject) {
    let store = &subject.store;
    // More than one page, written in no order; '-' and '.' sort before '/', which a walk of directories
    // gets wrong.
    let mut keys: Vec<String> =
        (0..subject.many).map(|i| format!("list/{:02x}/{i:05}", i * 7 % 16)).collect();
    keys.extend(["list/00-a".to_owned(), "list/00.b".to_owned(), "list/000".to_owned()]);
    stream::iter(keys.iter().rev())
        .map(|key| store.put_new(key, vec![pattern(1, key.len())]))
        .buffer_unordered(16)
        .for_each(|written| async { written.expect("it is new") })
        .await;
    keys.sort();
    let listed = store.list("list").await.expect("it lists");
    assert!(listed.iter().all(|object| object.size == object.key.len() as u64));
    let listed: Vec<_> = listed.into_iter().map(|object| object.key).collect();
    assert_eq!(listed.len(), keys.len());
    assert!(listed == keys, "not in order");
    assert!(store.list("").await.expect("it lists").len() >= keys.len());
}

pub(crate) async fn a_prefix_is_of_whole_segments(subject: &Subject) {
    let store = &subject.store;
    for key in ["prefix/a/1", "prefix/ab/2", "prefix/a-b"] {
        store.put_new(key, Vec::new()).await.expect("it is new");
    }
    for prefix in ["prefix/a", "prefix/a/"] {
        let listed: Vec<_> =
            store.list(prefix).await.expect("it lists").into_iter().map(|object| object.key).collect();
        assert_eq!(listed, ["prefix/a/1"]);
    }
    assert_eq!(store.list("prefix/none").await.expect("nothing is fine"), []);
}
