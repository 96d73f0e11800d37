//! How a node stops: it leaves the others with everything that it led and had, or it stops at once with all of them.

use std::time::Duration;

use aquifer_image::FenceBroker;
use aquifer_rebalancing::{depart, until_others_have_stopped};
use aquifer_types::NodeId;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::node::{Attempt, Broker, Node, SERVING_STOP_LIMIT};

/// How long a graceful stop tries to offload. What remains is in the WAL for the next start.
const OFFLOAD_STOP_LIMIT: Duration = Duration::from_secs(90);
/// How long the lead of the quorum, or the word that this broker leaves, may take to be handed over at a stop.
const LEAVING_LIMIT: Duration = Duration::from_secs(3);
/// How long requests in progress may take to end when everything stops: the other nodes are gone soon as well.
const SERVING_STOP_LIMIT_AT_ONCE: Duration = Duration::from_millis(300);

/// How a node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Others go on: they take over what it leads, and nothing is left in its WAL.
    Leaving,
    /// Everything stops: nobody takes over, nothing is offloaded. What was acknowledged is in the WAL, for the next start.
    AtOnce,
}

impl Node {
    /// Stops.
    ///
    /// # Errors
    /// Not everything was offloaded that should have been; it stays in the WAL for the next start.
    pub(crate) async fn stop(self, how: Stop) -> Attempt<()> {
        match how {
            Stop::Leaving => self.leave().await,
            Stop::AtOnce => {
                self.stop_at_once().await;
                Ok(())
            }
        }
    }

    /// Has others lead what it led, answers what was asked, offloads everything, leaves nothing in the WAL.
    async fn leave(self) -> Attempt<()> {
        if let Some(broker) = self.broker.as_ref().filter(|broker| broker.beating.is_some()) {
            depart(&broker.metadata, NodeId(broker.node), broker.epoch, self.storing.stopping()).await;
        }
        if let Err(left) = self.serving.shutdown(SERVING_STOP_LIMIT).await {
            warn!(left, "requests were cut off");
        }
        let mut offloaded = Ok(());
        if let Some(broker) = self.broker {
            offloaded = broker.streams.shutdown(OFFLOAD_STOP_LIMIT).await;
            broker.leave().await;
        }
        if let Err(left) = self.storing.shutdown(SERVING_STOP_LIMIT).await {
            warn!(left, "storage tasks were cut off");
        }
        if let Some(quorum) = &self.quorum {
            quorum.resign(LEAVING_LIMIT).await;
        }
        if let Err(left) = self.deciding.shutdown(SERVING_STOP_LIMIT).await {
            warn!(left, "quorum tasks were cut off");
        }
        info!("stopped");
        Ok(offloaded?)
    }

    /// Closes what is open, and waits for nobody else.
    async fn stop_at_once(self) {
        let serving = self.serving.shutdown(SERVING_STOP_LIMIT_AT_ONCE).await;
        // The WAL writes what was appended, and waits for mirrors only while they answer.
        let storing = self.storing.shutdown(SERVING_STOP_LIMIT).await;
        let deciding = self.deciding.shutdown(SERVING_STOP_LIMIT).await;
        let left: usize = [serving, storing, deciding].into_iter().filter_map(Result::err).sum();
        info!(left, "stopped at once; what is not in the store is in the WAL");
    }
}

impl Broker {
    /// Tells the others that this broker is gone, so that they need not find out.
    async fn leave(self) {
        let Some(beating) = self.beating else { return };
        // It would take the fence for somebody else's.
        let _ = beating.shutdown(LEAVING_LIMIT).await;
        let node = NodeId(self.node);
        if self.metadata.image().is_decommissioned(node) {
            return;
        }
        let leaving = self.metadata.propose(FenceBroker { node, broker_epoch: self.epoch });
        match timeout(LEAVING_LIMIT, leaving).await {
            Ok(Ok(_)) => info!("left the cluster"),
            Ok(Err(error)) => warn!(%error, "left the cluster without a word"),
            Err(_) => warn!("left the cluster without a word: no answer from the controllers"),
        }
        until_others_have_stopped(&self.metadata, node).await;
        if let Some(mirrors) = &self.mirrors {
            mirrors.leave(LEAVING_LIMIT).await;
        }
    }
}
