//! Who is not let in as a voter.

use std::time::Duration;

use aquifer_image::Leaving;
use aquifer_types::NodeId;
use openraft::async_runtime::watch::WatchReceiver as _;

use crate::transport::raft_id;
use crate::{Peer, Quorum};

/// A voter that answered within this time is there.
const SILENCE: Duration = Duration::from_secs(1);

impl Quorum {
    /// On the leader: whether another storage of the same node votes and is there. It must not lose its vote to an old one.
    pub(crate) fn votes_elsewhere(&self, peer: &Peer) -> bool {
        let asking = raft_id(peer.node, peer.directory);
        let membership = self.inner().raft.metrics().borrow_watched().membership_config.clone();
        let votes = membership.membership().voter_ids().any(|id| id == asking);
        !votes && self.current_voters(SILENCE, u64::MAX).contains(&peer.node)
    }

    /// Whether a node was or is being taken out of the cluster for good: it gets no vote again.
    pub(crate) fn leaves_for_good(&self, node: NodeId) -> bool {
        let image = self.image();
        let leaving = image.broker(node).and_then(|broker| broker.leaving);
        image.is_decommissioned(node) || leaving == Some(Leaving::Decommission)
    }
}
