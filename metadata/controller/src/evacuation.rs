//! Where the partitions of a broker go that shall lead none.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use aquifer_image::{Image, MAX_MOVES_PER_COMMAND, MovePartition};
use aquifer_types::NodeId;

use crate::placement::{PlaceError, may_lead};

/// Moves for what `node` leads and is not on its way to a broker that can take it. A partition with replicas that a user
/// assigned goes to the first of them that can; any other to the broker that then leads the fewest.
/// At most as many as one command takes; ask again after they were proposed.
///
/// # Errors
/// There is no other broker that could lead.
pub fn evacuate(image: &Image, node: NodeId) -> Result<Vec<MovePartition>, PlaceError> {
    let mut loads = loads_without(image, node);
    let mut least: BinaryHeap<_> = loads.iter().map(|(node, led)| Reverse((*led, *node))).collect();
    let stays = image.led_by(node).filter(|(topic, index)| {
        let moving = image.partition(*topic, *index).and_then(|partition| partition.moving);
        moving.is_none_or(|moving| !can_take(image, moving.to))
    });
    let mut moves = Vec::new();
    for (topic, index) in stays.take(MAX_MOVES_PER_COMMAND) {
        let assigned = image.assigned_replicas(topic, index).unwrap_or_default();
        let to = match assigned.iter().copied().find(|node| loads.contains_key(node)) {
            Some(assigned) => assigned,
            None => least_loaded(&mut least, &loads).ok_or(PlaceError::NoBroker)?,
        };
        let led = loads.get_mut(&to).expect("both ways choose among them");
        *led += 1;
        least.push(Reverse((*led, to)));
        moves.push(MovePartition { topic, index, to: Some(to), replicas: None });
    }
    Ok(moves)
}

fn can_take(image: &Image, node: NodeId) -> bool {
    image.broker(node).is_some_and(may_lead)
}

/// What each of the other brokers leads, and what is on its way to it.
fn loads_without(image: &Image, node: NodeId) -> BTreeMap<NodeId, usize> {
    let others = image.brokers().filter(|broker| broker.node != node && may_lead(broker));
    let mut loads: BTreeMap<_, _> =
        others.map(|broker| (broker.node, image.led_count(broker.node))).collect();
    for (_, to) in image.moving() {
        loads.entry(to).and_modify(|coming| *coming += 1);
    }
    loads
}

/// The heap holds an entry for each count that a broker ever had; only its present one counts.
fn least_loaded(
    least: &mut BinaryHeap<Reverse<(usize, NodeId)>>,
    loads: &BTreeMap<NodeId, usize>,
) -> Option<NodeId> {
    loop {
        let Reverse((led, node)) = least.pop()?;
        if loads.get(&node) == Some(&led) {
            return Some(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aquifer_image::{CreateTopic, DrainBroker, FenceBroker, MovePartitions};
    use aquifer_types::TopicId;
    use uuid::Uuid;

    use super::*;
    use crate::placement::tests::{apply, cluster_of};

    fn with_topic(nodes: u32, leaders: &[u32]) -> Image {
        let mut image = cluster_of(nodes);
        let create = CreateTopic {
            name: "t".to_owned(),
            id: TopicId(Uuid::from_u128(3)),
            replication_factor: 1,
            configs: Vec::new(),
            leaders: leaders.iter().copied().map(NodeId).collect(),
        };
        apply(&mut image, create);
        image
    }

    #[test]
    fn what_one_broker_leads_is_spread_over_the_others() {
        let mut image = with_topic(3, &[1, 1, 1, 1, 1, 2]);
        let moves = evacuate(&image, NodeId(1)).expect("two others live");
        let mut targets = BTreeMap::<_, usize>::new();
        for to in moves.iter().filter_map(|one| one.to) {
            *targets.entry(to).or_default() += 1;
        }
        // Broker 2 leads one already.
        assert_eq!(targets, BTreeMap::from([(NodeId(2), 2), (NodeId(3), 3)]));
        apply(&mut image, MovePartitions { moves });
        assert_eq!(evacuate(&image, NodeId(1)), Ok(Vec::new()), "all of it moves already");
    }

    #[test]
    fn what_was_on_its_way_to_a_broker_that_died_goes_elsewhere() {
        let mut image = with_topic(3, &[1, 1, 3, 3]);
        let moves = evacuate(&image, NodeId(1)).expect("two others live");
        assert!(moves.iter().all(|one| one.to == Some(NodeId(2))));
        apply(&mut image, MovePartitions { moves });
        let broker_epoch = image.broker_epoch(NodeId(2)).expect("registered");
        apply(&mut image, FenceBroker { node: NodeId(2), broker_epoch });
        let moves = evacuate(&image, NodeId(1)).expect("one other lives");
        assert_eq!(moves.len(), 2);
        assert!(moves.iter().all(|one| one.to == Some(NodeId(3))));
    }

    #[test]
    fn assigned_replicas_come_first_and_who_leaves_does_not_come() {
        let mut image = with_topic(4, &[1, 1, 1]);
        let topic = TopicId(Uuid::from_u128(3));
        let replicas = Some([1, 4, 3].map(NodeId).to_vec());
        let wish = |index| MovePartition { topic, index, to: None, replicas: replicas.clone() };
        apply(&mut image, MovePartitions { moves: vec![wish(0), wish(1)] });
        apply(&mut image, DrainBroker { node: NodeId(2), for_good: false });
        let moves = evacuate(&image, NodeId(1)).expect("two others take more");
        let targets: Vec<_> = moves.iter().map(|one| one.to.expect("a target").get()).collect();
        assert_eq!(targets, [4, 4, 3], "two as assigned, then whoever leads the fewest");
    }

    #[test]
    fn nobody_takes_over_for_a_fenced_or_missing_broker() {
        let mut image = with_topic(2, &[1]);
        let broker_epoch = image.broker_epoch(NodeId(2)).expect("registered");
        apply(&mut image, FenceBroker { node: NodeId(2), broker_epoch });
        assert_eq!(evacuate(&image, NodeId(1)), Err(PlaceError::NoBroker));
        assert_eq!(evacuate(&image, NodeId(2)), Ok(Vec::new()), "it leads nothing");
    }
}
