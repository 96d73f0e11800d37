//! Which partitions change their leader so that each broker leads its share.

use std::collections::BTreeMap;

use aquifer_image::{Image, MovePartition, Partition};
use aquifer_types::{NodeId, TopicId};

use crate::placement::may_lead;

/// Partitions that move in one round: the next one sees what came of it.
pub const MAX_MOVES_PER_ROUND: usize = 1_000;

/// Partitions of one broker that may move, by topic.
type Share = BTreeMap<TopicId, Vec<i32>>;

/// Moves that bring the cluster closer to balance, none while others are under way.
///
/// A partition with replicas that a user assigned goes to the first of them that is alive and not leaving, as Kafka's
/// automatic election of preferred leaders does. All others are spread by number: no broker leads more than one above
/// another. Of those that may move between two brokers the ones go whose topic is spread worst between the two.
pub fn balance(image: &Image) -> Vec<MovePartition> {
    let mut shares: BTreeMap<NodeId, Share> = BTreeMap::new();
    let mut loads: BTreeMap<NodeId, usize> = image
        .brokers()
        .filter(|broker| may_lead(broker))
        .map(|broker| (broker.node, image.led_count(broker.node)))
        .collect();
    if loads.len() < 2 || image.moving().next().is_some() {
        return Vec::new();
    }
    let mut moves = Vec::new();
    let mut of_topic: BTreeMap<(NodeId, TopicId), usize> = BTreeMap::new();
    let nodes: Vec<NodeId> = loads.keys().copied().collect();
    for node in nodes {
        for (topic, index) in image.led_by(node) {
            match preferred(image, topic, index, &loads) {
                Some(to) if to != node => {
                    shift(&mut loads, node, to);
                    moves.push(MovePartition { topic, index, to: Some(to), replicas: None });
                }
                Some(_) => {}
                None => {
                    shares.entry(node).or_default().entry(topic).or_default().push(index);
                    *of_topic.entry((node, topic)).or_default() += 1;
                }
            }
        }
    }
    while moves.len() < MAX_MOVES_PER_ROUND {
        let Some((from, to)) = furthest_apart(&loads, &shares) else { break };
        let share = shares.get_mut(&from).expect("it was chosen for having some");
        let (topic, index) = take_worst(share, from, to, &of_topic);
        shift(&mut loads, from, to);
        *of_topic.entry((from, topic)).or_default() -= 1;
        *of_topic.entry((to, topic)).or_default() += 1;
        moves.push(MovePartition { topic, index, to: Some(to), replicas: None });
    }
    moves.truncate(MAX_MOVES_PER_ROUND);
    moves
}

/// Takes a partition of the topic of which `from` leads the most above what `to` leads. The share is not empty.
fn take_worst(
    share: &mut Share,
    from: NodeId,
    to: NodeId,
    of_topic: &BTreeMap<(NodeId, TopicId), usize>,
) -> (TopicId, i32) {
    let led = |node, topic| of_topic.get(&(node, topic)).copied().unwrap_or(0).cast_signed();
    let excess = |topic: &TopicId| led(from, *topic) - led(to, *topic);
    let topic = *share.keys().max_by_key(|topic| excess(topic)).expect("not empty");
    let indexes = share.get_mut(&topic).expect("just found");
    let index = indexes.pop().expect("empty ones are removed");
    if indexes.is_empty() {
        share.remove(&topic);
    }
    (topic, index)
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
    shares: &BTreeMap<NodeId, Share>,
) -> Option<(NodeId, NodeId)> {
    let gives = |node: &NodeId| shares.get(node).is_some_and(|share| !share.is_empty());
    let (from, most) = loads.iter().filter(|(node, _)| gives(node)).max_by_key(|(_, led)| **led)?;
    let (to, least) = loads.iter().min_by_key(|(_, led)| **led)?;
    (*most > least + 1).then_some((*from, *to))
}

#[cfg(test)]
mod tests {
    use aquifer_image::{CreateTopic, DrainBroker, FenceBroker, HandOver, HandedOver, MovePartitions};
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
    fn a_newcomer_gets_its_share_of_each_topic() {
        let mut image = with_topic(3, &[1, 2, 1, 2, 1, 2]);
        let create = CreateTopic {
            name: "u".to_owned(),
            id: TopicId(Uuid::from_u128(4)),
            replication_factor: 1,
            configs: Vec::new(),
            leaders: [2, 1, 2, 1, 2, 1].map(NodeId).to_vec(),
        };
        apply(&mut image, create);
        let moves = balance(&image);
        let of_first = moves.iter().filter(|one| one.topic == TOPIC).count();
        assert_eq!((moves.len(), of_first), (4, 2));
        assert!(moves.iter().all(|one| one.to == Some(NodeId(3))));
        apply(&mut image, MovePartitions { moves });
        carry_out(&mut image);
        assert_eq!(counts(&image, 3), [4, 4, 4]);
    }

    #[test]
    fn who_leaves_gets_nothing() {
        let mut image = with_topic(3, &[1, 1, 1, 1]);
        apply(&mut image, DrainBroker { node: NodeId(3), for_good: false });
        let moves = balance(&image);
        assert!(moves.len() == 2 && moves.iter().all(|one| one.to == Some(NodeId(2))), "{moves:?}");
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
