//! Brokers that cannot be taken over, and giving up what only their lost copies had.

use aquifer_mirror::{PeerCopies, Surrender, Takeovers};
use aquifer_types::NodeId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// This node's takeovers, once its broker looks after them.
pub(crate) type Looks = watch::Receiver<Option<Takeovers<PeerCopies>>>;

/// How it stands with a broker's takeover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recovery {
    pub(crate) node: NodeId,
    /// What the takeover waits for.
    pub(crate) blocked: Option<String>,
}

/// What was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GivenUp {
    pub(crate) node: NodeId,
    /// A sentence for each WAL segment that was ended where its longest copy ends.
    pub(crate) given_up: Vec<String>,
    pub(crate) partitions: Vec<GoesOn>,
}

/// Where a partition goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GoesOn {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// What was acknowledged at this offset or behind it, and is not here, is lost.
    pub(crate) offset: u64,
}

/// For a question about this broker.
fn takeovers(looks: &Looks, node: NodeId) -> Result<Takeovers<PeerCopies>, String> {
    let takeovers = looks.borrow().clone().ok_or(
        "this node takes over nobody: it is no broker of a cluster, or has not started yet; ask a broker",
    )?;
    let brokers = takeovers.brokers();
    if brokers.contains(&node) {
        return Ok(takeovers);
    }
    let brokers: Vec<_> = brokers.iter().map(ToString::to_string).collect();
    Err(format!("there is no broker {node} in this cluster: its brokers are {}", brokers.join(", ")))
}

/// What a takeover waits for, as far as this broker tried.
pub(crate) fn describe(looks: &Looks, node: NodeId) -> Result<Recovery, String> {
    let takeovers = takeovers(looks, node)?;
    let blocked = takeovers.blocked().remove(&node).or_else(|| {
        takeovers.is_left_to_itself(node).then(|| {
            format!("node {node} is running and ends what an earlier process of it left in the WAL; ask that node what it waits for")
        })
    });
    Ok(Recovery { node, blocked })
}

/// Takes the broker over with what answers.
pub(crate) async fn accept_loss(looks: &Looks, node: NodeId) -> Result<GivenUp, String> {
    let Surrender { taken, goes_on_at } =
        takeovers(looks, node)?.surrender(node).await.map_err(|error| error.to_string())?;
    let goes_on = |(topic, partition, offset)| GoesOn { topic, partition, offset };
    Ok(GivenUp {
        node,
        given_up: taken.given_up.iter().map(ToString::to_string).collect(),
        partitions: goes_on_at.into_iter().map(goes_on).collect(),
    })
}
