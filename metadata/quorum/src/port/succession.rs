//! Succeeding a leader whose process has ended, without waiting for an election's time limit.
//!
//! A follower keeps faith with a leader that it does not hear for 13 to 16 heartbeats: the leader's lease, and then a while drawn at
//! random. Where a connection breaks and the leader's host answers that nobody listens there, waiting tells nothing more: voters that
//! reach a majority run for the lead at once, one after the other. Votes are given by raft's rules as ever, so a mistake costs
//! an election and nothing else.

use std::convert::Infallible;
use std::time::Duration;

use aquifer_peer::{End, Gone, Peers, Probe};
use aquifer_runtime::CancellationToken;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::sleep;

use crate::network::Peer;
use crate::quorum::Quorum;

/// How long it may take to find out whether a process lives. Without an answer the heartbeats decide.
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
    // The term whose leader is known to have ended: each of its connections tells that again.
    let mut ended = None;
    loop {
        let node = match gone.recv().await {
            Ok(Gone { end: End::Goodbye, .. }) => continue,
            Ok(Gone { node, .. }) => Some(node),
            // Among the news that were missed may be the leader's.
            Err(RecvError::Lagged(_)) => None,
            Err(RecvError::Closed) => return,
        };
        let Some((leader, term)) = quorum.followed() else { continue };
        let is_meant = node.is_none_or(|node| node == leader.node);
        if !is_meant || ended == Some(term) {
            continue;
        }
        // A process that is there again is nothing that is certain: its former self may have been succeeded long ago.
        if peers.probe(leader.node, &leader.address, PROBE_LIMIT).await == Probe::Refused {
            ended = Some(term);
            tracing::info!(leader = %leader.node, term, "the process of the metadata quorum's leader has ended");
            succeed(quorum, peers, &leader, term).await;
        }
    }
}

/// Runs for the lead when it is this member's turn, unless it knows of a later term by then.
async fn succeed(quorum: &Quorum, peers: &Peers, former: &Peer, term: u64) {
    let voters = quorum.voters();
    let Some(turn) = turn(&voters, former, &quorum.me()) else { return };
    sleep(TURN * turn).await;
    // A term that leads nowhere would depose the next leader once it is heard of.
    if !majority_is_there(peers, &voters, former, &quorum.me()).await {
        return;
    }
    quorum.campaign(term).await;
}

/// How many voters come before `me`; `None` if it is not one. `voters` are in the order of their votes: of two in the same term
/// the later one's goes before.
fn turn(voters: &[Peer], former: &Peer, me: &Peer) -> Option<u32> {
    let is = |one: &Peer, other: &Peer| (one.node, one.directory) == (other.node, other.directory);
    let at = voters.iter().filter(|voter| !is(voter, former)).position(|voter| is(voter, me))?;
    u32::try_from(at).ok()
}

/// Whether as many other voters answer as this one needs.
async fn majority_is_there(peers: &Peers, voters: &[Peer], former: &Peer, me: &Peer) -> bool {
    let others = voters.iter().filter(|voter| ![former.node, me.node].contains(&voter.node));
    let mut probes: FuturesUnordered<_> =
        others.map(|voter| peers.probe(voter.node, &voter.address, PROBE_LIMIT)).collect();
    let mut missing = voters.len() / 2;
    while missing > 0
        && let Some(probe) = probes.next().await
    {
        missing -= usize::from(matches!(probe, Probe::Alive { .. }));
    }
    missing == 0
}

#[cfg(test)]
mod tests {
    use aquifer_types::NodeId;

    use super::*;

    fn voter(node: u32, directory: u32) -> Peer {
        Peer { node: NodeId(node), directory, address: String::new() }
    }

    #[test]
    fn voters_take_turns_without_the_former_leader() {
        let voters = [voter(1, 0), voter(3, 0), voter(2, 7)];
        assert_eq!(turn(&voters, &voters[0], &voters[1]), Some(0));
        assert_eq!(turn(&voters, &voters[0], &voters[2]), Some(1));
        assert_eq!(turn(&voters, &voters[2], &voters[1]), Some(1));
    }

    #[test]
    fn who_has_no_vote_does_not_run() {
        let voters = [voter(1, 0), voter(2, 0)];
        assert_eq!(turn(&voters, &voters[0], &voter(7, 0)), None);
        assert_eq!(turn(&voters, &voters[0], &voter(2, 5)), None, "the vote is its former disk's");
    }
}
