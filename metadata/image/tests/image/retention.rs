use aquifer_image::StreamRange;
use aquifer_image::retention::{Retention, new_start};
use aquifer_types::StreamId;

use crate::fixture::{Cluster, range};

/// Ranges 0-10, 10-20, 20-30 of 100 bytes each; their newest records are of the times 9, 19 and 29.
fn three_ranges() -> (Cluster, StreamId) {
    let mut cluster = Cluster::new();
    let a = cluster.data(0);
    for first in [0, 10, 20] {
        cluster.commit(vec![range(a, first, first + 10)]);
    }
    (cluster, a)
}

fn by_time(ms: i64) -> Retention {
    Retention { ms: Some(ms), bytes: None }
}

fn by_size(bytes: u64) -> Retention {
    Retention { ms: None, bytes: Some(bytes) }
}

#[test]
fn without_limits_everything_stays() {
    let (cluster, a) = three_ranges();
    assert_eq!(new_start(&cluster.image, a, Retention::default(), u64::MAX, i64::MAX), None);
}

#[test]
fn a_range_goes_when_its_newest_record_is_too_old() {
    let (cluster, a) = three_ranges();
    for (now_ms, expected) in
        [(i64::MIN, None), (109, None), (110, Some(10)), (119, Some(10)), (120, Some(20)), (1_000, Some(30))]
    {
        assert_eq!(new_start(&cluster.image, a, by_time(100), 0, now_ms), expected, "at {now_ms}");
    }
}

#[test]
fn an_old_range_behind_a_young_one_stays() {
    let mut cluster = Cluster::new();
    let a = cluster.data(0);
    cluster.commit(vec![StreamRange { max_timestamp_ms: 900, ..range(a, 0, 10) }]);
    cluster.commit(vec![StreamRange { max_timestamp_ms: 5, ..range(a, 10, 20) }]);
    assert_eq!(new_start(&cluster.image, a, by_time(100), 0, 1_000), None);
}

#[test]
fn ranges_go_while_what_stays_is_large_enough() {
    let (cluster, a) = three_ranges();
    for (bytes, tail, expected) in [
        (301, 0, None),
        (201, 0, None),
        (200, 0, Some(10)),
        (100, 0, Some(20)),
        (0, 0, Some(30)),
        (201, 1, Some(10)),
        (100, u64::MAX, Some(30)),
    ] {
        assert_eq!(
            new_start(&cluster.image, a, by_size(bytes), tail, 0),
            expected,
            "{bytes} with tail {tail}"
        );
    }
}

#[test]
fn records_without_timestamps_are_as_old_as_their_commit() {
    let mut cluster = Cluster::new();
    let a = cluster.data(0);
    cluster.commit(vec![StreamRange { max_timestamp_ms: -1, ..range(a, 0, 10) }]);
    // The fixture commits at time 10.
    assert_eq!(new_start(&cluster.image, a, by_time(100), 0, 110), None);
    assert_eq!(new_start(&cluster.image, a, by_time(100), 0, 111), Some(10));
}

#[test]
fn a_stream_that_is_empty_or_gone_has_nothing_to_lose() {
    let (cluster, _) = three_ranges();
    let unlimited_greed = Retention { ms: Some(0), bytes: Some(0) };
    assert_eq!(new_start(&cluster.image, cluster.data(1), unlimited_greed, 10, i64::MAX), None);
    assert_eq!(new_start(&cluster.image, StreamId(999), unlimited_greed, 0, i64::MAX), None);
}
