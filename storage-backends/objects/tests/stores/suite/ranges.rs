use aquifer_objects::{Effect, ErrorKind};
use futures::future::join_all;

use super::{Subject, pattern};

const SIZE: usize = 1 << 20;

async fn written(subject: &Subject, key: &str) -> bytes::Bytes {
    let whole = pattern(7, SIZE);
    subject.store.put_new(key, vec![whole.clone()]).await.expect("it is new");
    whole
}

pub(crate) async fn a_range_is_exactly_what_was_asked_for(subject: &Subject) {
    let whole = written(subject, "ranges/exact").await;
    let ranges = [0..1, 0..SIZE, 1..2, SIZE - 1..SIZE, 65_535..65_537, 300_000..812_345];
    let reads = ranges
        .iter()
        .map(|range| subject.store.get_range("ranges/exact", range.start as u64..range.end as u64));
    for (range, read) in ranges.iter().zip(join_all(reads).await) {
        assert!(read.expect("it is there") == whole.slice(range.clone()), "{range:?}");
    }
}

/// S3 answers with fewer bytes if the range begins before the end and with 416 if not, hdfs-native panics.
pub(crate) async fn a_range_past_the_end_is_an_error(subject: &Subject) {
    written(subject, "ranges/end").await;
    let size = SIZE as u64;
    for range in [size - 1..size + 1, 0..size + 1, size..size + 1, size + 1..size + 2, 5 * size..6 * size] {
        let error = subject.store.get_range("ranges/end", range.clone()).await.expect_err("past the end");
        assert_eq!((error.kind, error.effect), (ErrorKind::Truncated, Effect::None), "{range:?}: {error}");
        assert_eq!(error.attempts, 1, "it will not grow: {error}");
        assert!(error.to_string().contains(&size.to_string()), "{error}");
    }
}

pub(crate) async fn an_empty_range_is_refused(subject: &Subject) {
    written(subject, "ranges/empty").await;
    #[expect(clippy::reversed_empty_ranges, reason = "the mistake under test")]
    for range in [3..3, 5..4] {
        let error = subject.store.get_range("ranges/empty", range).await.expect_err("no bytes");
        assert_eq!(error.kind, ErrorKind::Invalid);
    }
}

pub(crate) async fn a_read_larger_than_the_limit_goes_alone(subject: &Subject) {
    // The limits of the suite are far below this, so nothing may wait for itself.
    let whole = pattern(3, 40 << 20);
    subject.store.put_new("ranges/giant", vec![whole.clone()]).await.expect("it is new");
    assert!(subject.store.get("ranges/giant").await.expect("it is there") == whole);
}
