//! What a seed decides before the run begins.

use std::collections::BTreeSet;
use std::time::Duration;

use aquifer_runtime::Random;
use aquifer_types::NodeId;

use crate::planted::Planted;

/// Something that goes wrong from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process is killed; its machine goes on.
    Kill,
    /// A machine loses power: what its disk had in flight is torn.
    PowerCut,
    /// All machines lose power at once.
    Blackout,
    /// A node is stopped as an operator does it, and started again.
    Restart,
    /// Each node in turn is restarted, when that is safe.
    RollingRestart,
    /// A node hears the others no more, or they do not hear it, or neither.
    Partition,
    /// One link is cut in one direction.
    OneWayCut,
    /// Connections break now and then.
    BreakingConnections,
    /// The network takes long.
    SlowNetwork,
    /// Clients do not reach a node.
    ClientCut,
    /// The store does not answer.
    StoreOutage,
    /// The store refuses, or does not answer what it has done.
    StoreTrouble,
    /// The store takes long.
    SlowStore,
    /// A disk takes long.
    SlowDisk,
    /// A disk fails a write, which ends its use by the process.
    DiskFailure,
    /// A machine's wall clock jumps.
    ClockJump,
    /// Partitions are asked to move.
    Move,
    /// A broker that lives is taken for dead.
    FalseFence,
    /// The lead of the quorum goes elsewhere.
    LeadTransfer,
    /// The oldest records of a partition are deleted.
    DeleteRecords,
    /// The disk of a controller's metadata takes long.
    SlowLog,
    /// An operator has a broker lead nothing for a while.
    Drain,
    /// An operator takes a node out of the cluster for good, and lets it in again later, blank mostly.
    Decommission,
    /// A node joins that was not there from the start.
    Join,
    /// The disks of a WAL and of the copies beside it are replaced by blank ones.
    LoseDisks,
    /// The disk of a controller's metadata is replaced by a blank one.
    LoseMetadata,
    /// A host is replaced: nothing is left of what was on it.
    LoseHost,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 27] = [
        Fault::Kill,
        Fault::PowerCut,
        Fault::Blackout,
        Fault::Restart,
        Fault::RollingRestart,
        Fault::Partition,
        Fault::OneWayCut,
        Fault::BreakingConnections,
        Fault::SlowNetwork,
        Fault::ClientCut,
        Fault::StoreOutage,
        Fault::StoreTrouble,
        Fault::SlowStore,
        Fault::SlowDisk,
        Fault::DiskFailure,
        Fault::ClockJump,
        Fault::Move,
        Fault::FalseFence,
        Fault::LeadTransfer,
        Fault::DeleteRecords,
        Fault::SlowLog,
        Fault::Drain,
        Fault::Decommission,
        Fault::Join,
        Fault::LoseDisks,
        Fault::LoseMetadata,
        Fault::LoseHost,
    ];
}

/// `wal.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalMode {
    /// One copy.
    Local,
    /// Three copies, all of which hold what is acknowledged.
    Mirror,
    /// Three copies, two of which do.
    MirrorFast,
    /// A committed object. The disk is often gone when the process is.
    Object,
}

impl WalMode {
    /// Copies wanted, and how many of them hold whatever is acknowledged if that is not all; `None` without mirrors.
    pub(crate) fn copies_and_needed(self) -> Option<(usize, Option<usize>)> {
        match self {
            Self::Local | Self::Object => None,
            Self::Mirror => Some((3, None)),
            Self::MirrorFast => Some((3, Some(2))),
        }
    }
}

/// A run, as far as it is known beforehand.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What everything follows from.
    pub seed: u64,
    /// Nodes that are controllers and brokers.
    pub controllers: u32,
    /// Nodes that are brokers only.
    pub brokers: u32,
    /// One more node that joins later, if it does; whether it is a controller too.
    pub late: Option<bool>,
    /// How the WAL is mirrored.
    pub wal_mode: WalMode,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Producers per partition.
    pub producers: u64,
    /// Members of the consumer group.
    pub members: u64,
    /// Whether they have a `group.instance.id`.
    pub static_members: bool,
    /// How long things go wrong.
    pub chaos: Duration,
    /// The mean time between two faults.
    pub calm: Duration,
    /// What can go wrong in this run.
    pub faults: BTreeSet<Fault>,
    /// The longest time that the disks take.
    pub disk_latency_ms: u64,
    /// The longest time that a sync of the quorum's log takes.
    pub log_sync: Duration,
    /// How much too early or too late the wall clocks are at first.
    pub clock_skew_ms: u64,
    /// How much too fast or too slow they go at most, of 1000.
    pub clock_drift: u64,
    /// The longest time that the store takes.
    pub store_latency_ms: u64,
    /// The longest time that the network takes.
    pub network_delay: Duration,
    /// Whether all machines lose power before the last look.
    pub last_blackout: bool,
    /// A bug that was planted on purpose.
    pub planted: Option<Planted>,
}

impl Scenario {
    /// What `seed` decides.
    pub fn new(seed: u64, planted: Option<Planted>) -> Self {
        let random = Random::seeded(seed.wrapping_mul(3).wrapping_add(1));
        let object = random.below(8) == 0;
        let among = |least: u64, most: u64| least + random.below(most - least + 1);
        let (controllers, brokers) = match random.below(10) {
            0 => (1, 0),
            1 => (1, 2),
            2..7 => (3, 0),
            7 | 8 => (3, 1),
            _ => (3, 2),
        };
        let late = match among(0, 7) {
            0 => Some(false),
            1 => Some(controllers > 1),
            _ => None,
        };
        // Half of all faults, so that each run has a character of its own and rare pairs meet undisturbed.
        let faults = Fault::ALL.into_iter().filter(|_| random.below(2) == 0).collect();
        Self {
            seed,
            controllers,
            brokers,
            late,
            wal_mode: match random.below(8) {
                _ if object => WalMode::Object,
                _ if controllers + brokers == 1 => WalMode::Local,
                0 | 1 => WalMode::Local,
                2..6 => WalMode::Mirror,
                _ => WalMode::MirrorFast,
            },
            partitions: i32::try_from(among(1, 4)).expect("a few"),
            producers: among(1, 3),
            members: among(0, 3),
            static_members: among(0, 3) == 0,
            chaos: Duration::from_secs(among(8, 20)),
            calm: Duration::from_millis(among(300, 2_500)),
            faults,
            disk_latency_ms: among(0, 12),
            log_sync: Duration::from_millis(among(0, 15)),
            clock_skew_ms: among(0, 1) * among(0, 5_000),
            clock_drift: among(0, 1) * among(0, 20),
            store_latency_ms: among(0, 200),
            network_delay: Duration::from_micros(among(100, 20_000)),
            last_blackout: random.below(2) == 0,
            planted,
        }
    }

    /// The nodes that are there from the start.
    pub fn nodes(&self) -> u32 {
        self.controllers + self.brokers
    }

    /// All nodes that there may be, and whether each is a controller.
    pub(crate) fn all_nodes(&self) -> impl Iterator<Item = (NodeId, bool)> {
        let first = (1..=self.nodes()).map(|node| (NodeId(node), node <= self.controllers));
        first.chain(self.late.map(|controller| (NodeId(self.nodes() + 1), controller)))
    }
}
