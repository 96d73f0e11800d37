//! Where the partitions of a broker go that shall lead none.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use aquifer_image::{Image, MAX_MOVES_PER_COMMAND, MovePartition};
use aquifer_types::NodeId;

use crate::placement::{PlaceError, may_lead};

/// Moves for what `node` leads and is not moving yet: each partition goes to the broker that then leads the fewest.
/// At most as many as one command takes; ask again after they were proposed.
///
/// # Errors
/// There is no other broker that could lead.
pub fn evacuate(image: &Image, node: NodeId) -> Result<Vec<MovePartition>, PlaceError> {
    let others = image.brokers().filter(|broker| broker.node != node && may_lead(broker));
    let mut others: BinaryHeap<_> =
        others.map(|broker| Reverse((coming(image, broker.node), broker.node))).collect();
    let stays = image.led_by(node).filter(|(topic, index)| {
        image.partition(*topic, *index).is_some_and(|partition| partition.moving.is_none())
    });
    let mut moves = Vec::new();
    for (topic, index) in stays.take(MAX_MOVES_PER_COMMAND) {
        let Some(mut least) = others.peek_mut() else { return Err(PlaceError::NoBroker) };
        let Reverse((led, to)) = &mut *least;
        *led += 1;
        moves.push(MovePartition { topic, index, to: Some(*to), replicas: None });
    }
    Ok(moves)
}

/// What a broker leads, and what is on its way to it.
fn coming(image: &Image, node: NodeId) -> usize {
    image.led_count(node) + image.moving().filter(|(_, to)| *to == node).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aquifer_image::{CreateTopic, FenceBroker, MovePartitions};
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
    fn nobody_takes_over_for_a_fenced_or_missing_broker() {
        let mut image = with_topic(2, &[1]);
        let broker_epoch = image.broker_epoch(NodeId(2)).expect("registered");
        apply(&mut image, FenceBroker { node: NodeId(2), broker_epoch });
        assert_eq!(evacuate(&image, NodeId(1)), Err(PlaceError::NoBroker));
        assert_eq!(evacuate(&image, NodeId(2)), Ok(Vec::new()), "it leads nothing");
    }
}
