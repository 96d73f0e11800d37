//! The lead: handed over, run for, and waited for.

use std::collections::BTreeSet;
use std::time::Duration;

use aquifer_types::NodeId;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::TransferLeaderRequest;

use crate::network::Peer;
use crate::quorum::{Quorum, Role, raft_id_of};
use crate::transport::peer;

/// A voter that was heard within so long, and lacks no more entries than that, takes over the lead without a wait.
const HEIR_SILENCE: Duration = Duration::from_secs(1);
const HEIR_LAG: u64 = 100;

impl Quorum {
    /// Asks `node` to take over the lead, if this member has it; nobody who could not take it.
    pub async fn transfer_lead(&self, node: NodeId) {
        if node == self.inner().node || !self.status().voters.contains(&node) {
            return;
        }
        // A member that has stopped has no lead to give.
        let heir = self.members().iter().filter(|peer| peer.node == node).map(raft_id_of).next();
        if let Some(heir) = heir {
            let _ = self.inner().raft.trigger().transfer_leader(heir).await;
        }
    }

    /// Hands the lead to another voter, if this member has it, and waits until another one leads: before a stop, so
    /// that nobody has to wait for an election. Gives up after `limit`.
    pub async fn resign(&self, limit: Duration) {
        let status = self.status();
        let another = |voters: &[NodeId]| voters.iter().copied().find(|voter| *voter != self.inner().node);
        let current = self.current_voters(HEIR_SILENCE, HEIR_LAG);
        let heir = another(&current).or_else(|| another(&status.voters));
        let (true, Some(heir)) = (status.role == Role::Leader, heir) else { return };
        self.transfer_lead(heir).await;
        let mut metrics = self.inner().raft.server_metrics();
        let me = self.inner().member;
        let handed_over = async {
            while metrics.borrow_and_update().current_leader == Some(me) && metrics.changed().await.is_ok() {}
        };
        if tokio::time::timeout(limit, handed_over).await.is_err() {
            tracing::warn!(node = %self.inner().node, %heir, "the lead was not taken over in time");
        }
    }

    /// The leader that this member follows, another one than itself, and its term.
    pub(crate) fn followed(&self) -> Option<(Peer, u64)> {
        let receiver = self.inner().raft.metrics();
        let metrics = receiver.borrow_watched();
        let id = metrics.current_leader.filter(|id| *id != self.inner().member)?;
        let node = metrics.membership_config.membership().get_node(&id)?;
        Some((peer(id, node), metrics.current_term))
    }

    /// Who votes, in raft's own order.
    pub(crate) fn voters(&self) -> Vec<Peer> {
        let receiver = self.inner().raft.metrics();
        let metrics = receiver.borrow_watched();
        let membership = metrics.membership_config.membership();
        let ids: BTreeSet<u64> = membership.voter_ids().collect();
        ids.into_iter().filter_map(|id| Some(peer(id, membership.get_node(&id)?))).collect()
    }

    /// This member, without its address.
    pub(crate) fn me(&self) -> Peer {
        Peer { node: self.node(), directory: self.directory(), address: String::new() }
    }

    /// Runs for the lead now, whatever faith this member and the others have in the leader of `term`. Not if it knows of a later
    /// term, and not with a full disk: it could lead and take nothing.
    pub(crate) async fn campaign(&self, term: u64) {
        let (vote, known, state) = {
            let receiver = self.inner().raft.metrics();
            let metrics = receiver.borrow_watched();
            (metrics.vote, metrics.current_term, metrics.state)
        };
        if known != term || Role::of(state) != Role::Follower || self.check_space().is_err() {
            return;
        }
        tracing::info!(node = %self.node(), after = term, "running for the lead of the metadata quorum");
        let request = TransferLeaderRequest::new(vote, self.inner().member, None);
        let refused = match self.inner().raft.handle_transfer_leader(request).await {
            Ok(Ok(())) => return,
            // The vote is another one by now: somebody else runs already.
            Ok(Err(error)) => error.to_string(),
            // A member that has stopped runs for nothing.
            Err(error) => error.to_string(),
        };
        tracing::debug!(refused, "this member does not run for the lead");
    }

    /// This member's part, as [`Self::status`] tells it with everything else.
    pub fn role(&self) -> Role {
        Role::of(self.inner().raft.server_metrics().borrow_watched().state)
    }

    /// Waits until this member's part is another one; for ever if that never happens.
    pub async fn other_role(&self, than: Role) -> Role {
        let mut metrics = self.inner().raft.server_metrics();
        loop {
            let role = Role::of(metrics.borrow_and_update().state);
            if role != than {
                return role;
            }
            if metrics.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
