//! Which partitions change their leader so that each broker leads its share.

use std::collections::BTreeMap;

use aquifer_image::{Image, MovePartition, Partition};
use aquifer_types::{NodeId, TopicId};

use crate::placement::may_lead;

/// Partitions that move in one round: the next one sees what came of it.
pub const MAX_MOVES_PER_ROUND: usize = 1_000;

/// Moves that bring the cluster closer to balance, none while others are under way.
///
/// A partition with replicas that a user assigned goes to the first of them that is alive, as Kafka's automatic election
/// of preferred leaders does. All others are spread by number: no broker leads more than one above another.
pub fn balance(image: &Image) -> Vec<MovePartition> {
    let mut shares: BTreeMap<NodeId, Vec<(TopicId, i32)>> = BTreeMap::new();
    let mut loads: BTreeMap<NodeId, usize> = image
        .brokers()
        .filter(|broker| may_lead(broker))
        .map(|broker| (broker.node, image.led_count(broker.node)))
        .collect();
    if loads.len() < 2 || image.moving().next().is_some() {
        return Vec::new();
    }
    let mut moves = Vec::new();
    let nodes: Vec<NodeId> = loads.keys().copied().collect();
    for node in nodes {
        for (topic, index) in image.led_by(node) {
            match preferred(image, topic, index, &loads) {
                Some(to) if to != node => {
                    shift(&mut loads, node, to);
                    moves.push(MovePartition { topic, index, to: Some(to), replicas: None });
                }
                Some(_) => {}
                None => shares.entry(node).or_default().push((topic, index)),
            }
        }
    }
    while moves.len() < MAX_MOVES_PER_ROUND {
        let Some((from, to)) = furthest_apart(&loads, &shares) else { break };
        let (topic, index) = shares.get_mut(&from).and_then(Vec::pop).expect("it was chosen for having some");
        shift(&mut loads, from, to);
        moves.push(MovePartition { topic, index, to: Some(to), replicas: None });
    }
    moves.truncate(MAX_MOVES_PER_ROUND);
    moves
}

/// Where a user wants the partition, as far as that can be had.
fn preferred(image: &Image, topic: TopicId, index: i32, loads: &BTreeMap<NodeId, usize>) -> Option<NodeId> {
    let assigned = image.assigned_replicas(topic, index)?;
    let leader = image.partition(topic, index).and_then(|partition: &Partition| partition.leader);
    assigned.iter().copied().find(|node| loads.contains_key(node)).or(leader)
}

fn shift(loads: &mut BTreeMap<NodeId, usize>, from: NodeId, to: NodeId) {
    loads.entry(from).and_modify(|led| *led -= 1);
    loads.entry(to).and_modify(|led| *led += 1);
}

/// The broker that leads the most and can give something away, and the one that leads the fewest, if a partition moving
/// between them makes both more equal.
fn furthest_apart(
    loads: &BTreeMap<NodeId, usize>,
    shares: &BTreeMap<NodeId, Vec<(TopicId, i32)>>,
) -> Option<(NodeId, NodeId)> {
    let gives = |node: &NodeId| shares.get(node).is_some_and(|share| !share.is_empty());
    let (from, most) = loads.iter().filter(|(node, _)| gives(node)).max_by_key(|(_, led)| **led)?;
    let (to, least) = loads.iter().min_by_key(|(_, led)| **led)?;
    (*most > least + 1).then_some((*from, *to))
}

#[cfg(test)]
mod tests {
    use aquifer_image::{CreateTopic, FenceBroker, HandOver, HandedOver, MovePartitions};
    use uuid::Uuid;

    use super::*;
    use crate::placement::tests::{apply, cluster_of};

    const TOPIC: TopicId = TopicId(Uuid::from_u128(3));

    fn with_topic(nodes: u32, leaders: &[u32]) -> Image {
        let mut image = cluster_of(nodes);
        let create = CreateTopic {
            name: "t".to_owned(),
            id: TOPIC,
            replication_factor: 1,
            configs: Vec::new(),
            leaders: leaders.iter().copied().map(NodeId).collect(),
        };
        apply(&mut image, create);
        image
    }

    /// Every broker hands over what it is asked to.
    fn carry_out(image: &mut Image) {
        let moving: Vec<_> = image.moving().map(|(key, _)| key).collect();
        for (topic, index) in moving {
            let partition = *image.partition(topic, index).expect("it moves");
            let node = partition.leader.expect("it is led");
            let broker_epoch = image.broker_epoch(node).expect("registered");
            let asked_at = partition.moving.expect("it moves").asked_at;
            let partitions = vec![HandedOver { topic, index, asked_at, end: 0 }];
            apply(image, HandOver { node, broker_epoch, partitions });
        }
    }

    fn counts(image: &Image, nodes: u32) -> Vec<usize> {
        (1..=nodes).map(|node| image.led_count(NodeId(node))).collect()
    }

    #[test]
    fn a_broker_that_came_back_gets_its_share_and_then_there_is_peace() {
        let mut image = with_topic(3, &[1, 1, 1, 1, 2, 2, 2]);
        let moves = balance(&image);
        apply(&mut image, MovePartitions { moves });
        assert_eq!(balance(&image), Vec::new(), "not while others move");
        carry_out(&mut image);
        assert_eq!(counts(&image, 3), [3, 2, 2]);
        assert_eq!(balance(&image), Vec::new());
    }

    #[test]
    fn assigned_replicas_are_where_the_user_wants_them() {
        let mut image = with_topic(3, &[2, 2, 2]);
        let wish = |index, replicas: &[u32]| MovePartition {
            topic: TOPIC,
            index,
            to: None,
            replicas: Some(replicas.iter().copied().map(NodeId).collect()),
        };
        apply(&mut image, MovePartitions { moves: (0..3).map(|index| wish(index, &[1, 3])).collect() });
        let moves = balance(&image);
        apply(&mut image, MovePartitions { moves });
        carry_out(&mut image);
        assert_eq!(counts(&image, 3), [3, 0, 0]);
        assert_eq!(balance(&image), Vec::new(), "no count overrules a user");
        let broker_epoch = image.broker_epoch(NodeId(1)).expect("registered");
        apply(&mut image, FenceBroker { node: NodeId(1), broker_epoch });
        assert_eq!(balance(&image), Vec::new(), "who is dead hands nothing over");
    }

    #[test]
    fn alone_there_is_nothing_to_balance() {
        assert_eq!(balance(&with_topic(1, &[1, 1])), Vec::new());
    }
}
