use aquifer_image::*;
use aquifer_types::{DiskId, NodeId, SegmentId};
use uuid::Uuid;

use crate::fixture::{Cluster, NODE, OTHER, register};

const DISK: DiskId = DiskId(Uuid::from_u128(5));

fn open(cluster: &mut Cluster) -> SegmentId {
    let broker_epoch = cluster.epoch(NODE);
    match cluster.ok(OpenSegment { node: NODE, broker_epoch, disk: DISK, members: Vec::new(), needed: 0 }) {
        Outcome::SegmentOpened { segment } => segment,
        other => panic!("{other:?}"),
    }
}

fn close(cluster: &Cluster, segment: SegmentId, end_lsn: u64) -> CloseSegment {
    CloseSegment { segment, node: NODE, broker_epoch: cluster.epoch(NODE), end_lsn }
}

fn release(cluster: &Cluster, segment: SegmentId) -> ReleaseSegment {
    ReleaseSegment { segment, node: NODE, broker_epoch: cluster.epoch(NODE) }
}

#[test]
fn a_segment_is_opened_closed_and_released() {
    let mut cluster = Cluster::new();
    let segment = open(&mut cluster);
    assert_eq!(segment.get(), cluster.image.applied().get());
    assert_eq!(cluster.image.segment(segment).unwrap().state, SegmentState::Open);
    let early = release(&cluster, segment);
    assert_eq!(cluster.refused(early), Rejection::SegmentNotClosed { segment });
    let closing = close(&cluster, segment, 70);
    cluster.ok(closing);
    assert_eq!(cluster.image.segments_of(NODE).count(), 1);
    for _ in 0..2 {
        let releasing = release(&cluster, segment);
        assert_eq!(cluster.ok(releasing), Outcome::Done);
        assert_eq!(cluster.image.segments().count(), 0);
    }
}

#[test]
fn a_segments_end_is_decided_once() {
    let mut cluster = Cluster::new();
    let segment = open(&mut cluster);
    for _ in 0..2 {
        let closing = close(&cluster, segment, 70);
        assert_eq!(cluster.ok(closing), Outcome::Done);
    }
    let other = close(&cluster, segment, 71);
    let rejection = cluster.refused(other);
    let text = format!("WAL segment {segment} cannot be closed at LSN 71: it is closed at LSN 70");
    assert_eq!(rejection.to_string(), text);
}

#[test]
fn the_next_process_of_a_node_closes_what_the_last_one_left() {
    let mut cluster = Cluster::new();
    let segment = open(&mut cluster);
    let stale = close(&cluster, segment, 1);
    cluster.ok(register(NODE, 2));
    assert!(matches!(cluster.refused(stale), Rejection::StaleBrokerEpoch { .. }));
    let closing = close(&cluster, segment, 1);
    cluster.ok(closing);
}

#[test]
fn a_segment_belongs_to_its_owner() {
    let mut cluster = Cluster::new();
    let segment = open(&mut cluster);
    let foreign = Rejection::ForeignSegment { segment, owner: NODE, node: OTHER };
    let theirs =
        CloseSegment { node: OTHER, broker_epoch: cluster.epoch(OTHER), ..close(&cluster, segment, 1) };
    assert_eq!(cluster.refused(theirs), foreign);
    let theirs =
        ReleaseSegment { node: OTHER, broker_epoch: cluster.epoch(OTHER), ..release(&cluster, segment) };
    assert_eq!(cluster.refused(theirs), foreign);
    let nowhere = close(&cluster, SegmentId(1_000), 1);
    assert_eq!(cluster.refused(nowhere), Rejection::UnknownSegment { segment: SegmentId(1_000) });
}

#[test]
fn mirrors_are_brokers_of_the_cluster() {
    let mut cluster = Cluster::new();
    let broker_epoch = cluster.epoch(NODE);
    let with = |node| OpenSegment {
        node: NODE,
        broker_epoch,
        disk: DISK,
        members: vec![SegmentMember { node, disk: DISK }],
        needed: 0,
    };
    cluster.ok(with(OTHER));
    assert_eq!(cluster.refused(with(NodeId(9))), Rejection::UnknownBroker { node: NodeId(9) });
}
