//! What can go wrong at the start, in a proposal and in the feed. Each says what, where and what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use aquifer_types::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

/// Why a quorum member could not start. Nothing runs, and `metadata.dir` can be opened again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory or one of its files cannot be created, read or written.
    #[error(
        "cannot {action} {}: {source}; check that metadata.dir exists, is writable by this user and is on a local file system",
        path.display()
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process holds the directory.
    #[error(
        "metadata.dir {} is in use by another process; stop it, or give this node a metadata.dir of its own",
        dir.display()
    )]
    Locked {
        /// `metadata.dir`.
        dir: PathBuf,
    },
    /// Too little room to work safely.
    #[error(
        "metadata.dir {} has {free} bytes free and needs at least {needed}; free some space or move it to a larger file system",
        dir.display()
    )]
    DiskFull {
        /// `metadata.dir`.
        dir: PathBuf,
        /// Bytes available to this user.
        free: u64,
        /// Bytes that a member wants to see at its start.
        needed: u64,
    },
    /// The directory belongs to another cluster.
    #[error(
        "metadata.dir {} belongs to cluster {found}, but this node is configured for cluster {expected}; point metadata.dir at this cluster's directory, or at an empty one",
        dir.display()
    )]
    WrongCluster {
        /// `metadata.dir`.
        dir: PathBuf,
        /// The id written in the directory.
        found: ClusterId,
        /// The configured id.
        expected: ClusterId,
    },
    /// The directory belongs to another node.
    #[error(
        "metadata.dir {} belongs to node.id {found}, but this node has node.id {expected}; a voter that starts with another's log breaks the quorum, so give each node its own directory",
        dir.display()
    )]
    WrongNode {
        /// `metadata.dir`.
        dir: PathBuf,
        /// The id written in the directory.
        found: NodeId,
        /// The configured id.
        expected: NodeId,
    },
    /// A later release wrote this file.
    #[error(
        "{} has format {found}, this release reads up to {supported}; start the release that wrote it, or a later one",
        path.display()
    )]
    LaterFormat {
        /// The file, or the directory of the log.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The latest format known here.
        supported: u32,
    },
    /// A file is damaged.
    #[error(
        "{} is damaged: {reason}; with other voters alive, replace this member by a new one with an empty metadata.dir, otherwise restore metadata.dir from a backup",
        path.display()
    )]
    Damaged {
        /// The file, or the directory of the log.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The configuration contradicts itself.
    #[error("the metadata quorum cannot be formed: {0}")]
    Formation(String),
    /// Raft refused to start.
    #[error("the raft core did not start on metadata.dir {}: {reason}", dir.display())]
    Raft {
        /// `metadata.dir`.
        dir: PathBuf,
        /// openraft's words.
        reason: String,
    },
    /// The only voter was not elected, which takes two syncs.
    #[error(
        "the only voter was not elected within {waited:?}: {reason}; the disk under metadata.dir may be stalled"
    )]
    NotReady {
        /// How long the start waited.
        waited: Duration,
        /// What was still missing.
        reason: String,
    },
}

/// Whether the command may have taken effect although the proposal failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It did not and never will: propose again as you like.
    None,
    /// It may have, or may still: look at the image before you propose again.
    Unknown,
}

/// Why a proposal has no outcome. A command that the image *rejected* is not an error here: it has an index
/// and a verdict.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum ProposeError {
    /// This node does not lead, and the leader is unknown or cannot be reached.
    #[error("the metadata quorum has no reachable leader (last known: {}); a majority of the voters must be up and connected", leader_text(*leader))]
    NoLeader {
        /// The last known leader.
        leader: Option<NodeId>,
    },
    /// The file system under `metadata.dir` is nearly full, and the last bytes are kept for elections and restarts.
    #[error(
        "metadata.dir {} on node {node} has only {free} bytes free, {needed} are kept in reserve: changes are refused until space is freed",
        dir.display()
    )]
    DiskFull {
        /// The node whose disk it is.
        node: NodeId,
        /// Its `metadata.dir`.
        dir: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes kept in reserve.
        needed: u64,
    },
    /// The command is larger than an entry may be.
    #[error("the command has {bytes} bytes encoded, more than the limit of {limit}; split it")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Too many proposals are under way.
    #[error("{limit} proposals are already waiting on node {node}; try again")]
    Busy {
        /// The node.
        node: NodeId,
        /// The limit.
        limit: usize,
    },
    /// The member stopped before it took the command.
    #[error("the metadata quorum member on node {node} has stopped: {reason}")]
    Stopped {
        /// The node.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// The command was handed over and its fate is not known.
    #[error("the outcome of the metadata change is unknown: {reason}; it may or may not have taken effect")]
    Unknown {
        /// What happened.
        reason: String,
    },
}

impl ProposeError {
    /// Whether the command may have taken effect.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Unknown { .. } => Effect::Unknown,
            Self::NoLeader { .. }
            | Self::DiskFull { .. }
            | Self::TooLarge { .. }
            | Self::Busy { .. }
            | Self::Stopped { .. } => Effect::None,
        }
    }
}

/// The member stopped, so the feed has ended.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the metadata feed of node {node} has ended: {reason}")]
pub struct FeedEnded {
    /// The node.
    pub node: NodeId,
    /// Why.
    pub reason: String,
}

/// Why the voters could not be changed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the voters of the metadata quorum were not changed: {0}")]
pub struct MembershipError(pub String);

fn leader_text(leader: Option<NodeId>) -> String {
    leader.map_or_else(|| "none".to_owned(), |node| format!("node {node}"))
}
