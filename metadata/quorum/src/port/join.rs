//! Becoming a voter and staying one.

use std::convert::Infallible;
use std::time::Duration;

use aquifer_peer::Peers;
use aquifer_runtime::CancellationToken;
use tokio::time::{Instant, sleep};

use super::network::PeerNetwork;
use crate::network::{Network as _, Peer, Request, Response};
use crate::quorum::Quorum;

/// Pause between two requests to be a voter.
const ASK_AGAIN: Duration = Duration::from_millis(300);
/// How often a voter looks whether it is one still, and asks once it has heard of no leader for [`SILENCE`].
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A voter that hears of no leader for so long may have been removed while it was down: its own log does not tell.
const SILENCE: Duration = Duration::from_secs(5);
/// How often it is told that this member is no voter, or hears of no leader.
const TELL_INTERVAL: Duration = Duration::from_secs(10);
/// How long a request may take: the newcomer first gets the whole log.
const JOIN_LIMIT: Duration = Duration::from_secs(40);
/// How long it may take to find out who listens at an address.
const DISCOVER_LIMIT: Duration = Duration::from_secs(2);

/// Sees to it that this member is a voter under `address`, asking the members and whoever listens at `servers`, until it stops.
/// For controllers only.
pub async fn stay_joined(
    quorum: Quorum,
    peers: Peers,
    address: String,
    servers: Vec<String>,
    stopping: CancellationToken,
) -> Result<(), Infallible> {
    let me = Peer { node: quorum.node(), directory: quorum.directory(), address };
    let network = PeerNetwork::new(peers.clone());
    stopping.run_until_cancelled(join(&quorum, &peers, &network, &me, &servers)).await;
    Ok(())
}

async fn join(quorum: &Quorum, peers: &Peers, network: &PeerNetwork, me: &Peer, servers: &[String]) {
    let (mut was_voter, mut hint) = (false, None);
    let mut tell_at = Instant::now() + SILENCE;
    loop {
        let is_voter = quorum.is_voter() && quorum.members().contains(me);
        if is_voter && !was_voter {
            tracing::info!(node = %me.node, voters = ?quorum.status().voters, "a voter of the metadata quorum");
        }
        was_voter = is_voter;
        if is_voter && quorum.silence() < SILENCE {
            tell_at = Instant::now();
            sleep(LOOK_EVERY).await;
            continue;
        }
        let mut answers = Vec::new();
        for target in targets(quorum, peers, servers, hint.take()).await {
            let answer = ask(quorum, network, &target, me).await;
            let text = match &answer {
                Ok(Ok(())) => "it is a voter".to_owned(),
                Ok(Err(None)) => "it hears of no leader".to_owned(),
                Ok(Err(Some(leader))) => format!("node {} leads", leader.node),
                Err(reason) => reason.clone(),
            };
            answers.push(format!("node {}: {text}", target.node));
            match answer {
                Ok(Ok(())) => break,
                Ok(Err(leader)) => hint = leader.filter(|leader| leader.node != me.node),
                Err(_) => {}
            }
        }
        if Instant::now() >= tell_at {
            tell_at = Instant::now() + TELL_INTERVAL;
            let (silent_s, answers) = (quorum.silence().as_secs(), answers.join("; "));
            match is_voter {
                true => tracing::warn!(
                    silent_s,
                    answers,
                    "no leader of the metadata quorum is heard, or no majority by its leader: asking for a place in it"
                ),
                false => tracing::warn!(
                    answers,
                    "this controller is no voter of the metadata quorum, or a change of the voters is half done: asking for its vote"
                ),
            }
        }
        sleep(if is_voter { LOOK_EVERY } else { ASK_AGAIN }).await;
    }
}

/// Whom to ask, the likeliest leader first.
async fn targets(quorum: &Quorum, peers: &Peers, servers: &[String], hint: Option<Peer>) -> Vec<Peer> {
    let known = || quorum.leader().filter(|_| quorum.silence() < SILENCE);
    if let Some(leader) = hint.or_else(known) {
        return vec![leader];
    }
    let mut found = Vec::new();
    for server in servers {
        if let Ok(node) = peers.discover(server, DISCOVER_LIMIT).await
            && node != quorum.node()
        {
            // A request to join is taken by whichever storage the node has.
            found.push(Peer { node, directory: 0, address: server.clone() });
        }
    }
    found
}

/// The answer: it is a voter, or who leads as far as known; or why there is none.
async fn ask(
    quorum: &Quorum,
    network: &PeerNetwork,
    target: &Peer,
    me: &Peer,
) -> Result<Result<(), Option<Peer>>, String> {
    let request = Request::Join(me.clone());
    let answer = if target.node == quorum.node() {
        quorum.handle(request).await
    } else {
        network.call(target, request, JOIN_LIMIT).await
    };
    match answer {
        Ok(Response::Join(answer)) => Ok(answer),
        Ok(_) => Err("an answer of another kind".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
