//! Which brokers lead new partitions.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use aquifer_image::{Broker, Image, MAX_PARTITIONS_PER_TOPIC};
use aquifer_types::NodeId;

/// Partitions cannot be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Nobody can lead a partition.
    #[error("no broker is alive that could lead a partition")]
    NoBroker,
    /// More partitions than a topic can have: refused before anything is sized by the number.
    #[error("{count} partitions were asked for, a topic has at most {MAX_PARTITIONS_PER_TOPIC}")]
    TooMany {
        /// The number asked for.
        count: usize,
    },
}

/// Leaders for `count` new partitions: each goes to the live broker that leads the fewest, the lowest node id
/// first; so in a balanced cluster they go round.
pub fn place(image: &Image, count: usize) -> Result<Vec<NodeId>, PlaceError> {
    if count > MAX_PARTITIONS_PER_TOPIC {
        return Err(PlaceError::TooMany { count });
    }
    let able = image.brokers().filter(|broker| may_lead(broker));
    let mut brokers: BinaryHeap<_> =
        able.map(|broker| Reverse((image.led_count(broker.node), broker.node))).collect();
    let mut leaders = Vec::with_capacity(count);
    for _ in 0..count {
        let Some(mut least) = brokers.peek_mut() else { return Err(PlaceError::NoBroker) };
        let Reverse((led, node)) = &mut *least;
        *led += 1;
        leaders.push(*node);
    }
    Ok(leaders)
}

/// Whether partitions may be given to a broker.
pub(crate) fn may_lead(broker: &Broker) -> bool {
    broker.takes_more()
}

#[cfg(test)]
pub(crate) mod tests {
    use aquifer_image::{
        Bootstrap, Command, CreateTopic, DrainBroker, Endpoint, FenceBroker, RegisterBroker, SecurityProtocol,
    };
    use aquifer_types::{ClusterId, TopicId};
    use uuid::Uuid;

    use super::*;

    pub(crate) fn cluster_of(nodes: u32) -> Image {
        let mut image = Image::new();
        apply(&mut image, Bootstrap { cluster_id: ClusterId(Uuid::from_u128(1)) });
        for node in (1..=nodes).map(NodeId) {
            let endpoint = Endpoint {
                listener: "PLAINTEXT".to_owned(),
                host: "localhost".to_owned(),
                port: 9092,
                security: SecurityProtocol::Plaintext,
            };
            let incarnation = Uuid::from_u128(node.get().into());
            apply(&mut image, RegisterBroker { node, incarnation, endpoints: vec![endpoint], rack: None });
        }
        image
    }

    pub(crate) fn apply(image: &mut Image, command: impl Into<Command>) {
        image.apply(image.applied().next(), &command.into()).expect("the test's commands are valid");
    }

    fn create(image: &mut Image, name: &str, leaders: &[u32]) {
        let leaders = leaders.iter().copied().map(NodeId).collect();
        let id = TopicId(Uuid::from_u128(image.applied().get().into()));
        let name = name.to_owned();
        apply(image, CreateTopic { name, id, replication_factor: 1, configs: Vec::new(), leaders });
    }

    fn nodes(leaders: Result<Vec<NodeId>, PlaceError>) -> Vec<u32> {
        leaders.expect("there are brokers").into_iter().map(NodeId::get).collect()
    }

    #[test]
    fn what_cannot_be_placed_is_refused() {
        assert_eq!(place(&cluster_of(0), 1), Err(PlaceError::NoBroker));
        assert_eq!(place(&cluster_of(1), usize::MAX), Err(PlaceError::TooMany { count: usize::MAX }));
    }

    #[test]
    fn partitions_go_round_over_equal_brokers() {
        assert_eq!(nodes(place(&cluster_of(3), 7)), [1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn a_broker_that_is_fenced_or_leaves_gets_nothing() {
        let mut image = cluster_of(3);
        let broker_epoch = image.broker_epoch(NodeId(2)).expect("registered");
        apply(&mut image, FenceBroker { node: NodeId(2), broker_epoch });
        assert_eq!(nodes(place(&image, 4)), [1, 3, 1, 3]);
        apply(&mut image, DrainBroker { node: NodeId(3), for_good: false });
        assert_eq!(nodes(place(&image, 2)), [1, 1]);
    }

    #[test]
    fn the_broker_that_leads_least_comes_first() {
        let mut image = cluster_of(3);
        create(&mut image, "busy", &[1, 1, 3]);
        assert_eq!(nodes(place(&image, 4)), [2, 2, 3, 1]);
    }
}
