use std::fmt;
use std::time::Duration;

use aquifer_runtime::Random;

use crate::host_cluster::HostCluster;
use crate::network::Place;

/// Something that goes wrong in a cluster for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterFault {
    /// kill -9; what was killed is started again at the end.
    Killed(Vec<u16>),
    /// `SIGSTOP`: connections stay and say nothing.
    Frozen(u16),
    /// What one host sends to another one is lost.
    OneWay(u16, u16),
    /// What a host sends is lost, to peers, clients and store; it hears them.
    Unheard(u16),
    /// What others send to a host is lost; they hear it.
    Deaf(u16),
    /// A host's link is down.
    Cut(u16),
    /// A host's disk is full.
    FullDisk(u16),
}

/// How long a process is frozen: five sessions of a broker.
const FROZEN: Duration = Duration::from_secs(10);
/// Other faults are over sooner: some before anybody is fenced, most after it.
const SHORTEST_MS: u64 = 300;
const LONGEST_MS: u64 = 6_000;
/// Of [`Faults::fault`].
const KINDS: u64 = 8;

impl ClusterFault {
    /// Makes it.
    pub fn begin(&self, cluster: &mut HostCluster) {
        match self {
            Self::Killed(nodes) => nodes.iter().for_each(|node| cluster.kill(*node)),
            Self::Frozen(node) => cluster.freeze(*node),
            Self::Cut(node) => cluster.network().cut(*node),
            Self::FullDisk(node) => cluster.fill_disk(*node),
            Self::OneWay(..) | Self::Unheard(_) | Self::Deaf(_) => {
                self.ways(cluster).into_iter().for_each(|(from, to)| cluster.network().mute(from, to));
            }
        }
    }

    /// Mends it.
    pub fn end(&self, cluster: &mut HostCluster) {
        match self {
            Self::Killed(nodes) => nodes.iter().for_each(|node| cluster.launch(*node)),
            Self::Frozen(node) => cluster.thaw(*node),
            Self::Cut(node) => cluster.network().join(*node),
            Self::FullDisk(node) => cluster.free_disk(*node),
            Self::OneWay(..) | Self::Unheard(_) | Self::Deaf(_) => {
                self.ways(cluster).into_iter().for_each(|(from, to)| cluster.network().unmute(from, to));
            }
        }
    }

    /// From where to where nothing arrives.
    fn ways(&self, cluster: &HostCluster) -> Vec<(Place, Place)> {
        let others = |node: u16| {
            let hosts = cluster.nodes().filter(move |other| *other != node).map(Place::Host);
            hosts.chain([Place::Outside])
        };
        match *self {
            Self::OneWay(from, to) => vec![(Place::Host(from), Place::Host(to))],
            Self::Unheard(node) => others(node).map(|other| (Place::Host(node), other)).collect(),
            Self::Deaf(node) => others(node).map(|other| (other, Place::Host(node))).collect(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for ClusterFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed(nodes) => write!(f, "kill -9 of {nodes:?}"),
            Self::Frozen(node) => write!(f, "node {node} frozen"),
            Self::OneWay(from, to) => write!(f, "nothing from {from} to {to}"),
            Self::Unheard(node) => write!(f, "nothing from {node}"),
            Self::Deaf(node) => write!(f, "nothing to {node}"),
            Self::Cut(node) => write!(f, "the link of {node} down"),
            Self::FullDisk(node) => write!(f, "the disk of {node} full"),
        }
    }
}

/// Faults by a seed, each with how long it lasts. The kinds come like cards: all of them, in some order, before one comes again.
#[derive(Debug)]
pub struct Faults {
    random: Random,
    nodes: u16,
    kinds: Vec<u64>,
}

impl Faults {
    /// For so many nodes.
    #[must_use]
    pub fn seeded(seed: u64, nodes: u16) -> Self {
        Self { random: Random::seeded(seed), nodes, kinds: Vec::new() }
    }

    fn fault(&self, kind: u64) -> ClusterFault {
        let node = self.node(&[]);
        let other = self.node(&[node]);
        match kind {
            0 => ClusterFault::Killed(vec![node]),
            1 => ClusterFault::Killed(vec![node, other]),
            2 => ClusterFault::Frozen(node),
            3 => ClusterFault::OneWay(node, other),
            4 => ClusterFault::Unheard(node),
            5 => ClusterFault::Deaf(node),
            6 => ClusterFault::Cut(node),
            KINDS.. => unreachable!("the kinds are counted"),
            _ => ClusterFault::FullDisk(node),
        }
    }

    fn node(&self, but: &[u16]) -> u16 {
        let left: Vec<u16> = (1..=self.nodes).filter(|node| !but.contains(node)).collect();
        left[self.index(left.len())]
    }

    fn index(&self, length: usize) -> usize {
        let index = self.random.below(u64::try_from(length).expect("a few"));
        usize::try_from(index).expect("below a length")
    }
}

impl Iterator for Faults {
    type Item = (ClusterFault, Duration);

    fn next(&mut self) -> Option<Self::Item> {
        if self.kinds.is_empty() {
            self.kinds = (0..KINDS).collect();
        }
        let kind = self.kinds.swap_remove(self.index(self.kinds.len()));
        let fault = self.fault(kind);
        let lasts = match fault {
            ClusterFault::Frozen(_) => FROZEN,
            _ => Duration::from_millis(SHORTEST_MS + self.random.below(LONGEST_MS - SHORTEST_MS)),
        };
        Some((fault, lasts))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::mem::discriminant;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_faults_again_and_another_one_others() {
        let first = |seed| Faults::seeded(seed, 5).take(30).collect::<Vec<_>>();
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn every_kind_comes_before_one_comes_again_and_no_fault_names_a_node_twice() {
        for seed in 0..50 {
            let faults: Vec<_> =
                Faults::seeded(seed, 3).take(KINDS as usize).map(|(fault, _)| fault).collect();
            let kinds: Vec<_> = faults.iter().map(discriminant).collect();
            // One and two that are killed are the same variant.
            let others = |at: usize| kinds.iter().filter(|kind| **kind == kinds[at]).count();
            assert!(
                (0..kinds.len()).all(|at| others(at) == 1 || matches!(faults[at], ClusterFault::Killed(_)))
            );
            for fault in faults {
                let nodes = match fault {
                    ClusterFault::Killed(nodes) => nodes,
                    ClusterFault::OneWay(from, to) => vec![from, to],
                    _ => continue,
                };
                assert_eq!(nodes.iter().collect::<BTreeSet<_>>().len(), nodes.len(), "{nodes:?}");
                assert!(nodes.iter().all(|node| (1..=3).contains(node)));
            }
        }
    }
}
