//! openraft's network over the [`Network`] seam.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aquifer_types::NodeId;
use bytes::Bytes;
use openraft::BasicNode;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use crate::network::{CallError, Network, Peer, Request, Response};
use crate::raft::{Snapshot, TypeConfig, Vote};

/// How long a snapshot may travel and be installed.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(60);

type RpcResult<T> = Result<T, RPCError<TypeConfig>>;

/// Makes one [`Transport`] per peer.
pub(crate) struct Transports(pub(crate) Arc<dyn Network>);

/// Calls to one peer.
pub(crate) struct Transport {
    network: Arc<dyn Network>,
    peer: Peer,
}

impl RaftNetworkFactory<TypeConfig> for Transports {
    type Network = Transport;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Transport {
        Transport { network: self.0.clone(), peer: peer(target, node) }
    }
}

/// The peer with raft's id.
pub(crate) fn peer(id: u64, node: &BasicNode) -> Peer {
    Peer { node: node_id(id), directory: directory_of(id), address: node.addr.clone() }
}

/// Raft's id of a member: its storage above, its node below. A node whose storage was wiped is nobody that raft knows,
/// so it can never vote with the memory of a blank one.
pub(crate) fn raft_id(node: NodeId, directory: u32) -> u64 {
    u64::from(directory) << 32 | u64::from(node.0)
}

/// The storage in raft's id.
pub(crate) fn directory_of(id: u64) -> u32 {
    u32::try_from(id >> 32).expect("half of 64 bits")
}

/// Our id for raft's.
pub(crate) fn node_id(id: u64) -> NodeId {
    NodeId(u32::try_from(id & u64::from(u32::MAX)).expect("half of 64 bits"))
}

impl Transport {
    async fn call(&self, request: Request, limit: Duration) -> RpcResult<Response> {
        match self.network.call(&self.peer, request, limit).await {
            Ok(response) => Ok(response),
            // Raft waits a little before it tries again.
            Err(CallError::NotDelivered(reason)) => Err(Unreachable::from_string(reason).into()),
            Err(CallError::NoAnswer(reason)) => Err(NetworkError::from_string(reason).into()),
        }
    }
}

/// The network layer pairs requests and answers; another kind is a bug there, told as a lost answer.
fn mismatch(asked: &str) -> RPCError<TypeConfig> {
    NetworkError::from_string(format!("the answer to {asked} is of another kind")).into()
}

impl RaftNetworkV2<TypeConfig> for Transport {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<TypeConfig>> {
        match self.call(Request::Append(rpc), option.soft_ttl()).await? {
            Response::Append(response) => Ok(response),
            _ => Err(mismatch("entries")),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        match self.call(Request::Vote(rpc), option.soft_ttl()).await? {
            Response::Vote(response) => Ok(response),
            _ => Err(mismatch("a vote request")),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        match self.call(Request::PreVote(rpc), option.soft_ttl()).await? {
            Response::Vote(response) => Ok(response),
            _ => Err(mismatch("a pre-vote request")),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let request = Request::Snapshot { vote, meta: snapshot.meta, image: snapshot.snapshot };
        tokio::select! {
            closed = cancel => Err(closed.into()),
            response = self.call(request, SNAPSHOT_LIMIT) => match response? {
                Response::Snapshot(response) => Ok(response),
                _ => Err(mismatch("a snapshot").into()),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<TransferLeaderResponse<TypeConfig>> {
        match self.call(Request::TransferLeader(request), option.soft_ttl()).await? {
            Response::TransferLeader(response) => Ok(response),
            _ => Err(mismatch("a transfer of the lead")),
        }
    }
}
