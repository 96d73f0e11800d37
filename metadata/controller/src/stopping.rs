//! Whether a node may stop now without harm.

use std::collections::BTreeSet;

use aquifer_image::{Broker, Image, Segment, SegmentState};
use aquifer_types::{Counted, NodeId, SegmentId};

/// The metadata quorum, as its leader sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Voters {
    /// Who votes.
    pub all: BTreeSet<NodeId>,
    /// Those of them that answer and have (nearly) the whole log, the leader included.
    pub current: BTreeSet<NodeId>,
}

impl Voters {
    /// Whether a majority is left while `node` is away.
    pub fn spare(&self, node: NodeId) -> bool {
        !self.all.contains(&node) || self.current_without(node) >= majority(self.all.len())
    }

    /// Whether `node` may lose its vote: those that are left must be able to decide, now.
    pub fn lose(&self, node: NodeId) -> bool {
        let left = self.all.iter().filter(|voter| **voter != node).count();
        left > 0 && self.current_without(node) >= majority(left)
    }

    fn current_without(&self, node: NodeId) -> usize {
        self.current.iter().filter(|voter| **voter != node).count()
    }
}

fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// A reason not to stop a node now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Hazard {
    /// The quorum has no other voter.
    #[error("node {node} is the only voter of the metadata quorum: without it nothing can be decided")]
    OnlyVoter {
        /// The node.
        node: NodeId,
    },
    /// The quorum could decide nothing.
    #[error(
        "the metadata quorum of {all} voters needs {} of them, and without node {node} only {left} would be there: {}",
        majority(*all), away(absent)
    )]
    NoMajority {
        /// The node.
        node: NodeId,
        /// How many vote.
        all: usize,
        /// How many of the others are there.
        left: usize,
        /// Voters that do not answer, or lag behind.
        absent: Vec<NodeId>,
    },
    /// Partitions are out of service already.
    #[error("broker {broker} is fenced, and {} for it or for a takeover", waiting(*partitions))]
    Waiting {
        /// Whose they are.
        broker: NodeId,
        /// How many.
        partitions: usize,
    },
    /// What a dead broker wrote is being recovered.
    #[error("the takeover of broker {broker} is under way: its WAL has {} to be ended ({})",
        Counted(segments.len(), "segment"), listed(segments))]
    TakeOver {
        /// The dead broker.
        broker: NodeId,
        /// Its segments.
        segments: Vec<SegmentId>,
    },
    /// Another broker is on its way out.
    #[error("broker {broker} is leaving too and still leads {}", Counted(*partitions, "partition"))]
    Leaving {
        /// The other broker.
        broker: NodeId,
        /// How many it leads.
        partitions: usize,
    },
    /// Copies are missing that the owner has not replaced yet.
    #[error("WAL segment {segment} of broker {owner} has {live} of its {copies} copies")]
    UnderCopied {
        /// The segment.
        segment: SegmentId,
        /// Its owner.
        owner: NodeId,
        /// Copies on brokers that live.
        live: usize,
        /// Copies in all.
        copies: usize,
    },
    /// The node holds what nobody else does.
    #[error("the node holds the only copy that is left of WAL segment {segment} of broker {owner}")]
    LastCopy {
        /// The segment.
        segment: SegmentId,
        /// Its owner.
        owner: NodeId,
    },
    /// Too few brokers would be left.
    #[error("{}", too_few(*left, *needed))]
    TooFewBrokers {
        /// How many would be left.
        left: usize,
        /// How many the WAL's mode needs to acknowledge.
        needed: usize,
    },
}

fn away(absent: &[NodeId]) -> String {
    match absent {
        [] => "all the others answer".to_owned(),
        [node] => format!("node {node} does not answer or lags behind"),
        nodes => format!("nodes {} do not answer or lag behind", listed(nodes)),
    }
}

fn waiting(partitions: usize) -> String {
    let wait = if partitions == 1 { "waits" } else { "wait" };
    format!("{} {wait}", Counted(partitions, "partition"))
}

fn too_few(left: usize, needed: usize) -> String {
    match left {
        0 => "no other broker would be left in service".to_owned(),
        left => {
            format!(
                "only {left} of the {needed} brokers that the WAL needs (wal.min.copies) would be left in service"
            )
        }
    }
}

fn listed(names: &[impl ToString]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Everything that speaks against stopping `node` now; nothing if it may be stopped. `min_copies` is how many brokers the
/// WAL's mode needs to acknowledge anything, 1 in mode `local`.
pub fn stop_hazards(image: &Image, node: NodeId, voters: &Voters, min_copies: usize) -> Vec<Hazard> {
    let mut hazards = Vec::new();
    if voters.all.len() == 1 && voters.all.contains(&node) {
        hazards.push(Hazard::OnlyVoter { node });
    } else if !voters.spare(node) {
        let absent = voters.all.difference(&voters.current).copied().filter(|voter| *voter != node);
        hazards.push(Hazard::NoMajority {
            node,
            all: voters.all.len(),
            left: voters.current_without(node),
            absent: absent.collect(),
        });
    }
    for broker in image.brokers() {
        hazards.extend(of_broker(image, broker, node));
    }
    for segment in image.segments() {
        hazards.extend(of_segment(image, segment, node));
    }
    // Who serves already does not serve less when it stops.
    if image.broker(node).is_some_and(Broker::is_live) {
        let left = image.brokers().filter(|broker| broker.node != node && broker.takes_more()).count();
        let needed = min_copies.max(1);
        if left < needed {
            hazards.push(Hazard::TooFewBrokers { left, needed });
        }
    }
    hazards
}

fn of_broker(image: &Image, broker: &Broker, node: NodeId) -> Option<Hazard> {
    let (id, partitions) = (broker.node, image.led_count(broker.node));
    let segments: Vec<_> = image.segments_left_by(id).map(|segment| segment.id).collect();
    if !segments.is_empty() {
        return Some(Hazard::TakeOver { broker: id, segments });
    }
    if partitions == 0 {
        return None;
    }
    if !broker.is_live() {
        return Some(Hazard::Waiting { broker: id, partitions });
    }
    (broker.leaving.is_some() && id != node).then_some(Hazard::Leaving { broker: id, partitions })
}

/// Of mirrored segments. One without mirrors is emptied by its owner before it stops.
fn of_segment(image: &Image, segment: &Segment, node: NodeId) -> Option<Hazard> {
    if segment.members.is_empty() {
        return None;
    }
    let lives = |node: &NodeId| image.broker(*node).is_some_and(Broker::is_live);
    let holders: Vec<NodeId> =
        segment.members.iter().map(|member| member.node).chain([segment.owner]).collect();
    let live: Vec<NodeId> = holders.iter().copied().filter(lives).collect();
    let (id, owner) = (segment.id, segment.owner);
    if holders.contains(&node) && live.iter().all(|holder| *holder == node) {
        return Some(Hazard::LastCopy { segment: id, owner });
    }
    let written = segment.state == SegmentState::Open;
    (written && lives(&owner) && live.len() < holders.len()).then_some(Hazard::UnderCopied {
        segment: id,
        owner,
        live: live.len(),
        copies: holders.len(),
    })
}

#[cfg(test)]
mod tests {
    use aquifer_image::{
        CreateTopic, DrainBroker, FenceBroker, OpenSegment, RegisterBroker, SegmentMember, StopBroker,
    };
    use aquifer_types::{DiskId, TopicId};
    use uuid::Uuid;

    use super::*;
    use crate::placement::tests::{apply, cluster_of};

    const ONE: NodeId = NodeId(1);
    const TWO: NodeId = NodeId(2);
    const THREE: NodeId = NodeId(3);

    fn voters(all: &[u32], current: &[u32]) -> Voters {
        let set = |nodes: &[u32]| nodes.iter().copied().map(NodeId).collect();
        Voters { all: set(all), current: set(current) }
    }

    fn all_three() -> Voters {
        voters(&[1, 2, 3], &[1, 2, 3])
    }

    /// Three brokers, each of which leads one partition.
    fn cluster() -> Image {
        let mut image = cluster_of(3);
        let (name, id) = ("t".to_owned(), TopicId(Uuid::from_u128(3)));
        let leaders = vec![ONE, TWO, THREE];
        apply(&mut image, CreateTopic { name, id, replication_factor: 1, configs: Vec::new(), leaders });
        image
    }

    fn fence(image: &mut Image, node: NodeId) {
        let broker_epoch = image.broker_epoch(node).expect("registered");
        apply(image, FenceBroker { node, broker_epoch });
    }

    fn open(image: &mut Image, owner: NodeId, mirrors: &[NodeId]) -> SegmentId {
        let broker_epoch = image.broker_epoch(owner).expect("registered");
        let members = mirrors.iter().map(|node| SegmentMember { node: *node, disk: DiskId::ZERO });
        let (disk, members) = (DiskId::ZERO, members.collect());
        apply(image, OpenSegment { node: owner, broker_epoch, disk, members, needed: 0 });
        SegmentId::from(image.applied())
    }

    #[test]
    fn one_of_three_may_stop_while_all_is_well() {
        let mut image = cluster();
        for owner in [ONE, TWO, THREE] {
            open(&mut image, owner, &[]);
        }
        assert_eq!(stop_hazards(&image, ONE, &all_three(), 1), []);
        assert_eq!(stop_hazards(&image, ONE, &all_three(), 2), []);
        let few = Hazard::TooFewBrokers { left: 2, needed: 3 };
        assert_eq!(stop_hazards(&image, ONE, &all_three(), 3), [few]);
    }

    #[test]
    fn the_quorum_keeps_its_majority() {
        let image = cluster();
        let lagging = voters(&[1, 2, 3], &[1, 2]);
        let hazard = Hazard::NoMajority { node: ONE, all: 3, left: 1, absent: vec![THREE] };
        assert_eq!(stop_hazards(&image, ONE, &lagging, 1), [hazard]);
        assert_eq!(stop_hazards(&image, THREE, &lagging, 1), [], "it is of no use anyway");
        assert_eq!(stop_hazards(&image, NodeId(4), &voters(&[1], &[1]), 1), [], "it has no vote");
        let alone = stop_hazards(&cluster_of(1), ONE, &voters(&[1], &[1]), 1);
        assert_eq!(alone, [Hazard::OnlyVoter { node: ONE }, Hazard::TooFewBrokers { left: 0, needed: 1 }]);
        let five = voters(&[1, 2, 3, 4, 5], &[1, 2, 3, 4]);
        assert!(five.spare(ONE));
        // Of the four that would be left three must be there.
        assert!(five.lose(ONE));
        assert!(!voters(&[1, 2, 3], &[1, 3]).lose(THREE), "1 and 2 could decide nothing");
        assert!(voters(&[1, 2, 3], &[1, 3]).lose(TWO));
        assert!(!voters(&[1], &[1]).lose(ONE));
    }

    #[test]
    fn one_after_the_other() {
        let mut image = cluster();
        let broker_epoch = image.broker_epoch(TWO).expect("registered");
        apply(&mut image, StopBroker { node: TWO, broker_epoch });
        let leaving = Hazard::Leaving { broker: TWO, partitions: 1 };
        assert_eq!(stop_hazards(&image, ONE, &all_three(), 1), [leaving]);
        assert_eq!(stop_hazards(&image, TWO, &all_three(), 1), [], "its own leaving is no reason");
        fence(&mut image, TWO);
        let waiting = Hazard::Waiting { broker: TWO, partitions: 1 };
        assert_eq!(stop_hazards(&image, ONE, &all_three(), 1), std::slice::from_ref(&waiting));
        assert_eq!(stop_hazards(&image, TWO, &all_three(), 1), [waiting], "they wait for this very node");
    }

    #[test]
    fn a_drained_broker_does_not_count_and_may_stop() {
        let mut image = cluster_of(2);
        apply(&mut image, DrainBroker { node: TWO, for_good: false });
        let few = Hazard::TooFewBrokers { left: 0, needed: 1 };
        assert_eq!(stop_hazards(&image, ONE, &Voters::default(), 1), [few]);
        assert_eq!(stop_hazards(&image, TWO, &Voters::default(), 1), []);
    }

    #[test]
    fn copies_are_counted() {
        let mut image = cluster_of(3);
        let segment = open(&mut image, ONE, &[TWO, THREE]);
        assert_eq!(stop_hazards(&image, TWO, &all_three(), 1), []);
        fence(&mut image, THREE);
        let under = Hazard::UnderCopied { segment, owner: ONE, live: 2, copies: 3 };
        assert_eq!(stop_hazards(&image, TWO, &all_three(), 1), [under]);
        // The owner dies as well: whoever is left has the only copy.
        fence(&mut image, ONE);
        let hazards = stop_hazards(&image, TWO, &all_three(), 1);
        assert!(hazards.contains(&Hazard::TakeOver { broker: ONE, segments: vec![segment] }), "{hazards:?}");
        assert!(hazards.contains(&Hazard::LastCopy { segment, owner: ONE }), "{hazards:?}");
    }

    #[test]
    fn what_an_earlier_process_left_is_a_takeover() {
        let mut image = cluster_of(3);
        let segment = open(&mut image, ONE, &[TWO, THREE]);
        let endpoints = image.broker(ONE).expect("registered").endpoints.clone();
        let incarnation = Uuid::from_u128(77);
        apply(&mut image, RegisterBroker { node: ONE, incarnation, endpoints, rack: None });
        let hazards = stop_hazards(&image, TWO, &all_three(), 1);
        assert_eq!(hazards, [Hazard::TakeOver { broker: ONE, segments: vec![segment] }]);
    }

    #[test]
    fn reasons_are_sentences_of_one_and_of_many() {
        let no_majority = |all, absent: &[NodeId]| {
            Hazard::NoMajority { node: ONE, all, left: 1, absent: absent.to_vec() }.to_string()
        };
        assert_eq!(
            no_majority(3, &[THREE]),
            "the metadata quorum of 3 voters needs 2 of them, and without node 1 only 1 would be there: \
             node 3 does not answer or lags behind"
        );
        assert!(no_majority(4, &[TWO, THREE]).ends_with(": nodes 2, 3 do not answer or lag behind"));
        let told = [
            (
                Hazard::OnlyVoter { node: ONE },
                "node 1 is the only voter of the metadata quorum: without it nothing can be decided",
            ),
            (
                Hazard::Waiting { broker: TWO, partitions: 1 },
                "broker 2 is fenced, and 1 partition waits for it or for a takeover",
            ),
            (
                Hazard::Waiting { broker: TWO, partitions: 5 },
                "broker 2 is fenced, and 5 partitions wait for it or for a takeover",
            ),
            (
                Hazard::TakeOver { broker: TWO, segments: vec![SegmentId(7), SegmentId(9)] },
                "the takeover of broker 2 is under way: its WAL has 2 segments to be ended (7, 9)",
            ),
            (
                Hazard::Leaving { broker: TWO, partitions: 1 },
                "broker 2 is leaving too and still leads 1 partition",
            ),
            (Hazard::TooFewBrokers { left: 0, needed: 1 }, "no other broker would be left in service"),
            (
                Hazard::TooFewBrokers { left: 1, needed: 2 },
                "only 1 of the 2 brokers that the WAL needs (wal.min.copies) would be left in service",
            ),
        ];
        for (hazard, text) in told {
            assert_eq!(hazard.to_string(), text);
        }
    }
}
