use aquifer_image::*;
use aquifer_types::{DiskId, LeaderEpoch, LogIndex, NodeId, SegmentId};
use uuid::Uuid;

use crate::fixture::{Cluster, NODE, OTHER, range, register};

const DISK: DiskId = DiskId(Uuid::from_u128(5));

/// [`NODE`] writes a segment that [`OTHER`] mirrors.
fn mirrored(cluster: &mut Cluster) -> SegmentId {
    let (node, broker_epoch) = (NODE, cluster.epoch(NODE));
    let members = vec![SegmentMember { node: OTHER, disk: DISK }];
    opened(cluster.ok(OpenSegment { node, broker_epoch, disk: DISK, members, needed: 0 }))
}

fn opened(outcome: Outcome) -> SegmentId {
    let Outcome::SegmentOpened { segment } = outcome else { panic!("{outcome:?}") };
    segment
}

fn roll(cluster: &Cluster, segment: SegmentId, end_lsn: u64) -> RollSegment {
    let (node, broker_epoch) = (NODE, cluster.epoch(NODE));
    RollSegment { segment, end_lsn, node, broker_epoch, disk: DISK, members: Vec::new(), needed: 0 }
}

fn fence(cluster: &mut Cluster) -> LogIndex {
    let (node, broker_epoch) = (NODE, cluster.epoch(NODE));
    cluster.ok(FenceBroker { node, broker_epoch });
    cluster.image.applied()
}

/// [`OTHER`] takes over what [`NODE`] left: nothing but these ends.
fn take_over(cluster: &Cluster, segments: &[(SegmentId, Option<LogIndex>, u64)]) -> TakeOver {
    let end = |&(segment, sealed_at, end_lsn)| SegmentEnd { segment, sealed_at, end_lsn };
    TakeOver {
        node: OTHER,
        broker_epoch: cluster.epoch(OTHER),
        owner: NODE,
        segments: segments.iter().map(end).collect(),
        objects: Vec::new(),
        leaders: Vec::new(),
        now_ms: 50,
    }
}

#[test]
fn a_fenced_broker_is_refused_and_its_segments_are_sealed() {
    let mut cluster = Cluster::new();
    let segment = mirrored(&mut cluster);
    let rolling = roll(&cluster, segment, 7);
    let at = fence(&mut cluster);
    assert_eq!(cluster.image.segment(segment).unwrap().state, SegmentState::Sealing { at });
    assert_eq!(cluster.refused(rolling), Rejection::BrokerFenced { node: NODE, at });
    assert_eq!(cluster.refused(register(NODE, 1)), Rejection::BrokerFenced { node: NODE, at });
    // Once more is no news, and a process that starts over is let in.
    let (node, broker_epoch) = (NODE, cluster.epoch(NODE));
    cluster.ok(FenceBroker { node, broker_epoch });
    assert_eq!(cluster.image.segment(segment).unwrap().state, SegmentState::Sealing { at });
    cluster.ok(register(NODE, 2));
    assert!(matches!(
        cluster.refused(FenceBroker { node, broker_epoch }),
        Rejection::StaleBrokerEpoch { .. }
    ));
}

#[test]
fn a_restarted_broker_does_not_go_on_where_its_mirrors_may_know_more() {
    let mut cluster = Cluster::new();
    let segment = mirrored(&mut cluster);
    cluster.ok(register(NODE, 2));
    let at = cluster.image.applied();
    assert_eq!(cluster.image.segment(segment).unwrap().state, SegmentState::Sealing { at });
    let closing = CloseSegment { segment, node: NODE, broker_epoch: cluster.epoch(NODE), end_lsn: 7 };
    assert!(matches!(cluster.refused(closing), Rejection::SegmentEndDecided { .. }));
}

#[test]
fn the_next_segment_begins_where_this_one_ends() {
    let mut cluster = Cluster::new();
    let segment = mirrored(&mut cluster);
    let rolling = roll(&cluster, segment, 70);
    let next = opened(cluster.ok(rolling.clone()));
    assert_eq!(cluster.image.segment(segment).unwrap().state, SegmentState::Closed { end_lsn: 70 });
    assert_eq!(cluster.image.segment(next).unwrap().continues, Some((segment, 70)));
    assert_eq!(opened(cluster.ok(rolling)), next, "a repeated command opens nothing");
    let elsewhere = roll(&cluster, segment, 71);
    assert!(matches!(cluster.refused(elsewhere), Rejection::SegmentEndDecided { .. }));
}

#[test]
fn copies_are_on_different_brokers() {
    let mut cluster = Cluster::new();
    let broker_epoch = cluster.epoch(NODE);
    for members in [vec![NODE], vec![OTHER, OTHER]] {
        let members: Vec<_> = members.into_iter().map(|node| SegmentMember { node, disk: DISK }).collect();
        let open = OpenSegment { node: NODE, broker_epoch, disk: DISK, members, needed: 0 };
        assert!(matches!(cluster.refused(open), Rejection::InvalidMembers { owner: NODE, .. }));
    }
}

#[test]
fn a_takeover_commits_the_tail_ends_the_segments_and_moves_the_partitions() {
    let mut cluster = Cluster::new();
    let first = mirrored(&mut cluster);
    let rolling =
        RollSegment { members: vec![SegmentMember { node: OTHER, disk: DISK }], ..roll(&cluster, first, 70) };
    let second = opened(cluster.ok(rolling));
    let at = fence(&mut cluster);
    let (node, broker_epoch) = (OTHER, cluster.epoch(OTHER));
    let prepared = cluster.ok(PrepareObjects { node, broker_epoch, count: 1, now_ms: 0, time_limit_ms: 100 });
    let Outcome::ObjectsPrepared { first: object, .. } = prepared else { panic!("{prepared:?}") };
    let (a, topic) = (cluster.data(0), cluster.topic("t"));
    let taking = TakeOver {
        objects: vec![RecoveredObject { object, size_bytes: 10_000, ranges: vec![range(a, 0, 10)] }],
        leaders: vec![(topic, 0, OTHER), (topic, 1, OTHER)],
        ..take_over(&cluster, &[(first, None, 70), (second, Some(at), 90)])
    };
    let before = cluster.image.clone();
    cluster.ok(taking.clone());
    cluster.image.check_follows(&before).expect("nothing goes back");
    assert_eq!(cluster.stream(a).end, 10);
    assert_eq!(cluster.image.segments().count(), 0);
    for partition in [0, 1] {
        let Partition { leader, leader_epoch, .. } = cluster.partition("t", partition);
        assert_eq!((leader, leader_epoch), (Some(OTHER), LeaderEpoch(1)));
    }
    assert_eq!(cluster.ok(taking), Outcome::Done, "a repeated command is answered as the first");
    assert_eq!(cluster.partition("t", 0).leader_epoch, LeaderEpoch(1));
}

#[test]
fn an_end_found_under_another_seal_is_refused() {
    let mut cluster = Cluster::new();
    let segment = mirrored(&mut cluster);
    let at = fence(&mut cluster);
    cluster.ok(register(NODE, 2));
    let sealed_again = cluster.image.applied();
    let stale = take_over(&cluster, &[(segment, Some(at), 7)]);
    assert!(matches!(cluster.refused(stale), Rejection::TakeOverConflict { .. }));
    let fresh = take_over(&cluster, &[(segment, Some(sealed_again), 7)]);
    cluster.ok(fresh);
}

#[test]
fn a_broker_that_came_back_keeps_its_partitions() {
    let mut cluster = Cluster::new();
    fence(&mut cluster);
    // Nothing was left, so that no seal tells the recoverer's entry from one of now.
    let late = TakeOver { leaders: vec![(cluster.topic("t"), 0, OTHER)], ..take_over(&cluster, &[]) };
    cluster.ok(register(NODE, 2));
    mirrored(&mut cluster);
    assert!(matches!(cluster.refused(late), Rejection::TakeOverConflict { .. }));
    assert_eq!(cluster.partition("t", 0).leader, Some(NODE));
}

#[test]
fn every_segment_that_may_hold_records_is_named() {
    let mut cluster = Cluster::new();
    let first = mirrored(&mut cluster);
    let rolling =
        RollSegment { members: vec![SegmentMember { node: OTHER, disk: DISK }], ..roll(&cluster, first, 70) };
    let second = opened(cluster.ok(rolling));
    let at = fence(&mut cluster);
    let (topic, one) = (cluster.topic("t"), take_over(&cluster, &[(second, Some(at), 90)]));
    let one = TakeOver { leaders: vec![(topic, 0, OTHER)], ..one };
    assert!(matches!(cluster.refused(one), Rejection::TakeOverConflict { .. }));
    let early = take_over(&cluster, &[(first, None, 70), (second, Some(at), 60)]);
    assert!(matches!(cluster.refused(early), Rejection::TakeOverConflict { .. }));
}

#[test]
fn a_tail_without_mirrors_keeps_its_partitions() {
    let mut cluster = Cluster::new();
    let (node, broker_epoch) = (NODE, cluster.epoch(NODE));
    cluster.ok(OpenSegment { node, broker_epoch, disk: DISK, members: Vec::new(), needed: 0 });
    fence(&mut cluster);
    let taking = TakeOver { leaders: vec![(cluster.topic("t"), 0, OTHER)], ..take_over(&cluster, &[]) };
    assert!(matches!(cluster.refused(taking), Rejection::TakeOverConflict { .. }));
    let dead = TakeOver { leaders: vec![(cluster.topic("t"), 2, NodeId(9))], ..take_over(&cluster, &[]) };
    assert!(matches!(cluster.refused(dead), Rejection::TakeOverConflict { .. }));
}
