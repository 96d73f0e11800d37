//! The lead: handed over, run for, and waited for.

use std::time::Duration;

use aquifer_types::NodeId;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::TransferLeaderRequest;

use crate::network::Peer;
use crate::quorum::{Quorum, Role, raft_id_of};

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
        let leads = |peer: Option<Peer>| peer.is_some_and(|peer| peer.node == self.inner().node);
        let status = self.status();
        let another = |voters: &[NodeId]| voters.iter().copied().find(|voter| *voter != self.inner().node);
        let current = self.current_voters(HEIR_SILENCE, HEIR_LAG);
        let heir = another(&current).or_else(|| another(&status.voters));
        let (true, Some(heir)) = (status.role == Role::Leader, heir) else { return };
        self.transfer_lead(heir).await;
        let mut metrics = self.inner().raft.server_metrics();
        let handed_over = async { while leads(self.leader()) && metrics.changed().await.is_ok() {} };
        if tokio::time::timeout(limit, handed_over).await.is_err() {
            tracing::warn!(node = %self.inner().node, %heir, "the lead was not taken over in time");
        }
    }

    /// Runs for the lead now, whatever faith this member and the others have in the leader they know.
    pub(crate) async fn campaign(&self) {
        let vote = self.inner().raft.metrics().borrow_watched().vote;
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

    /// Waits until this member's part is another than `role`; for ever if that never happens.
    pub async fn role_leaves(&self, role: Role) {
        let mut metrics = self.inner().raft.server_metrics();
        while self.status().role == role {
            if metrics.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
