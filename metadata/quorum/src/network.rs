//! The seam to the other voters: one call, request in, answer out.
//!
//! The peer port implements it over mutual TLS between processes; [`crate::Router`] within one.

use std::time::Duration;

use aquifer_image::{Outcome, Rejection};
use aquifer_types::{LogIndex, NodeId};
use bytes::Bytes;
use futures::future::BoxFuture;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use serde::{Deserialize, Serialize};

use crate::error::ProposeError;
use crate::raft::{Proposal, SnapshotMeta, TypeConfig, Vote};

/// A member as the membership knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its node id.
    pub node: NodeId,
    /// Which of the node's storages it is, see [`crate::Quorum::directory`]: one that was wiped comes back as
    /// another member.
    pub directory: u32,
    /// The address of its internal port.
    pub address: String,
}

/// What one member asks of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Entries, or a heartbeat.
    Append(AppendEntriesRequest<TypeConfig>),
    /// "Vote for me."
    Vote(VoteRequest<TypeConfig>),
    /// "Would you vote for me?"
    PreVote(VoteRequest<TypeConfig>),
    /// The whole image, for a member whose entries were purged.
    Snapshot {
        /// The leader's vote.
        vote: Vote,
        /// What the image covers.
        meta: SnapshotMeta,
        /// The encoded image. Large: it travels beside the rest.
        #[serde(skip)]
        image: Bytes,
    },
    /// "Take over the lead."
    TransferLeader(TransferLeaderRequest<TypeConfig>),
    /// A command, forwarded once to the leader.
    Propose(Proposal),
    /// "Make me a voter." Only the leader can.
    Join(Peer),
}

/// The answer to a [`Request`] of the same name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Response {
    /// To entries.
    Append(AppendEntriesResponse<TypeConfig>),
    /// To a vote, real or not.
    Vote(VoteResponse<TypeConfig>),
    /// The image is installed, or refused by a higher vote.
    Snapshot(SnapshotResponse<TypeConfig>),
    /// To a transfer.
    TransferLeader(TransferLeaderResponse<TypeConfig>),
    /// To a forwarded command.
    Propose(Result<(LogIndex, Result<Outcome, Rejection>), ProposeError>),
    /// It is a voter now, or who leads, as far as known.
    Join(Result<(), Option<Peer>>),
}

/// Why a call has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The request did not arrive and will not.
    #[error("not delivered: {0}")]
    NotDelivered(String),
    /// It may have arrived.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

/// Calls to other members.
///
/// A call ends by itself within `limit`. Calls to one peer may overtake each other; raft copes. An
/// implementation says [`CallError::NotDelivered`] only when it is sure.
pub trait Network: Send + Sync + 'static {
    /// Sends `request` to `peer` and waits for the answer, at most `limit`.
    fn call<'a>(
        &'a self,
        peer: &'a Peer,
        request: Request,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Response, CallError>>;
}
