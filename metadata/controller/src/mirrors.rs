//! Which brokers mirror a WAL segment, and which lead what a dead broker led.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use aquifer_image::{Broker, Image, Leaving, SegmentMember};
use aquifer_types::{NodeId, TopicId};

/// Up to `count` mirrors for a segment of `owner`, none of them in `without` or drained: in as many racks as there are, and
/// where the fewest segments are mirrored; who is stopping comes last.
pub fn mirrors(image: &Image, owner: NodeId, count: usize, without: &[NodeId]) -> Vec<SegmentMember> {
    let mut load = BTreeMap::<NodeId, usize>::new();
    for member in image.segments().flat_map(|segment| &segment.members) {
        *load.entry(member.node).or_default() += 1;
    }
    let mut candidates: Vec<_> = image
        .brokers()
        .filter(|broker| broker.node != owner && !without.contains(&broker.node))
        .filter_map(|broker| Some((broker, offered(broker)?)))
        .collect();
    let mut racks: BTreeSet<Option<&str>> = BTreeSet::new();
    racks.extend(image.broker(owner).map(|broker| broker.rack.as_deref()));
    let mut chosen = Vec::new();
    while chosen.len() < count && !candidates.is_empty() {
        let cost = |(broker, _): &(&Broker, SegmentMember)| {
            let rack = broker.rack.as_deref();
            let shared = rack.is_none() || racks.contains(&rack);
            (broker.leaving.is_some(), shared, load.get(&broker.node).copied().unwrap_or(0), broker.node)
        };
        let best = (0..candidates.len()).min_by_key(|at| cost(&candidates[*at])).expect("not empty");
        let (broker, member) = candidates.swap_remove(best);
        racks.insert(broker.rack.as_deref());
        chosen.push(member);
    }
    chosen
}

/// Whether a mirror that was chosen may go on: its broker lives, was not drained, and keeps copies on the same disk.
pub fn may_mirror(image: &Image, member: &SegmentMember) -> bool {
    image.broker(member.node).and_then(offered) == Some(*member)
}

/// The place that a broker has for copies of others' segments. One whose process is stopping is still of use, as when all
/// of them stop: what it has goes when its link ends.
fn offered(broker: &Broker) -> Option<SegmentMember> {
    let may = broker.is_live() && broker.leaving.is_none_or(|leaving| leaving == Leaving::Stop);
    let disk = broker.mirror_disk.filter(|_| may)?;
    Some(SegmentMember { node: broker.node, disk })
}

/// The next leader of each partition that `owner` leads: brokers that live, those that lead the fewest first. Empty if
/// there is none.
pub fn successors(image: &Image, owner: NodeId) -> Vec<(TopicId, i32, NodeId)> {
    let mut brokers: BinaryHeap<_> = image
        .brokers()
        .filter(|broker| broker.node != owner && crate::placement::may_lead(broker))
        .map(|broker| Reverse((image.led_count(broker.node), broker.node)))
        .collect();
    let mut successors = Vec::new();
    for (topic, partition) in image.led_by(owner) {
        let Some(mut least) = brokers.peek_mut() else { break };
        let Reverse((led, node)) = &mut *least;
        *led += 1;
        successors.push((topic, partition, *node));
    }
    successors
}

#[cfg(test)]
mod tests {
    use aquifer_image::{
        Bootstrap, Command, CreateTopic, DrainBroker, Endpoint, FenceBroker, OfferMirror, OpenSegment,
        RegisterBroker, SecurityProtocol, StopBroker,
    };
    use aquifer_types::{ClusterId, DiskId};
    use uuid::Uuid;

    use super::*;

    fn apply(image: &mut Image, command: impl Into<Command>) {
        image.apply(image.applied().next(), &command.into()).expect("the test's commands are valid");
    }

    /// Brokers 1, 2, … in these racks.
    fn cluster_of(racks: &[&str]) -> Image {
        let mut image = Image::new();
        apply(&mut image, Bootstrap { cluster_id: ClusterId(Uuid::from_u128(1)) });
        for (node, rack) in (1..).map(NodeId).zip(racks) {
            let endpoint = Endpoint {
                listener: "PLAINTEXT".to_owned(),
                host: "localhost".to_owned(),
                port: 9092,
                security: SecurityProtocol::Plaintext,
            };
            let (incarnation, rack) = (Uuid::from_u128(node.get().into()), Some((*rack).to_owned()));
            apply(&mut image, RegisterBroker { node, incarnation, endpoints: vec![endpoint], rack });
            let broker_epoch = image.broker_epoch(node).expect("registered");
            apply(&mut image, OfferMirror { node, broker_epoch, disk: DiskId(incarnation) });
        }
        image
    }

    fn fence(image: &mut Image, node: u32) {
        let node = NodeId(node);
        let broker_epoch = image.broker_epoch(node).expect("registered");
        apply(image, FenceBroker { node, broker_epoch });
    }

    fn nodes(members: &[SegmentMember]) -> Vec<u32> {
        members.iter().map(|member| member.node.get()).collect()
    }

    #[test]
    fn mirrors_are_in_other_racks_first() {
        let image = cluster_of(&["a", "a", "b", "b", "c"]);
        assert_eq!(nodes(&mirrors(&image, NodeId(1), 2, &[])), [3, 5]);
        assert_eq!(nodes(&mirrors(&image, NodeId(1), 2, &[NodeId(5)])), [3, 2]);
        assert_eq!(nodes(&mirrors(&image, NodeId(1), 9, &[])).len(), 4);
    }

    #[test]
    fn who_mirrors_least_comes_first_and_who_is_dead_or_leaves_does_not_come() {
        let mut image = cluster_of(&["a", "a", "a", "a"]);
        let (node, members) = (NodeId(1), mirrors(&image, NodeId(1), 1, &[]));
        let broker_epoch = image.broker_epoch(node).expect("registered");
        apply(&mut image, OpenSegment { node, broker_epoch, disk: DiskId::ZERO, members, needed: 0 });
        assert_eq!(nodes(&mirrors(&image, NodeId(1), 2, &[])), [3, 4]);
        fence(&mut image, 3);
        assert_eq!(nodes(&mirrors(&image, NodeId(1), 2, &[])), [4, 2]);
        let broker_epoch = image.broker_epoch(NodeId(4)).expect("registered");
        apply(&mut image, StopBroker { node: NodeId(4), broker_epoch });
        assert_eq!(nodes(&mirrors(&image, NodeId(1), 2, &[])), [2, 4], "who stops comes last");
        apply(&mut image, DrainBroker { node: NodeId(2), for_good: false });
        assert_eq!(nodes(&mirrors(&image, NodeId(1), 2, &[])), [4]);
    }

    #[test]
    fn partitions_of_a_dead_broker_go_round() {
        let mut image = cluster_of(&["a", "a", "a"]);
        let (id, leaders) = (TopicId(Uuid::from_u128(9)), vec![NodeId(1), NodeId(1), NodeId(2), NodeId(1)]);
        let name = "t".to_owned();
        apply(&mut image, CreateTopic { name, id, replication_factor: 1, configs: Vec::new(), leaders });
        fence(&mut image, 1);
        let moved: Vec<_> = successors(&image, NodeId(1)).iter().map(|(_, p, n)| (*p, n.get())).collect();
        assert_eq!(moved, [(0, 3), (1, 2), (3, 3)]);
        fence(&mut image, 2);
        fence(&mut image, 3);
        assert_eq!(successors(&image, NodeId(1)), []);
    }
}
