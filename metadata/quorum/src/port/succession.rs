//! Succeeding a leader whose process has ended, without waiting for an election's time limit.
//!
//! A follower keeps faith with a leader that it does not hear for 5 to 8 heartbeats. Where a connection breaks and the
//! leader's host answers that nobody listens there, waiting tells nothing more: the voters run for the lead at once, one after the other
//! in the order of their ids. Votes are given by raft's rules as ever, so a mistake costs an election and nothing else.

use std::convert::Infallible;
use std::time::Duration;

use aquifer_peer::{End, Gone, Peers, Probe};
use aquifer_runtime::CancellationToken;
use aquifer_types::NodeId;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;

use crate::network::Peer;
use crate::quorum::{Quorum, Role};

/// How long it may take to find out whether the leader's process lives. Without an answer the heartbeats decide.
const PROBE_LIMIT: Duration = Duration::from_millis(200);
/// For how long a voter leaves it to the one before it, whose log may be too short.
const TURN: Duration = Duration::from_millis(100);

/// Runs for the lead whenever the leader's process has certainly ended, until this member stops. For controllers only.
pub async fn succeed_dead_leaders(
    quorum: Quorum,
    peers: Peers,
    stopping: CancellationToken,
) -> Result<(), Infallible> {
    stopping.run_until_cancelled(watch(&quorum, &peers)).await;
    Ok(())
}

async fn watch(quorum: &Quorum, peers: &Peers) {
    let mut gone = peers.gone();
    // The term in which it was last succeeded: each of its connections tells of its end.
    let mut succeeded = None;
    loop {
        let instance = match gone.recv().await {
            Ok(Gone { end: End::Goodbye, .. }) => continue,
            Ok(Gone { node, instance, .. }) => Some((node, instance)),
            Err(RecvError::Lagged(_)) => None,
            Err(RecvError::Closed) => return,
        };
        let (leader, term) = (quorum.leader(), quorum.status().term);
        let Some(leader) = leader.filter(|leader| {
            let is_meant = instance.is_none_or(|(node, _)| node == leader.node);
            is_meant && leader.node != quorum.node() && succeeded != Some(term)
        }) else {
            continue;
        };
        if has_ended(peers, &leader, instance.map(|(_, instance)| instance)).await {
            succeeded = Some(term);
            succeed(quorum, &leader).await;
        }
    }
}

/// Whether the process of `leader` has certainly ended: nobody listens where it did, or another process than `instance`.
async fn has_ended(peers: &Peers, leader: &Peer, instance: Option<u64>) -> bool {
    match peers.probe(leader.node, &leader.address, PROBE_LIMIT).await {
        Probe::Alive { instance: found } => instance.is_some_and(|instance| instance != found),
        Probe::Refused => true,
        Probe::Silent => false,
    }
}

/// Runs for the lead when it is this member's turn, if nobody else has by then.
async fn succeed(quorum: &Quorum, former: &Peer) {
    let status = quorum.status();
    let Some(turn) = turn(&status.voters, former.node, quorum.node()) else { return };
    sleep(TURN * turn).await;
    let unsucceeded = quorum.leader().is_none_or(|leader| leader == *former);
    if unsucceeded && quorum.status().role == Role::Follower {
        tracing::info!(leader = %former.node, "the process of the quorum's leader has ended: running for the lead");
        quorum.campaign().await;
    }
}

/// How many voters come before `me`. None if it is not one.
fn turn(voters: &[NodeId], former: NodeId, me: NodeId) -> Option<u32> {
    let at = voters.iter().filter(|voter| **voter != former).position(|voter| *voter == me)?;
    u32::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_take_turns_in_the_order_of_their_ids_without_the_former_leader() {
        let voters = [NodeId(1), NodeId(2), NodeId(3)];
        assert_eq!(turn(&voters, NodeId(1), NodeId(2)), Some(0));
        assert_eq!(turn(&voters, NodeId(1), NodeId(3)), Some(1));
        assert_eq!(turn(&voters, NodeId(3), NodeId(2)), Some(1));
    }

    #[test]
    fn who_has_no_vote_does_not_run() {
        assert_eq!(turn(&[NodeId(1), NodeId(2)], NodeId(1), NodeId(7)), None);
    }
}
