use aquifer_image::*;
use aquifer_types::{BrokerEpoch, ClusterId, LeaderEpoch, NodeId, ProducerId};
use uuid::Uuid;

use crate::fixture::{Cluster, NODE, OTHER, register};

#[test]
fn nothing_is_possible_before_the_bootstrap() {
    let mut image = Image::new();
    let answer = image.apply(image.applied().next(), &register(NODE, 1).into());
    assert_eq!(answer, Err(Rejection::NotBootstrapped));
    assert_eq!(image.cluster_id(), None);
}

#[test]
fn a_cluster_id_is_set_once() {
    let mut cluster = Cluster::new();
    let present = cluster.image.cluster_id().unwrap();
    assert_eq!(cluster.ok(Bootstrap { cluster_id: present }), Outcome::Done);
    let asked = ClusterId(Uuid::from_u128(8));
    let other = cluster.refused(Bootstrap { cluster_id: asked });
    assert_eq!(other, Rejection::OtherCluster { present, asked });
}

#[test]
fn a_broker_epoch_is_the_index_of_its_registration() {
    let mut cluster = Cluster::new();
    let next = cluster.image.applied().next();
    let outcome = cluster.ok(register(NODE, 2));
    assert_eq!(outcome, Outcome::BrokerRegistered { epoch: BrokerEpoch::from(next) });
    assert_eq!(cluster.epoch(NODE), BrokerEpoch::from(next));
}

#[test]
fn a_new_process_raises_the_leader_epoch_of_what_its_node_leads() {
    let mut cluster = Cluster::new();
    cluster.ok(register(NODE, 2));
    let epochs = [0, 1, 2].map(|index| cluster.partition("t", index).leader_epoch);
    assert_eq!(epochs, [LeaderEpoch(1), LeaderEpoch(1), LeaderEpoch(0)]);
    assert_eq!(cluster.partition("t", 0).leader, Some(NODE));
}

#[test]
fn a_retried_registration_keeps_the_epoch() {
    let mut cluster = Cluster::new();
    let epoch = cluster.epoch(NODE);
    let moved = RegisterBroker { rack: Some("r2".to_owned()), ..register(NODE, 1) };
    assert_eq!(cluster.ok(moved), Outcome::BrokerRegistered { epoch });
    assert_eq!(cluster.partition("t", 0).leader_epoch, LeaderEpoch(0));
    assert_eq!(cluster.image.broker(NODE).unwrap().rack.as_deref(), Some("r2"));
}

#[test]
fn the_superseded_process_is_refused_everything() {
    let mut cluster = Cluster::new();
    let given = cluster.epoch(NODE);
    let object = cluster.prepare();
    cluster.ok(register(NODE, 2));
    let present = cluster.epoch(NODE);
    let node = NODE;
    let (broker_epoch, now_ms) = (given, 0);
    let disk = aquifer_types::DiskId::ZERO;
    let old: [Command; 5] = [
        AllocateProducerIds { node, broker_epoch, count: 1 }.into(),
        OpenSegment { node, broker_epoch, disk, members: Vec::new(), needed: 0 }.into(),
        PrepareObjects { node, broker_epoch, count: 1, now_ms, time_limit_ms: 1 }.into(),
        CommitObject { node, broker_epoch, object, size_bytes: 1, now_ms, ranges: Vec::new() }.into(),
        TrimStreams { node, broker_epoch, now_ms, trims: Vec::new() }.into(),
    ];
    for command in old {
        assert_eq!(cluster.refused(command), Rejection::StaleBrokerEpoch { node, given, present });
    }
    // Nor may the new process commit what the old one was uploading.
    let takeover = cluster.commit_of(object, Vec::new());
    let foreign = Rejection::ForeignObject { object, owner: node, owner_epoch: given };
    assert_eq!(cluster.refused(takeover), foreign);
}

#[test]
fn a_fenced_broker_is_refused_until_its_node_registers_anew() {
    let mut cluster = Cluster::new();
    let (node, broker_epoch) = (NODE, cluster.epoch(NODE));
    let fence = FenceBroker { node, broker_epoch };
    cluster.ok(fence.clone());
    let at = cluster.image.applied();
    assert_eq!(cluster.image.broker(NODE).and_then(|broker| broker.fenced), Some(at));
    cluster.ok(fence.clone());
    assert_eq!(cluster.image.broker(NODE).and_then(|broker| broker.fenced), Some(at), "once");

    let fenced = Rejection::BrokerFenced { node, at };
    assert_eq!(cluster.refused(AllocateProducerIds { node, broker_epoch, count: 1 }), fenced);
    assert_eq!(cluster.refused(register(NODE, 1)), fenced, "the same process stays dead");

    cluster.ok(register(NODE, 2));
    assert!(cluster.image.broker(NODE).is_some_and(Broker::is_live));
    assert!(matches!(cluster.refused(fence), Rejection::StaleBrokerEpoch { .. }), "it came back");
}

#[test]
fn a_registration_needs_an_endpoint_and_a_node_id_that_kafka_can_carry() {
    let mut cluster = Cluster::new();
    let mute = RegisterBroker { endpoints: Vec::new(), ..register(NODE, 2) };
    assert!(matches!(cluster.refused(mute), Rejection::InvalidRegistration { node: NODE, .. }));
    let huge = cluster.refused(register(NodeId(u32::MAX), 1));
    assert!(huge.to_string().ends_with("a node id is at most 2147483647"), "{huge}");
}

#[test]
fn producer_ids_are_handed_out_once() {
    let mut cluster = Cluster::new();
    let ask = |cluster: &Cluster, node, count| AllocateProducerIds {
        node,
        broker_epoch: cluster.epoch(node),
        count,
    };
    let first = ask(&cluster, NODE, 1_000);
    assert_eq!(cluster.ok(first), Outcome::ProducerIds { first: ProducerId(0), count: 1_000 });
    let second = ask(&cluster, OTHER, 10);
    assert_eq!(cluster.ok(second), Outcome::ProducerIds { first: ProducerId(1_000), count: 10 });
    assert_eq!(cluster.image.next_producer(), ProducerId(1_010));
    for count in [0, MAX_PRODUCER_IDS_PER_BLOCK + 1] {
        let outside = ask(&cluster, NODE, count);
        assert!(matches!(cluster.refused(outside), Rejection::OutOfLimits { .. }));
    }
}

#[test]
#[should_panic(expected = "entry 3 applied after entry 4")]
fn a_log_that_is_replayed_out_of_order_stops_the_process() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.image.applied().get(), 4);
    cluster.image.advance(aquifer_types::LogIndex(3));
}
