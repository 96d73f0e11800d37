//! Whether there is a cluster already: what a controller with an empty directory must know before it does anything.

use std::collections::BTreeMap;
use std::time::Duration;

use aquifer_peer::{Caller, Declined, Listener, Peers};
use aquifer_types::{ClusterId, NodeId};
use bytes::Bytes;
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use super::{FORMATION, decode, encode};
use crate::config::Formation;
use crate::network::Peer;
use crate::quorum::WeakQuorum;

/// How long one question may take.
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// Pause before the others are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Rounds between two notices that something is still waited for.
const NOTICE_ROUNDS: u32 = 25;

/// What a controller says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Standing {
    /// Its directory is empty, and it does not know of a cluster.
    Blank,
    /// It is or was part of a cluster.
    Member {
        /// `None` until it has heard of its leader.
        cluster: Option<ClusterId>,
        /// Who belongs to it, as far as known.
        members: Vec<Peer>,
    },
}

pub(super) async fn standing(quorum: WeakQuorum) -> Result<Bytes, Declined> {
    let quorum = super::network::upgrade(&quorum)?;
    let (cluster, members) = (quorum.image().cluster_id(), quorum.members());
    Ok(encode(&Standing::Member { cluster, members }, &Bytes::new()))
}

/// Decides what a controller with an empty directory does: found the cluster, or join it.
///
/// `servers` are the internal addresses of all first controllers, this one's among them; `address` is this one's
/// as the others reach it. Of blank controllers the one with the lowest id founds, and only when *every* other one
/// was asked and is blank too: a wiped disk must never found a second cluster beside a living one. The rest wait
/// until there is one, and join. Waits as long as it takes.
pub async fn agree_on_formation(
    peers: &Peers,
    listener: &Listener,
    address: &str,
    servers: &[String],
) -> Formation {
    listener.serve(&FORMATION, |_: Caller, _: Bytes| async { Ok(encode(&Standing::Blank, &Bytes::new())) });
    let mut round = 0;
    loop {
        let standings = join_all(servers.iter().map(|server| ask(peers, server))).await;
        let found = standings.iter().flatten();
        if found.clone().any(|(_, standing)| matches!(standing, Standing::Member { cluster: Some(_), .. })) {
            return Formation::Join;
        }
        let blank = found.clone().all(|(_, standing)| matches!(standing, Standing::Blank));
        let lowest = found.map(|(node, _)| *node).min();
        let everybody = standings.iter().all(Option::is_some);
        if everybody && blank && lowest.is_none_or(|lowest| lowest >= peers.node()) {
            return Formation::Bootstrap(BTreeMap::from([(peers.node(), address.to_owned())]));
        }
        if round % NOTICE_ROUNDS == 0 {
            let missing: Vec<_> = servers
                .iter()
                .zip(&standings)
                .filter(|(_, found)| found.is_none())
                .map(|(server, _)| server)
                .collect();
            if missing.is_empty() {
                tracing::info!(founder = ?lowest, "waiting for the cluster to be founded");
            } else {
                tracing::info!(
                    ?missing,
                    "waiting for controllers that must be asked whether there is a cluster"
                );
            }
        }
        round += 1;
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn ask(peers: &Peers, server: &str) -> Option<(NodeId, Standing)> {
    let node = peers.discover(server, ASK_LIMIT).await.ok()?;
    let answer = peers.call(node, &FORMATION, Bytes::new(), ASK_LIMIT).await.ok()?;
    Some((node, decode(answer).ok()?.0))
}
