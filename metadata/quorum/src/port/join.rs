//! Becoming a voter and staying one.

use std::convert::Infallible;
use std::time::Duration;

use aquifer_peer::Peers;
use aquifer_runtime::CancellationToken;

use super::network::PeerNetwork;
use crate::network::{Network as _, Peer, Request, Response};
use crate::quorum::Quorum;

/// Pause between two looks whether this member is a voter, and between two requests to be one.
const ASK_AGAIN: Duration = Duration::from_millis(300);
/// How long a request may take: the newcomer first gets the whole log.
const JOIN_LIMIT: Duration = Duration::from_secs(40);
/// How long it may take to find out who listens at an address.
const DISCOVER_LIMIT: Duration = Duration::from_secs(2);

/// Sees to it that this member is a voter under `address`, asking the members and whoever listens at `servers`, until
/// `stopping`: one that was to leave the cluster loses its vote, and wants it back when it is resumed. For controllers only.
pub async fn stay_joined(
    quorum: Quorum,
    peers: Peers,
    address: String,
    servers: Vec<String>,
    stopping: CancellationToken,
) -> Result<(), Infallible> {
    let me = Peer { node: quorum.node(), directory: quorum.directory(), address };
    let network = PeerNetwork::new(peers.clone());
    let joining = async {
        let (mut hint, mut joined) = (None, false);
        loop {
            let is_joined = quorum.is_voter() && quorum.members().contains(&me);
            if is_joined && !joined {
                tracing::info!(node = %me.node, voters = ?quorum.status().voters, "a voter of the metadata quorum");
            }
            joined = is_joined;
            if !joined {
                for target in targets(&quorum, &peers, &servers, hint.take()).await {
                    match ask(&quorum, &network, &target, &me).await {
                        Some(Ok(())) => break,
                        Some(Err(leader)) => hint = leader,
                        None => {}
                    }
                }
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    };
    tokio::select! {
        () = stopping.cancelled() => {}
        () = joining => {}
    }
    Ok(())
}

/// Whom to ask, the likeliest leader first.
async fn targets(quorum: &Quorum, peers: &Peers, servers: &[String], hint: Option<Peer>) -> Vec<Peer> {
    if let Some(leader) = hint.or_else(|| quorum.leader()) {
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

async fn ask(
    quorum: &Quorum,
    network: &PeerNetwork,
    target: &Peer,
    me: &Peer,
) -> Option<Result<(), Option<Peer>>> {
    let request = Request::Join(me.clone());
    let answer = if target.node == quorum.node() {
        quorum.handle(request).await
    } else {
        network.call(target, request, JOIN_LIMIT).await
    };
    match answer {
        Ok(Response::Join(answer)) => Some(answer),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(target = %target.node, %error, "not a voter yet");
            None
        }
    }
}
