use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use aquifer_image::{Command, Image, Outcome, Rejection};
use aquifer_runtime::{CancellationToken, TaskGroup};
use aquifer_types::{LogIndex, NodeId};
use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, Fatal, RaftError};
use openraft::raft::AppendEntriesResponse;
use openraft::{BasicNode, ChangeMembers, Raft, ServerState};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::{DISK_RESERVE_BYTES, MAX_COMMAND_BYTES, MAX_PENDING_PROPOSALS};
use crate::directory::{Directory, free_bytes};
use crate::error::{FeedEnded, MembershipError, ProposeError};
use crate::log::LogBackend;
use crate::machine::{FeedChunk, Machine};
use crate::network::{CallError, Network, Peer, Request, Response};
use crate::raft::{Proposal, Reply, TypeConfig};
use crate::transport::{directory_of, node_id, peer, raft_id};

/// How long the tasks of a member may take to end after raft has.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How often a member says that it cannot follow.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// How long a joining member may take to catch up.
const JOIN_LIMIT: Duration = Duration::from_secs(30);

/// What an entry of the log did: where it stands, and the image's verdict on it.
pub type Committed = (LogIndex, Result<Outcome, Rejection>);

/// One member of the metadata quorum. Cheap to clone; [`Quorum::start`] makes it, [`Quorum::shutdown`] ends it.
#[derive(Clone)]
pub struct Quorum {
    inner: Arc<Inner>,
}

/// A [`Quorum`] that does not keep the member alive.
#[derive(Clone)]
pub(crate) struct WeakQuorum(Weak<Inner>);

pub(crate) struct Inner {
    pub(crate) node: NodeId,
    /// Raft's id of this member: its storage and its node.
    pub(crate) member: u64,
    pub(crate) raft: Raft<TypeConfig, Machine>,
    pub(crate) machine: Machine,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) backend: Arc<dyn LogBackend>,
    /// Absent for storage in memory.
    pub(crate) directory: Option<Directory>,
    pub(crate) pending: Semaphore,
    pub(crate) propose_limit: Duration,
    pub(crate) tasks: TaskGroup,
    /// Cancelled when raft has stopped, for whatever reason.
    pub(crate) stopped: CancellationToken,
    /// When it was last told that the disk is too full to follow.
    pub(crate) full_told: Mutex<Option<Instant>>,
    /// When a leader was last followed here, or the start.
    pub(crate) heard: Mutex<Instant>,
}

/// A member's part in the quorum at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes proposals.
    Leader,
    /// Follows a leader.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Follows without a vote.
    Learner,
    /// Has stopped.
    Stopped,
}

impl Role {
    pub(crate) fn of(state: ServerState) -> Self {
        match state {
            ServerState::Learner => Self::Learner,
            ServerState::Follower => Self::Follower,
            ServerState::Candidate => Self::Candidate,
            ServerState::Leader => Self::Leader,
            ServerState::Shutdown => Self::Stopped,
        }
    }
}

/// What a member knows of itself and the quorum.
#[derive(Clone, Debug)]
pub struct QuorumStatus {
    /// This member.
    pub node: NodeId,
    /// Its part.
    pub role: Role,
    /// The leader, as far as known here.
    pub leader: Option<NodeId>,
    /// Raft's term.
    pub term: u64,
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// Who follows without a vote.
    pub learners: Vec<NodeId>,
    /// The last entry in the log here.
    pub last_log: LogIndex,
    /// The last entry in the image here.
    pub applied: LogIndex,
    /// The last entry that the current snapshot covers.
    pub snapshot: Option<LogIndex>,
    /// The last entry that was purged from the log.
    pub purged: Option<LogIndex>,
    /// Why the member stopped by itself, if it did.
    pub failure: Option<String>,
    /// Bytes free under `metadata.dir`; `None` for storage in memory, or if the system does not say.
    pub free_bytes: Option<u64>,
}

impl Quorum {
    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn downgrade(&self) -> WeakQuorum {
        WeakQuorum(Arc::downgrade(&self.inner))
    }

    /// This member's node id.
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// Which of the node's storages this member's is: drawn when it was blank, so that after a wipe the node comes
    /// back as another member.
    pub fn directory(&self) -> u32 {
        directory_of(self.inner.member)
    }

    /// The image as of the last entry applied here. May lag behind the leader's.
    pub fn image(&self) -> Image {
        self.inner.machine.image()
    }

    /// Puts `command` into the log, here or at the leader, and waits until it is applied there.
    ///
    /// The outer error says that there is no outcome, and by [`ProposeError::effect`] whether there may yet be an
    /// effect. The inner result is the image's verdict. Ends within `propose_limit`.
    pub async fn propose(&self, command: impl Into<Arc<Command>>) -> Result<Committed, ProposeError> {
        let proposal = Proposal::new(command.into());
        match self.propose_here(proposal.clone()).await {
            Err(ProposeError::NoLeader { leader: Some(leader) }) if leader != self.inner.node => {
                match self.forward(leader, proposal).await {
                    // It took nothing, and another one will lead.
                    Err(ProposeError::Stopped { .. }) => Err(ProposeError::NoLeader { leader: Some(leader) }),
                    result => result,
                }
            }
            result => result,
        }
    }

    /// What follows entry `after` in the log, as soon as there is something. Start with [`LogIndex`] 0.
    ///
    /// # Errors
    /// When the member has stopped.
    pub async fn pull(&self, after: LogIndex) -> Result<FeedChunk, FeedEnded> {
        let mut applied = self.inner.machine.applied();
        loop {
            applied.mark_unchanged();
            if let Some(chunk) = self.inner.machine.feed(after) {
                return Ok(chunk);
            }
            tokio::select! {
                () = self.inner.stopped.cancelled() => return Err(self.ended()),
                // The sender lives in the machine that we hold.
                _ = applied.changed() => {}
            }
        }
    }

    /// Answers another member. The network's receiving side calls it.
    ///
    /// # Errors
    /// If this member cannot answer; the sender sees it as its own [`CallError`].
    pub async fn handle(&self, request: Request) -> Result<Response, CallError> {
        let raft = &self.inner.raft;
        match request {
            Request::Append(rpc) => {
                // Without room for the entries this member is as good as away; dying of a full disk is worse.
                if !rpc.entries.is_empty()
                    && let Err(full) = self.check_space()
                {
                    self.tell_full(&full);
                    return Err(CallError::NotDelivered(full.to_string()));
                }
                let answer = raft.append_entries(rpc).await.map_err(refused)?;
                if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
                    self.heard();
                }
                Ok(Response::Append(answer))
            }
            Request::Vote(rpc) => raft.vote(rpc).await.map(Response::Vote).map_err(refused),
            Request::PreVote(rpc) => raft.pre_vote(rpc).await.map(Response::Vote).map_err(refused),
            Request::Snapshot { vote, meta, image } => {
                let snapshot = crate::raft::Snapshot { meta, snapshot: image };
                let answer = raft.install_full_snapshot(vote, snapshot).await.map_err(refused)?;
                self.heard();
                Ok(Response::Snapshot(answer))
            }
            Request::TransferLeader(request) => {
                raft.handle_transfer_leader(request).await.map(Response::TransferLeader).map_err(refused)
            }
            // A second hop would only chase a leader that is changing.
            Request::Propose(proposal) => Ok(Response::Propose(self.propose_here(proposal).await)),
            Request::Join(peer) if self.leaves_for_good(peer.node) => {
                let node = peer.node;
                Err(CallError::NotDelivered(format!(
                    "node {node} was decommissioned; `aquifer node resume {node}` on another node lets it in again"
                )))
            }
            Request::Join(peer) if self.votes_elsewhere(&peer) => Err(CallError::NotDelivered(format!(
                "node {} votes with another metadata.dir and answers: two processes run with its node.id",
                peer.node
            ))),
            Request::Join(peer) => match self.leader() {
                Some(leader) if leader.node == self.inner.node => {
                    let added = self.add_voter(peer, JOIN_LIMIT).await;
                    added
                        .map(|()| Response::Join(Ok(())))
                        .map_err(|error| CallError::NoAnswer(error.to_string()))
                }
                leader => Ok(Response::Join(Err(leader))),
            },
        }
    }

    /// What this member knows of itself and the quorum.
    pub fn status(&self) -> QuorumStatus {
        let receiver = self.inner.raft.metrics();
        let metrics = receiver.borrow_watched();
        let membership = metrics.membership_config.membership();
        QuorumStatus {
            node: self.inner.node,
            role: Role::of(metrics.state),
            leader: metrics.current_leader.map(node_id),
            term: metrics.current_term,
            voters: in_order(membership.voter_ids()),
            learners: in_order(membership.learner_ids()),
            last_log: LogIndex(metrics.last_log_index.unwrap_or(0)),
            applied: LogIndex(metrics.last_applied.map_or(0, |last| last.index)),
            snapshot: metrics.snapshot.map(|last| LogIndex(last.index)),
            purged: metrics.purged.map(|last| LogIndex(last.index)),
            failure: failure_of(&metrics.running_state),
            free_bytes: self.inner.directory.as_ref().and_then(|dir| free_bytes(dir.path()).ok()),
        }
    }

    /// Waits until the cluster has its id in the image here, which is when it can be used.
    ///
    /// # Errors
    /// When the member has stopped before.
    pub async fn ready(&self) -> Result<(), FeedEnded> {
        let mut after = LogIndex(0);
        while self.image().cluster_id().is_none() {
            after = match self.pull(after).await? {
                FeedChunk::Snapshot { index, .. } => index,
                FeedChunk::Entries { through, .. } => through,
            };
        }
        Ok(())
    }

    /// For how long no leader was heard; on the leader itself, no majority. A member that is cut off goes on to know its last
    /// leader, and a leader that is goes on to think that it leads.
    pub fn silence(&self) -> Duration {
        let acked = {
            let receiver = self.inner.raft.metrics();
            let metrics = receiver.borrow_watched();
            let mut voters = metrics.membership_config.membership().voter_ids();
            let alone = voters.next() == Some(self.inner.member) && voters.next().is_none();
            match metrics.state {
                ServerState::Leader if alone => Some(Duration::ZERO),
                ServerState::Leader => metrics.last_quorum_acked.as_ref().map(|at| at.elapsed()),
                _ => None,
            }
        };
        let mut heard = self.inner.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = acked.and_then(|acked| Instant::now().checked_sub(acked)) {
            // Once it does not lead any more, it counts from here.
            *heard = at.max(*heard);
        }
        heard.elapsed()
    }

    fn heard(&self) {
        *self.inner.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// The leader, as far as known here.
    pub fn leader(&self) -> Option<Peer> {
        let receiver = self.inner.raft.metrics();
        let metrics = receiver.borrow_watched();
        let id = metrics.current_leader?;
        metrics.membership_config.membership().get_node(&id).map(|node| peer(id, node))
    }

    /// All members, as far as known here: voters and those that are becoming voters.
    pub fn members(&self) -> Vec<Peer> {
        let receiver = self.inner.raft.metrics();
        let metrics = receiver.borrow_watched();
        metrics.membership_config.membership().nodes().map(|(id, node)| peer(*id, node)).collect()
    }

    /// Whether this very member votes, by the latest membership it knows, and no change of the voters is half done.
    pub fn is_voter(&self) -> bool {
        let receiver = self.inner.raft.metrics();
        let metrics = receiver.borrow_watched();
        let configs = metrics.membership_config.membership().get_joint_config();
        matches!(&configs[..], [voters] if voters.contains(&self.inner.member))
    }

    /// On the leader: the voters that answered within `silence` and whose log ends at most `lag` entries before its own,
    /// and the leader itself. Nobody elsewhere.
    pub fn current_voters(&self, silence: Duration, lag: u64) -> Vec<NodeId> {
        let receiver = self.inner.raft.metrics();
        let metrics = receiver.borrow_watched();
        let (Some(heard), Some(matched)) = (&metrics.heartbeat, &metrics.replication) else {
            return Vec::new();
        };
        let end = metrics.last_log_index.unwrap_or(0);
        let is_current = |id: &u64| {
            let heard = heard.get(id).copied().flatten().is_some_and(|at| at.elapsed() <= silence);
            let matched = matched.get(id).copied().flatten().map_or(0, |last| last.index);
            *id == self.inner.member || heard && matched.saturating_add(lag) >= end
        };
        in_order(metrics.membership_config.membership().voter_ids().filter(is_current))
    }

    /// On the leader: learners that did not answer within `silence`. Nobody elsewhere.
    pub fn silent_learners(&self, silence: Duration) -> Vec<NodeId> {
        let receiver = self.inner.raft.metrics();
        let metrics = receiver.borrow_watched();
        let Some(heard) = &metrics.heartbeat else { return Vec::new() };
        let is_silent = |id: &u64| heard.get(id).copied().flatten().is_none_or(|at| at.elapsed() > silence);
        in_order(metrics.membership_config.membership().learner_ids().filter(is_silent))
    }

    /// Adds a member as a voter; it must be running with [`crate::Formation::Join`]. Only the leader can.
    ///
    /// An earlier storage of the same node loses its vote in the same change. A voter that is known already gets
    /// the address that is given.
    ///
    /// # Errors
    /// With raft's reason, or when it has not caught up within `limit`.
    pub async fn add_voter(&self, peer: Peer, limit: Duration) -> Result<(), MembershipError> {
        let id = raft_id(peer.node, peer.directory);
        let (mut voters, half_done, address) = {
            let receiver = self.inner.raft.metrics();
            let metrics = receiver.borrow_watched();
            let membership = metrics.membership_config.membership();
            let configs = membership.get_joint_config();
            let voters: BTreeSet<u64> = configs.last().cloned().unwrap_or_default();
            (voters, configs.len() > 1, membership.get_node(&id).map(|node| node.addr.clone()))
        };
        let node = BasicNode { addr: peer.address };
        let raft = &self.inner.raft;
        if half_done {
            // Who began it was lost before its second step. Until that, the voters of before must agree too, dead ones among them.
            let rest = ChangeMembers::ReplaceAllVoters(voters);
            return self.changed(raft.change_membership(rest, false), limit).await;
        }
        if voters.contains(&id) {
            if address.as_ref() == Some(&node.addr) {
                return Ok(());
            }
            let moved = ChangeMembers::SetNodes(BTreeMap::from([(id, node)]));
            return self.changed(raft.change_membership(moved, false), limit).await;
        }
        voters.retain(|voter| node_id(*voter) != peer.node);
        voters.insert(id);
        let change = async {
            // First a learner that has caught up, so that the new voter never holds up a commit.
            raft.add_learner(id, node, true).await?;
            raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), false).await
        };
        self.changed(change, limit).await
    }

    /// Takes a voter out of the quorum. Only the leader can.
    ///
    /// # Errors
    /// With raft's reason, or when it is not committed within `limit`.
    pub async fn remove_voter(&self, node: NodeId, limit: Duration) -> Result<(), MembershipError> {
        let change = ChangeMembers::RemoveVoters(self.ids_of(node));
        self.changed(self.inner.raft.change_membership(change, false), limit).await
    }

    /// Takes a voter's vote: it follows on as a learner. Only the leader can.
    ///
    /// # Errors
    /// With raft's reason, or when it is not committed within `limit`.
    pub async fn take_vote(&self, node: NodeId, limit: Duration) -> Result<(), MembershipError> {
        let change = ChangeMembers::RemoveVoters(self.ids_of(node));
        self.changed(self.inner.raft.change_membership(change, true), limit).await
    }

    /// Takes a learner out of the quorum. Only the leader can.
    ///
    /// # Errors
    /// With raft's reason, or when it is not committed within `limit`.
    pub async fn remove_learner(&self, node: NodeId, limit: Duration) -> Result<(), MembershipError> {
        let change = ChangeMembers::RemoveNodes(self.ids_of(node));
        self.changed(self.inner.raft.change_membership(change, false), limit).await
    }

    fn ids_of(&self, node: NodeId) -> BTreeSet<u64> {
        self.members().iter().filter(|peer| peer.node == node).map(raft_id_of).collect()
    }

    /// Begins a snapshot now instead of after `snapshot_every` entries.
    pub async fn begin_snapshot(&self) {
        // A member that has stopped writes none.
        let _ = self.inner.raft.trigger().snapshot().await;
    }

    /// Stops the member and releases its storage: afterwards it can be started again from there.
    pub async fn shutdown(&self) {
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::error!(node = %self.inner.node, %error, "the raft core ended badly");
        }
        self.inner.stopped.cancel();
        if let Err(left) = self.inner.tasks.shutdown(STOP_LIMIT).await {
            tracing::error!(node = %self.inner.node, left, "tasks of the metadata quorum did not end");
        }
        let (backend, snapshots) = (self.inner.backend.clone(), self.inner.machine.snapshots().clone());
        let closed = aquifer_runtime::blocking(move || {
            snapshots.close();
            backend.close();
        });
        if let Err(error) = closed.await {
            tracing::error!(node = %self.inner.node, %error, "the metadata directory was not closed");
        }
        if let Some(directory) = &self.inner.directory {
            directory.release();
        }
    }

    async fn propose_here(&self, proposal: Proposal) -> Result<Committed, ProposeError> {
        let inner = &*self.inner;
        let bytes = proposal.encoded().len();
        if bytes > MAX_COMMAND_BYTES {
            return Err(ProposeError::TooLarge { bytes, limit: MAX_COMMAND_BYTES });
        }
        if let Some(reason) = self.failure() {
            return Err(ProposeError::Stopped { node: inner.node, reason });
        }
        if inner.stopped.is_cancelled() {
            return Err(ProposeError::Stopped { node: inner.node, reason: "it was shut down".to_owned() });
        }
        let Ok(_permit) = inner.pending.try_acquire() else {
            return Err(ProposeError::Busy { node: inner.node, limit: MAX_PENDING_PROPOSALS });
        };
        self.check_space()?;
        let unknown = |reason: String| ProposeError::Unknown { reason };
        let written = tokio::time::timeout(inner.propose_limit, inner.raft.client_write(proposal)).await;
        let Ok(written) = written else {
            return Err(unknown(format!("it was not committed within {:?}", inner.propose_limit)));
        };
        match written {
            Ok(response) => {
                let Reply(verdict) = response.data;
                Ok((LogIndex(response.log_id.index), verdict.expect("a command always has a verdict")))
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                Err(ProposeError::NoLeader { leader: to.leader_id.map(node_id) })
            }
            Err(error) => Err(unknown(error.to_string())),
        }
    }

    async fn forward(&self, leader: NodeId, proposal: Proposal) -> Result<Committed, ProposeError> {
        let no_leader = ProposeError::NoLeader { leader: Some(leader) };
        let Some(peer) = self.leader().filter(|peer| peer.node == leader) else { return Err(no_leader) };
        match self.inner.network.call(&peer, Request::Propose(proposal), self.inner.propose_limit).await {
            Ok(Response::Propose(result)) => result,
            Ok(_) => {
                Err(ProposeError::Unknown { reason: format!("node {leader} gave an answer of another kind") })
            }
            Err(CallError::NotDelivered(_)) => Err(no_leader),
            Err(CallError::NoAnswer(reason)) => Err(ProposeError::Unknown { reason }),
        }
    }

    pub(crate) fn check_space(&self) -> Result<(), ProposeError> {
        let Some(directory) = &self.inner.directory else { return Ok(()) };
        // A system that does not answer is no reason to refuse; a write will tell.
        let free = free_bytes(directory.path()).unwrap_or(u64::MAX);
        if free >= DISK_RESERVE_BYTES {
            return Ok(());
        }
        let dir = directory.path().to_owned();
        Err(ProposeError::DiskFull { node: self.inner.node, dir, free, needed: DISK_RESERVE_BYTES })
    }

    fn tell_full(&self, full: &ProposeError) {
        let mut told = self.inner.full_told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
            *told = Some(Instant::now());
            tracing::warn!(node = %self.inner.node, reason = %full, "this member of the quorum cannot follow its leader");
        }
    }

    pub(crate) fn ended(&self) -> FeedEnded {
        let reason = self.failure().unwrap_or_else(|| "it was shut down".to_owned());
        FeedEnded { node: self.inner.node, reason }
    }

    fn failure(&self) -> Option<String> {
        failure_of(&self.inner.raft.metrics().borrow_watched().running_state)
    }

    async fn changed<T>(
        &self,
        change: impl Future<Output = Result<T, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>>,
        limit: Duration,
    ) -> Result<(), MembershipError> {
        match tokio::time::timeout(limit, change).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(MembershipError(error.to_string())),
            Err(_) => Err(MembershipError(format!("not committed within {limit:?}; it may still be"))),
        }
    }
}

impl WeakQuorum {
    pub(crate) fn upgrade(&self) -> Option<Quorum> {
        self.0.upgrade().map(|inner| Quorum { inner })
    }
}

impl fmt::Debug for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quorum").field("node", &self.inner.node).finish_non_exhaustive()
    }
}

/// Raft orders members by storage first.
fn in_order(ids: impl Iterator<Item = u64>) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = ids.map(node_id).collect();
    nodes.sort_unstable();
    nodes
}

pub(crate) fn raft_id_of(peer: &Peer) -> u64 {
    raft_id(peer.node, peer.directory)
}

/// Why raft has stopped, if it has.
pub(crate) fn failure_of(running: &Result<(), Fatal<TypeConfig>>) -> Option<String> {
    running.as_ref().err().map(ToString::to_string)
}

fn refused(error: impl fmt::Display) -> CallError {
    // Raft took nothing: it has stopped, or the request was of a past leader.
    CallError::NotDelivered(error.to_string())
}
