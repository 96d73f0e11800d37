//! When partitions change their leaders without anybody asking for each.

use aquifer_image::{Image, MovePartition};
use aquifer_types::LogIndex;

use crate::balance::balance;
use crate::evacuation::evacuate;

/// The active controller's memory of how long the cluster has been at rest. A new active controller begins a new one.
#[derive(Debug)]
pub struct Rebalance {
    /// How long nothing must have happened before partitions move for balance; `None`: they never do.
    quiet_ms: Option<u64>,
    rest: Option<Rest>,
}

#[derive(Debug, Clone, Copy)]
struct Rest {
    /// When a broker last came, went or changed.
    brokers: LogIndex,
    since_ms: u64,
}

impl Rebalance {
    /// Balances after `quiet_ms` at rest, or never.
    pub fn new(quiet_ms: Option<u64>) -> Self {
        Self { quiet_ms, rest: None }
    }

    /// What shall move now. Brokers that leave come first and do not wait; `now_ms` never goes back.
    pub fn due(&mut self, image: &Image, now_ms: u64) -> Vec<MovePartition> {
        let leaving = image.brokers().filter(|broker| broker.is_live() && broker.leaving.is_some());
        // Without anybody to take them they stay, until somebody comes.
        let moves = leaving.filter_map(|broker| evacuate(image, broker.node).ok());
        if let Some(moves) = moves.into_iter().find(|moves| !moves.is_empty()) {
            self.rest = None;
            return moves;
        }
        let Some(quiet_ms) = self.quiet_ms else { return Vec::new() };
        if !at_rest(image) {
            self.rest = None;
            return Vec::new();
        }
        let brokers = image.changed().brokers;
        let rest = self.rest.filter(|rest| rest.brokers == brokers);
        let rest = *self.rest.insert(rest.unwrap_or(Rest { brokers, since_ms: now_ms }));
        match now_ms.saturating_sub(rest.since_ms) >= quiet_ms {
            true => balance(image),
            false => Vec::new(),
        }
    }
}

/// Nothing moves, and nobody holds partitions who will not keep them: whoever is expected back soon shall find the
/// others as they were.
fn at_rest(image: &Image) -> bool {
    let holds = |node| image.led_count(node) > 0;
    image.moving().next().is_none()
        && image.brokers().all(|broker| broker.takes_more() || !holds(broker.node))
}

#[cfg(test)]
mod tests {
    use aquifer_image::{
        CreateTopic, DrainBroker, FenceBroker, HandOver, HandedOver, MovePartitions, RegisterBroker,
        ResumeBroker,
    };
    use aquifer_types::{NodeId, TopicId};
    use uuid::Uuid;

    use super::*;
    use crate::placement::tests::{apply, cluster_of};

    const QUIET_MS: u64 = 10_000;

    fn cluster(leaders: &[u32]) -> Image {
        let mut image = cluster_of(3);
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

    fn hand_over_all(image: &mut Image) {
        let moving: Vec<_> = image.moving().map(|(key, _)| key).collect();
        for (topic, index) in moving {
            let partition = *image.partition(topic, index).expect("it moves");
            let (node, moving) = (partition.leader.expect("led"), partition.moving.expect("it moves"));
            let broker_epoch = image.broker_epoch(node).expect("registered");
            let partitions = vec![HandedOver { topic, index, asked_at: moving.asked_at, end: 0 }];
            apply(image, HandOver { node, broker_epoch, partitions });
        }
    }

    fn counts(image: &Image) -> [usize; 3] {
        [1, 2, 3].map(|node| image.led_count(NodeId(node)))
    }

    fn register_again(image: &mut Image, node: u32, incarnation: u128) {
        let node = NodeId(node);
        let endpoints = image.broker(node).expect("registered").endpoints.clone();
        let incarnation = Uuid::from_u128(incarnation);
        apply(image, RegisterBroker { node, incarnation, endpoints, rack: None });
    }

    /// Looks every second from `from`; when something moved, carries it out. The moments at which something did.
    fn watch(rebalance: &mut Rebalance, image: &mut Image, from: u64, until: u64) -> Vec<u64> {
        let mut moments = Vec::new();
        for now_ms in (from..until).step_by(1_000) {
            let moves = rebalance.due(image, now_ms);
            if !moves.is_empty() {
                moments.push(now_ms);
                apply(image, MovePartitions { moves });
                hand_over_all(image);
            }
        }
        moments
    }

    #[test]
    fn balance_waits_for_rest_and_then_there_is_peace() {
        let mut image = cluster(&[1, 1, 1, 1, 2, 2]);
        let mut rebalance = Rebalance::new(Some(QUIET_MS));
        assert_eq!(watch(&mut rebalance, &mut image, 0, 100_000), [QUIET_MS]);
        assert_eq!(counts(&image), [2, 2, 2]);
    }

    #[test]
    fn who_leaves_is_emptied_at_once_even_if_balance_is_off() {
        let mut image = cluster(&[1, 1, 2, 2, 3, 3]);
        let mut rebalance = Rebalance::new(None);
        apply(&mut image, DrainBroker { node: NodeId(1), for_good: false });
        assert_eq!(watch(&mut rebalance, &mut image, 0, 60_000), [0]);
        assert_eq!(counts(&image), [0, 3, 3]);
        apply(&mut image, ResumeBroker { node: NodeId(1) });
        assert_eq!(watch(&mut rebalance, &mut image, 60_000, 120_000), []);
    }

    #[test]
    fn a_drain_and_its_end_are_two_events_and_no_more() {
        let mut image = cluster(&[1, 1, 2, 2, 3, 3]);
        let mut rebalance = Rebalance::new(Some(QUIET_MS));
        apply(&mut image, DrainBroker { node: NodeId(1), for_good: false });
        assert_eq!(watch(&mut rebalance, &mut image, 0, 100_000), [0]);
        apply(&mut image, ResumeBroker { node: NodeId(1) });
        assert_eq!(watch(&mut rebalance, &mut image, 100_000, 200_000), [100_000 + QUIET_MS]);
        assert_eq!(counts(&image), [2, 2, 2]);
    }

    #[test]
    fn while_a_dead_broker_is_waited_for_nothing_moves() {
        let mut image = cluster(&[1, 1, 1, 1, 2, 3]);
        let broker_epoch = image.broker_epoch(NodeId(3)).expect("registered");
        apply(&mut image, FenceBroker { node: NodeId(3), broker_epoch });
        let mut rebalance = Rebalance::new(Some(QUIET_MS));
        assert_eq!(watch(&mut rebalance, &mut image, 0, 60_000), []);
        register_again(&mut image, 3, 33);
        assert_eq!(watch(&mut rebalance, &mut image, 60_000, 120_000), [60_000 + QUIET_MS]);
    }

    #[test]
    fn who_restarts_again_and_again_gets_nothing() {
        let mut image = cluster(&[1, 1, 2, 2]);
        let mut rebalance = Rebalance::new(Some(QUIET_MS));
        for turn in 0..20_u64 {
            register_again(&mut image, 3, 100 + u128::from(turn));
            let from = turn * 5_000;
            assert_eq!(watch(&mut rebalance, &mut image, from, from + 5_000), []);
        }
        assert_eq!(watch(&mut rebalance, &mut image, 100_000, 200_000).len(), 1);
    }

    #[test]
    fn a_move_that_somebody_asked_for_begins_the_wait_anew() {
        let mut image = cluster(&[1, 1, 2, 2, 3, 3]);
        let mut rebalance = Rebalance::new(Some(QUIET_MS));
        assert_eq!(watch(&mut rebalance, &mut image, 0, 60_000), []);
        // Kept where the user wants it; the others make up for it.
        let topic = TopicId(Uuid::from_u128(3));
        let wish =
            |index| MovePartition { topic, index, to: Some(NodeId(1)), replicas: Some(vec![NodeId(1)]) };
        apply(&mut image, MovePartitions { moves: vec![wish(2), wish(3)] });
        assert_eq!(rebalance.due(&image, 60_000), []);
        hand_over_all(&mut image);
        assert_eq!(watch(&mut rebalance, &mut image, 61_000, 200_000), [61_000 + QUIET_MS]);
        assert_eq!(counts(&image), [2, 2, 2]);
        for index in [2, 3] {
            assert_eq!(image.partition(topic, index).and_then(|partition| partition.leader), Some(NodeId(1)));
        }
    }
}
