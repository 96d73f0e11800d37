//! What a member is told at its start, and the limits that are not options.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aquifer_types::{ClusterId, NodeId};

use crate::log::MemoryStorage;

/// Largest encoded command. A commit of 20 000 ranges is about half of it.
pub const MAX_COMMAND_BYTES: usize = 4 << 20;
/// Proposals that may wait on one member; more are refused with [`crate::ProposeError::Busy`].
pub const MAX_PENDING_PROPOSALS: usize = 16_384;
/// Commands kept in memory for the feed. A reader that is further behind gets the image.
pub const FEED_ENTRIES: usize = 8_192;
/// Encoded bytes of the commands kept in memory for the feed.
pub const FEED_BYTES: usize = 32 << 20;
/// Commands in one answer of the feed.
pub const FEED_CHUNK: usize = 1_024;
/// A snapshot is also written after so many encoded bytes of commands, so that large ones do not make a large log.
pub const SNAPSHOT_BYTES: usize = 64 << 20;
/// Free bytes under which proposals are refused, so that elections, snapshots and a restart still have room.
pub const DISK_RESERVE_BYTES: u64 = 16 << 20;
/// Entries sent to another member at once.
pub(crate) const MAX_APPEND_ENTRIES: u64 = 64;
/// How long the start of a single voter may take before it is an error.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(30);

/// Where a member keeps its log and snapshots.
#[derive(Clone, Debug)]
pub enum Storage {
    /// `metadata.dir`: sled and files, durable.
    Directory(PathBuf),
    /// Memory that forgets what was not synced when it is crashed: for the simulator.
    Memory(MemoryStorage),
}

/// What a member with an empty directory does. With a log present it goes on from there and ignores this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Formation {
    /// Forms a new cluster of these voters (node -> address of the internal port), which must contain the
    /// member itself. All first voters are given the same map.
    Bootstrap(BTreeMap<NodeId, String>),
    /// Waits to be added to an existing cluster.
    Join,
}

/// Settings of one quorum member.
#[derive(Clone, Debug)]
pub struct QuorumConfig {
    /// `node.id`.
    pub node: NodeId,
    /// Where the log and the snapshots are.
    pub storage: Storage,
    /// The cluster this node must belong to. `None`: whatever the storage says, or a new id at bootstrap.
    pub cluster_id: Option<ClusterId>,
    /// For an empty storage.
    pub formation: Formation,
    /// A snapshot is written every so many entries, or after [`SNAPSHOT_BYTES`].
    pub snapshot_every: u64,
    /// Entries kept behind the latest snapshot, so that a voter that was briefly away needs no snapshot.
    pub log_keep: u64,
    /// Bound of one proposal, from hand-over to applied.
    pub propose_limit: Duration,
    /// How often a leader is heard. Elections begin after 13 to 16 of these without a word: 8 are the leader's lease, then 5 to 8
    /// drawn at random. A follower's answer is awaited for one.
    pub heartbeat: Duration,
    /// A bug that a simulation plants to see it found: a leader that restarts leads on in its term. It may have lost entries that
    /// others have. Never set anywhere else.
    pub leads_on_after_restart: bool,
}

impl QuorumConfig {
    /// The settings of the only voter of a cluster.
    pub fn single(node: NodeId, dir: impl Into<PathBuf>) -> Self {
        Self::new(
            node,
            Storage::Directory(dir.into()),
            Formation::Bootstrap(BTreeMap::from([(node, String::new())])),
        )
    }

    /// The defaults for everything else.
    pub fn new(node: NodeId, storage: Storage, formation: Formation) -> Self {
        Self {
            node,
            storage,
            cluster_id: None,
            formation,
            snapshot_every: 10_000,
            log_keep: 2_000,
            propose_limit: Duration::from_secs(10),
            heartbeat: Duration::from_millis(150),
            leads_on_after_restart: false,
        }
    }
}
