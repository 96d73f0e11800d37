use aquifer_image::*;
use aquifer_types::{BrokerEpoch, LeaderEpoch, LogIndex, NodeId, TopicId};
use uuid::Uuid;

use crate::fixture::{Cluster, NODE, OTHER, range};

/// Many moves, of one.
fn only(asked: MovePartition) -> MovePartitions {
    MovePartitions { moves: vec![asked] }
}

fn ask(cluster: &Cluster, to: Option<NodeId>) -> MovePartition {
    MovePartition { topic: cluster.topic("t"), index: 0, to, replicas: None }
}

fn hand_over(cluster: &Cluster, end: u64) -> HandOver {
    let asked_at = cluster.partition("t", 0).moving.map_or(LogIndex(0), |moving| moving.asked_at);
    let partitions = vec![HandedOver { topic: cluster.topic("t"), index: 0, asked_at, end }];
    HandOver { node: NODE, broker_epoch: cluster.epoch(NODE), partitions }
}

fn kept(cluster: &Cluster) -> Outcome {
    Outcome::HandedOver { kept: vec![(cluster.topic("t"), 0)] }
}

#[test]
fn a_partition_changes_its_leader_when_all_of_it_is_committed() {
    let mut cluster = Cluster::new();
    cluster.commit(vec![range(cluster.data(0), 0, 10)]);
    cluster.ok(only(ask(&cluster, Some(OTHER))));
    assert_eq!(cluster.partition("t", 0).leader, Some(NODE), "it serves until it hands over");
    let more = hand_over(&cluster, 11);
    assert_eq!(cluster.ok(more), kept(&cluster), "offset 10 is only in the WAL");
    let all = hand_over(&cluster, 10);
    assert_eq!(cluster.ok(all.clone()), Outcome::HandedOver { kept: Vec::new() });
    let partition = cluster.partition("t", 0);
    assert_eq!((partition.leader, partition.leader_epoch), (Some(OTHER), LeaderEpoch(1)));
    assert_eq!(partition.moving, None);
    assert!(cluster.image.led_by(OTHER).any(|key| key == (cluster.topic("t"), 0)));
    assert_eq!(cluster.ok(all), kept(&cluster), "there is nothing more to give");
    let stale = cluster.prepare();
    let stale = cluster.commit_of(stale, vec![range(cluster.data(0), 10, 11)]);
    assert!(matches!(cluster.refused(stale), Rejection::NotStreamLeader { .. }));
}

#[test]
fn a_late_answer_is_not_the_answer_to_another_move() {
    let mut cluster = Cluster::new();
    cluster.ok(only(ask(&cluster, Some(OTHER))));
    let late = hand_over(&cluster, 0);
    cluster.ok(only(ask(&cluster, Some(OTHER))));
    assert_eq!(hand_over(&cluster, 0), late, "the same wish again is the same move");
    cluster.ok(only(ask(&cluster, None)));
    assert_eq!(cluster.ok(late.clone()), kept(&cluster), "it was withdrawn");
    cluster.ok(only(ask(&cluster, Some(OTHER))));
    assert_eq!(cluster.ok(late), kept(&cluster), "it was asked for anew");
    assert_eq!(cluster.partition("t", 0).leader, Some(NODE));
}

#[test]
fn a_move_to_the_leader_is_none() {
    let mut cluster = Cluster::new();
    let replicas = Some(vec![NODE, OTHER]);
    cluster.ok(only(MovePartition { replicas, ..ask(&cluster, Some(NODE)) }));
    assert_eq!(cluster.partition("t", 0).moving, None);
    assert_eq!(cluster.image.assigned_replicas(cluster.topic("t"), 0), Some(&[NODE, OTHER][..]));
    cluster.ok(cluster.delete_topic("t"));
    assert_eq!(cluster.image.moving().count(), 0);
}

#[test]
fn what_does_not_exist_neither_moves_nor_is_moved_to() {
    let mut cluster = Cluster::new();
    let unknown = TopicId(Uuid::from_u128(99));
    let topic = MovePartition { topic: unknown, ..ask(&cluster, Some(OTHER)) };
    assert_eq!(cluster.refused(only(topic)), Rejection::UnknownTopicId { id: unknown });
    let index = MovePartition { index: 9, ..ask(&cluster, Some(OTHER)) };
    assert!(matches!(cluster.refused(only(index)), Rejection::UnknownPartition { index: 9, .. }));
    let node = NodeId(9);
    assert_eq!(cluster.refused(only(ask(&cluster, Some(node)))), Rejection::UnknownBroker { node });
    let replicas = MovePartition { replicas: Some(vec![NODE, node]), ..ask(&cluster, Some(OTHER)) };
    assert_eq!(cluster.refused(only(replicas)), Rejection::UnknownBroker { node });
    let stale = HandOver { broker_epoch: BrokerEpoch(1_000), ..hand_over(&cluster, 0) };
    assert!(matches!(cluster.refused(stale), Rejection::StaleBrokerEpoch { .. }));
}

#[test]
fn moves_and_assignments_survive_a_snapshot() {
    let mut cluster = Cluster::new();
    cluster.ok(only(MovePartition { replicas: Some(vec![OTHER, NODE]), ..ask(&cluster, Some(OTHER)) }));
    let decoded = decode_snapshot(&encode_snapshot(&cluster.image)).unwrap();
    assert_eq!(decoded, cluster.image);
}
