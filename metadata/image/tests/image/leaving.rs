use aquifer_image::*;
use aquifer_types::{BrokerEpoch, DiskId, NodeId, SegmentId};
use uuid::Uuid;

use crate::fixture::{Cluster, NODE, OTHER, range, register};

fn leaving(cluster: &Cluster, node: NodeId) -> Option<Leaving> {
    cluster.image.broker(node).expect("registered").leaving
}

fn move_all(cluster: &Cluster, to: NodeId) -> MovePartitions {
    let topic = cluster.topic("t");
    let one = |index| MovePartition { topic, index, to: Some(to), replicas: None };
    MovePartitions { moves: (0..3).map(one).collect() }
}

/// [`NODE`] gives away what it was asked to.
fn hand_over(cluster: &mut Cluster) {
    let topic = cluster.topic("t");
    let gives = |index| {
        let asked_at = cluster.partition("t", index).moving?.asked_at;
        Some(HandedOver { topic, index, asked_at, end: cluster.stream(cluster.data(index)).end })
    };
    let partitions: Vec<_> = (0..2).filter_map(gives).collect();
    cluster.ok(HandOver { node: NODE, broker_epoch: cluster.epoch(NODE), partitions });
}

#[test]
fn a_stop_is_over_with_the_next_registration_and_a_drain_is_not() {
    let mut cluster = Cluster::new();
    cluster.ok(StopBroker { node: NODE, broker_epoch: cluster.epoch(NODE) });
    assert_eq!(leaving(&cluster, NODE), Some(Leaving::Stop));
    assert!(!cluster.image.broker(NODE).unwrap().takes_more());
    cluster.ok(register(NODE, 1));
    assert_eq!(leaving(&cluster, NODE), Some(Leaving::Stop), "the same process again");
    cluster.ok(ResumeBroker { node: NODE });
    assert_eq!(leaving(&cluster, NODE), Some(Leaving::Stop), "no word calls a process back that ends");
    cluster.ok(register(NODE, 2));
    assert_eq!(leaving(&cluster, NODE), None);

    cluster.ok(DrainBroker { node: NODE, for_good: false });
    cluster.ok(StopBroker { node: NODE, broker_epoch: cluster.epoch(NODE) });
    cluster.ok(register(NODE, 3));
    assert_eq!(leaving(&cluster, NODE), Some(Leaving::Drain));
    cluster.ok(ResumeBroker { node: NODE });
    assert_eq!(leaving(&cluster, NODE), None);
    let decoded = decode_snapshot(&encode_snapshot(&cluster.image)).unwrap();
    assert_eq!(decoded, cluster.image);
}

#[test]
fn only_the_present_process_says_that_it_stops() {
    let mut cluster = Cluster::new();
    let stale = StopBroker { node: NODE, broker_epoch: cluster.epoch(NODE) };
    cluster.ok(register(NODE, 2));
    assert!(matches!(cluster.refused(stale), Rejection::StaleBrokerEpoch { .. }));
    let node = NodeId(9);
    assert_eq!(cluster.refused(DrainBroker { node, for_good: false }), Rejection::UnknownBroker { node });
    assert_eq!(cluster.refused(ResumeBroker { node }), Rejection::UnknownBroker { node });
    let unknown = StopBroker { node, broker_epoch: BrokerEpoch(1) };
    assert_eq!(cluster.refused(unknown), Rejection::UnknownBroker { node });
}

#[test]
fn nothing_moves_to_a_broker_that_leaves() {
    let mut cluster = Cluster::new();
    cluster.ok(move_all(&cluster, OTHER));
    assert_eq!(cluster.image.moving().count(), 2);
    cluster.ok(DrainBroker { node: OTHER, for_good: false });
    assert_eq!(cluster.image.moving().count(), 0, "what was on its way stays");
    let asked = move_all(&cluster, OTHER);
    assert_eq!(cluster.refused(asked), Rejection::BrokerLeaving { node: OTHER });
    let topic = cluster.topic("t");
    let stays = MovePartition { topic, index: 2, to: Some(OTHER), replicas: Some(vec![OTHER]) };
    cluster.ok(MovePartitions { moves: vec![stays] });
}

#[test]
fn a_node_is_forgotten_when_nothing_of_it_is_left() {
    let mut cluster = Cluster::new();
    cluster.commit(vec![range(cluster.data(0), 0, 10)]);
    let disk = DiskId(Uuid::from_u128(5));
    let mirror = SegmentMember { node: NODE, disk };
    cluster.ok(OpenSegment {
        node: OTHER,
        broker_epoch: cluster.epoch(OTHER),
        disk,
        members: vec![mirror],
        needed: 0,
    });
    let copied = SegmentId::from(cluster.image.applied());
    let own =
        OpenSegment { node: NODE, broker_epoch: cluster.epoch(NODE), disk, members: Vec::new(), needed: 0 };
    cluster.ok(own);
    let resource = ConfigResource::Broker(Some(NODE));
    let changes = vec![("log.retention.ms".to_owned(), Some("1".to_owned()))];
    cluster.ok(AlterConfigs { resource: resource.clone(), changes });
    let (topic, forget) = (cluster.topic("t"), UnregisterBroker { node: NODE });
    let wish = |index, replicas: &[NodeId]| MovePartition {
        topic,
        index,
        to: None,
        replicas: Some(replicas.to_vec()),
    };
    cluster.ok(MovePartitions { moves: vec![wish(0, &[NODE, OTHER]), wish(1, &[NODE])] });

    let in_use = |cluster: &mut Cluster, word: &str| {
        let rejection = cluster.refused(forget.clone());
        assert!(
            matches!(&rejection, Rejection::BrokerInUse { reason, .. } if reason.contains(word)),
            "{rejection}"
        );
    };
    in_use(&mut cluster, "not drained for good");
    cluster.ok(DrainBroker { node: NODE, for_good: true });
    in_use(&mut cluster, "leads 2 partitions");
    cluster.ok(move_all(&cluster, OTHER));
    hand_over(&mut cluster);
    in_use(&mut cluster, "has a copy on it");
    cluster.ok(CloseSegment { segment: copied, node: OTHER, broker_epoch: cluster.epoch(OTHER), end_lsn: 9 });
    cluster.ok(ReleaseSegment { segment: copied, node: OTHER, broker_epoch: cluster.epoch(OTHER) });
    let epoch = cluster.epoch(NODE);
    cluster.ok(forget.clone());
    cluster.ok(forget.clone());

    assert_eq!(cluster.image.broker(NODE), None);
    assert_eq!(cluster.image.segments().count(), 0);
    assert_eq!(cluster.image.configs(&resource), None);
    assert_eq!(cluster.image.assigned_replicas(topic, 0), Some(&[OTHER][..]));
    assert_eq!(cluster.image.assigned_replicas(topic, 1), None);
    let stale = AllocateProducerIds { node: NODE, broker_epoch: epoch, count: 1 };
    assert_eq!(cluster.refused(stale), Rejection::UnknownBroker { node: NODE });
    assert_eq!(cluster.refused(register(NODE, 5)), Rejection::Decommissioned { node: NODE });
    let decoded = decode_snapshot(&encode_snapshot(&cluster.image)).unwrap();
    assert_eq!(decoded, cluster.image);
    cluster.ok(ResumeBroker { node: NODE });
    cluster.ok(register(NODE, 5));
    assert_eq!(leaving(&cluster, NODE), None);
}

#[test]
fn a_dead_brokers_mirrored_segments_keep_it_in_memory() {
    let mut cluster = Cluster::new();
    let (broker_epoch, disk) = (cluster.epoch(OTHER), DiskId(Uuid::from_u128(5)));
    let members = vec![SegmentMember { node: NODE, disk }];
    cluster.ok(OpenSegment { node: OTHER, broker_epoch, disk, members, needed: 0 });
    cluster.ok(FenceBroker { node: OTHER, broker_epoch });
    let left = cluster.image.left_of(OTHER);
    assert!(left.iter().any(|reason| reason.contains("its takeover is not over: WAL segments")), "{left:?}");
    assert!(left.iter().any(|reason| reason == "it leads 1 partition"), "{left:?}");
}
