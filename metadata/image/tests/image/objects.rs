use aquifer_image::*;
use aquifer_types::{NodeId, ObjectId, StreamId};

use crate::fixture::{Cluster, NODE, OTHER, create_topic, range, register};

fn firsts(cluster: &Cluster, stream: StreamId, from: u64) -> Vec<u64> {
    cluster.image.ranges(stream, from).map(|range| range.first).collect()
}

#[test]
fn a_commit_moves_the_streams_and_adds_up() {
    let mut cluster = Cluster::new();
    let (a, b) = (cluster.data(0), cluster.data(1));
    let first = cluster.commit(vec![range(a, 0, 10), range(b, 0, 3)]);
    cluster.commit(vec![range(a, 10, 15)]);
    let Stream { start, end, bytes, records, ranges, .. } = cluster.stream(a);
    assert_eq!((start, end, bytes, records, ranges), (0, 15, 150, 15, 2));
    assert_eq!(firsts(&cluster, a, 0), [0, 10]);
    assert_eq!(firsts(&cluster, a, 9), [0, 10]);
    assert_eq!(firsts(&cluster, a, 10), [10]);
    assert_eq!(firsts(&cluster, a, 15), [] as [u64; 0]);
    let found = cluster.image.range_at(a, 9).unwrap();
    assert_eq!((found.first, found.end, found.object), (0, 10, first));
    assert_eq!(cluster.image.range_at(a, 15), None);
    assert_eq!(cluster.image.last_range(a).unwrap().first, 10);
    assert_eq!(cluster.image.last_range(cluster.partition("t", 0).meta), None);
}

#[test]
fn a_range_that_leaves_a_gap_or_overlaps_refuses_the_whole_object() {
    let mut cluster = Cluster::new();
    let (a, b) = (cluster.data(0), cluster.data(1));
    cluster.commit(vec![range(a, 0, 10)]);
    let object = cluster.prepare();
    for first in [9, 11] {
        let commit = cluster.commit_of(object, vec![range(b, 0, 5), range(a, first, 20)]);
        let expected = Rejection::NotContinuous { object, stream: a, first, committed_end: 10 };
        assert_eq!(cluster.refused(commit), expected);
    }
    assert_eq!(cluster.stream(b).end, 0);
    let commit = cluster.commit_of(object, vec![range(b, 0, 5), range(a, 10, 20)]);
    cluster.ok(commit);
}

#[test]
fn ranges_that_make_no_sense_are_refused() {
    let mut cluster = Cluster::new();
    let a = cluster.data(0);
    let object = cluster.prepare();
    let wrong = [
        vec![range(a, 0, 0)],
        vec![range(a, 5, 4)],
        vec![range(a, 0, MAX_OFFSET + 1)],
        vec![range(a, 0, 5), range(a, 5, 9)],
        vec![StreamRange { bytes: 10_001, ..range(a, 0, 5) }],
        vec![StreamRange { records: 6, ..range(a, 0, 5) }],
    ];
    for ranges in wrong {
        let commit = cluster.commit_of(object, ranges);
        let rejection = cluster.refused(commit);
        assert!(matches!(rejection, Rejection::InvalidRange { .. }), "{rejection}");
    }
    let giant = CommitObject { size_bytes: MAX_OBJECT_BYTES + 1, ..cluster.commit_of(object, Vec::new()) };
    assert!(matches!(cluster.refused(giant), Rejection::OutOfLimits { .. }));
}

#[test]
fn only_the_leader_commits_and_trims() {
    let mut cluster = Cluster::new();
    let theirs = cluster.data(2);
    let object = cluster.prepare();
    let commit = cluster.commit_of(object, vec![range(theirs, 0, 5)]);
    let expected = Rejection::NotStreamLeader {
        node: NODE,
        stream: theirs,
        topic: cluster.topic("t"),
        partition: 2,
        leader: Some(OTHER),
    };
    let rejection = cluster.refused(commit);
    assert_eq!(rejection, expected);
    assert!(rejection.to_string().ends_with("partition 2); broker 2 does"), "{rejection}");
    let trim = cluster.trim(theirs, 1);
    assert_eq!(cluster.refused(trim), expected);
}

#[test]
fn a_retried_commit_is_a_success_for_ever_and_another_one_a_conflict() {
    let mut cluster = Cluster::new();
    let a = cluster.data(0);
    let object = cluster.prepare();
    let commit = cluster.commit_of(object, vec![range(a, 0, 10)]);
    let done = Outcome::ObjectCommitted { gone: Vec::new() };
    assert_eq!(cluster.ok(commit.clone()), done);
    let retry = CommitObject { now_ms: 11, ..commit.clone() };
    assert_eq!(cluster.ok(retry.clone()), done);
    assert_eq!(cluster.stream(a).end, 10);

    let other = CommitObject { ranges: vec![range(a, 0, 9)], ..commit.clone() };
    assert_eq!(cluster.refused(other), Rejection::CommitConflict { object });
    let larger = CommitObject { size_bytes: 10_001, ..commit };
    assert_eq!(cluster.refused(larger), Rejection::CommitConflict { object });

    // Also when the ranges were trimmed, or the topic deleted, between the try and the retry.
    let trim = cluster.trim(a, 10);
    cluster.ok(trim);
    assert!(cluster.is_marked(object));
    assert_eq!(cluster.ok(retry.clone()), done);
    let deletion = cluster.delete_topic("t");
    cluster.ok(deletion);
    assert_eq!(cluster.ok(retry.clone()), Outcome::ObjectCommitted { gone: vec![a] });
    cluster.ok(RemoveObjects { objects: vec![object] });
    assert_eq!(cluster.refused(retry), Rejection::UnknownObject { object });
}

#[test]
fn ranges_of_a_deleted_topic_are_left_out_and_the_others_committed() {
    let mut cluster = Cluster::new();
    cluster.ok(create_topic("doomed", &[NODE]));
    let (a, doomed) = (cluster.data(0), cluster.partition("doomed", 0).data);
    let (both, only_doomed) = (cluster.prepare(), cluster.prepare());
    let deletion = cluster.delete_topic("doomed");
    cluster.ok(deletion);

    let commit = cluster.commit_of(both, vec![range(doomed, 0, 5), range(a, 0, 5)]);
    assert_eq!(cluster.ok(commit), Outcome::ObjectCommitted { gone: vec![doomed] });
    assert_eq!(cluster.stream(a).end, 5);
    let Some(ObjectState::Committed { live_ranges: 1, live_bytes: 50, .. }) = cluster.image.object(both)
    else {
        panic!("{:?}", cluster.image.object(both));
    };

    let commit = cluster.commit_of(only_doomed, vec![range(doomed, 0, 5)]);
    assert_eq!(cluster.ok(commit), Outcome::ObjectCommitted { gone: vec![doomed] });
    assert!(cluster.is_marked(only_doomed));

    let trim = TrimStreams { trims: vec![(doomed, 3), (a, 2)], ..cluster.trim(a, 0) };
    assert_eq!(cluster.ok(trim), Outcome::StreamsTrimmed { gone: vec![doomed] });
    assert_eq!(cluster.stream(a).start, 2);
}

#[test]
fn a_trim_releases_whole_ranges_and_marks_objects_that_nobody_needs() {
    let mut cluster = Cluster::new();
    let (a, b) = (cluster.data(0), cluster.data(1));
    let shared = cluster.commit(vec![range(a, 0, 10), range(b, 0, 10)]);
    let second = cluster.commit(vec![range(a, 10, 20)]);
    for (stream, start, left, marked) in [
        (a, 9, vec![0, 10], [false, false]),
        (a, 10, vec![10], [false, false]),
        (a, 4, vec![10], [false, false]),
        (b, 10, vec![], [true, false]),
        (a, 20, vec![], [true, true]),
    ] {
        let trim = cluster.trim(stream, start);
        cluster.ok(trim);
        assert_eq!(firsts(&cluster, stream, 0), left, "{stream} trimmed to {start}");
        assert_eq!([shared, second].map(|object| cluster.is_marked(object)), marked);
    }
    assert_eq!((cluster.stream(a).start, cluster.stream(a).bytes), (20, 0));
    let trim = cluster.trim(a, MAX_OFFSET + 1);
    assert!(matches!(cluster.refused(trim), Rejection::InvalidTrim { .. }));
}

#[test]
fn records_deleted_while_in_the_wal_are_released_when_they_are_committed() {
    let mut cluster = Cluster::new();
    let a = cluster.data(0);
    cluster.commit(vec![range(a, 0, 100)]);
    let trim = cluster.trim(a, 150);
    cluster.ok(trim);
    let Stream { start, end, ranges, .. } = cluster.stream(a);
    assert_eq!((start, end, ranges), (150, 100, 0));

    let below = cluster.commit(vec![range(a, 100, 150)]);
    assert!(cluster.is_marked(below));
    assert_eq!((cluster.stream(a).end, cluster.stream(a).bytes), (150, 0));

    let trim = cluster.trim(a, 160);
    cluster.ok(trim);
    let partly = cluster.commit(vec![range(a, 150, 200)]);
    assert!(!cluster.is_marked(partly));
    assert_eq!(firsts(&cluster, a, 160), [150]);
    assert_eq!(cluster.image.range_at(a, 160).unwrap().object, partly);
}

#[test]
fn a_checkpoint_replaces_those_before_it() {
    let mut cluster = Cluster::new();
    let meta = cluster.partition("t", 0).meta;
    let checkpoint = |first| StreamRange { replaces_older: true, ..range(meta, first, first + 1) };
    let old = cluster.commit(vec![checkpoint(0)]);
    let new = cluster.commit(vec![checkpoint(1)]);
    assert!(cluster.is_marked(old));
    assert_eq!(cluster.image.last_range(meta).unwrap().object, new);
    assert_eq!((cluster.stream(meta).start, cluster.stream(meta).end), (1, 2));
}

#[test]
fn what_is_not_committed_in_time_is_given_up() {
    let mut cluster = Cluster::new();
    let a = cluster.data(0);
    let object = cluster.prepare();
    assert_eq!(cluster.ok(ExpirePrepared { now_ms: 99 }), Outcome::PreparedExpired { count: 0 });
    assert_eq!(cluster.ok(ExpirePrepared { now_ms: 100 }), Outcome::PreparedExpired { count: 1 });
    let late = cluster.commit_of(object, vec![range(a, 0, 1)]);
    assert_eq!(cluster.refused(late.clone()), Rejection::ObjectExpired { object });
    cluster.ok(RemoveObjects { objects: vec![object] });
    assert_eq!(cluster.refused(late), Rejection::UnknownObject { object });
}

#[test]
fn only_marked_objects_are_removed_and_twice_is_once() {
    let mut cluster = Cluster::new();
    let a = cluster.data(0);
    let (prepared, committed) = (cluster.prepare(), cluster.commit(vec![range(a, 0, 1)]));
    for object in [prepared, committed] {
        let rejection = cluster.refused(RemoveObjects { objects: vec![object] });
        assert_eq!(rejection, Rejection::ObjectNotMarked { object });
    }
    cluster.ok(ExpirePrepared { now_ms: 1_000 });
    let objects = vec![prepared, ObjectId(999)];
    assert_eq!(cluster.ok(RemoveObjects { objects: objects.clone() }), Outcome::ObjectsRemoved { count: 1 });
    assert_eq!(cluster.ok(RemoveObjects { objects }), Outcome::ObjectsRemoved { count: 0 });
}

#[test]
fn object_ids_are_consecutive_and_never_given_out_twice() {
    let mut cluster = Cluster::new();
    let first = cluster.prepare();
    cluster.ok(register(OTHER, 5));
    let (node, broker_epoch) = (OTHER, cluster.epoch(OTHER));
    let command = PrepareObjects { node, broker_epoch, count: 3, now_ms: 0, time_limit_ms: i64::MAX };
    let expected = Outcome::ObjectsPrepared { first: ObjectId(first.0 + 1), count: 3 };
    assert_eq!(cluster.ok(command.clone()), expected);
    assert_eq!(cluster.image.next_object(), ObjectId(first.0 + 4));
    for count in [0, u32::try_from(MAX_OBJECTS_PER_COMMAND).unwrap() + 1] {
        let outside = cluster.refused(PrepareObjects { count, ..command.clone() });
        assert!(matches!(outside, Rejection::OutOfLimits { .. }), "{outside}");
    }
    let unknown = PrepareObjects { node: NodeId(77), ..command };
    assert_eq!(cluster.refused(unknown), Rejection::UnknownBroker { node: NodeId(77) });
}
