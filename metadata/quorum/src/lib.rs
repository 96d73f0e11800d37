//! The metadata quorum: one replicated log of commands, by openraft on sled.
//!
//! [`Quorum::start`] opens `metadata.dir` and runs one member; [`Quorum::propose`] puts a command into the log and
//! gives the image's verdict; [`Quorum::pull`] is the feed that brokers follow. A member is one of 1, 3 or 5 voters;
//! brokers are not members, they pull.
//!
//! ```text
//!   propose ──> raft ──> log (sled, flush + fdatasync) ──┐ a majority has it
//!                │  └──> Network ──> other members ──────┤
//!                │                                       v
//!                └── snapshot file <── Machine: Image::apply ──> verdict to the proposer
//!                                          │
//!                                          └──> feed ──> pull (entries, or the image for who is far behind)
//! ```
//!
//! Between processes the network is the internal port: [`PeerNetwork`] calls, [`serve`] answers,
//! [`agree_on_formation`] tells a blank controller whether to found the cluster or to join it, [`stay_joined`] makes
//! it a voter, and [`RemoteQuorum`] is the quorum as a broker sees it that is no member.
//!
//! Durable means: in sled's file and through the device's cache, on a majority, before a proposer hears of it.
//! Restart = snapshot + the log after it. It does not know what commands mean, Kafka, or how peers are reached
//! (the [`Network`] seam, with [`Router`] for one process).

mod admission;
mod config;
mod directory;
mod error;
mod lead;
mod log;
mod machine;
mod network;
mod port;
mod quorum;
mod raft;
mod router;
mod snapshot;
mod start;
mod transport;

pub use config::{
    DISK_RESERVE_BYTES, FEED_BYTES, FEED_CHUNK, FEED_ENTRIES, Formation, MAX_COMMAND_BYTES,
    MAX_PENDING_PROPOSALS, QuorumConfig, SNAPSHOT_BYTES, Storage,
};
pub use error::{Effect, FeedEnded, MembershipError, ProposeError, StartError};
pub use log::MemoryStorage;
pub use machine::FeedChunk;
pub use network::{CallError, Network, Peer, Request, Response};
pub use port::{
    CHANNELS, PeerNetwork, RemoteQuorum, agree_on_formation, serve, stay_joined, succeed_dead_leaders,
};
pub use quorum::{Committed, Quorum, QuorumStatus, Role};
pub use raft::{Proposal, Reply, TypeConfig};
pub use router::Router;
