//! Leaving the others with everything that this broker led, before it stops.

use std::time::Duration;

use aquifer_client::{MetadataClient, ProposeError};
use aquifer_image::{Broker, Image, Leaving, Rejection, StopBroker};
use aquifer_runtime::CancellationToken;
use aquifer_types::{BrokerEpoch, NodeId};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// How long the controllers may take to hear that this broker stops.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// How long the others may take to take over. What they have not taken then is out of service until they take it from the
/// stopped broker, or it is back.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
/// How long it stays for others that are stopping too.
const TOGETHER_LIMIT: Duration = Duration::from_secs(30);
/// How long it answers on, so that clients hear from it who leads now.
const FAREWELL: Duration = Duration::from_secs(1);

/// Has others lead what `node` leads, still serving; returns when it leads nothing, or will not be rid of more. `failed` ends
/// the wait.
pub async fn depart(
    metadata: &MetadataClient,
    node: NodeId,
    broker_epoch: BrokerEpoch,
    failed: &CancellationToken,
) {
    let began_with = metadata.image().led_count(node);
    let word = timeout(ASK_LIMIT, metadata.propose(StopBroker { node, broker_epoch })).await;
    match word {
        Ok(Ok(_)) => {}
        Ok(Err(ProposeError::Rejected(Rejection::UnknownBroker { .. }))) => return,
        Ok(Err(error)) => {
            warn!(%error, partitions = began_with, "the controllers could not be told of the stop: partitions stay");
            return;
        }
        Err(_) => {
            warn!(
                partitions = began_with,
                "no answer from the controllers within {ASK_LIMIT:?}: partitions stay"
            );
            return;
        }
    }
    let image = metadata.image();
    if image.led_count(node) > 0 && has_takers(&image, node) {
        let (partitions, limit) = (image.led_count(node), DRAIN_LIMIT);
        info!(partitions, ?limit, "waiting until others lead what this broker leads");
    }
    let mut changes = metadata.changes();
    let rid = changes.wait_for(|image| image.led_count(node) == 0 || !has_takers(image, node));
    tokio::select! {
        _ = timeout(DRAIN_LIMIT, rid) => {}
        () = failed.cancelled() => {}
    }
    let image = metadata.image();
    match image.led_count(node) {
        0 if began_with == 0 => {}
        0 => {
            info!(partitions = began_with, "others lead what this broker led");
            sleep(FAREWELL).await;
        }
        stayed if !has_takers(&image, node) => {
            warn!(stayed, "no other broker is in service that could lead: partitions stay with this one");
        }
        stayed => {
            warn!(stayed, limit = ?DRAIN_LIMIT, "partitions were not taken over in time: they stay with this broker");
        }
    }
}

/// Waits for others that are stopping at this time, as when a whole cluster is: they still need this node's vote and its copies
/// of their WAL to put into the store what they have.
pub async fn until_others_have_stopped(metadata: &MetadataClient, node: NodeId) {
    let stopping = |image: &Image| -> Vec<NodeId> {
        let stops = |broker: &&Broker| broker.is_live() && broker.leaving == Some(Leaving::Stop);
        let others = image.brokers().filter(|broker| broker.node != node).filter(stops);
        others.map(|broker| broker.node).collect()
    };
    let others = stopping(&metadata.image());
    if others.is_empty() {
        return;
    }
    info!(?others, limit = ?TOGETHER_LIMIT, "waiting for others that are stopping too (SIGQUIT stops a node at once)");
    let mut changes = metadata.changes();
    let stopped = changes.wait_for(|image| stopping(image).is_empty());
    if timeout(TOGETHER_LIMIT, stopped).await.is_err() {
        warn!(limit = ?TOGETHER_LIMIT, "others that are stopping too have not finished; what they have not offloaded stays in their WAL");
    }
}

fn has_takers(image: &Image, node: NodeId) -> bool {
    image.brokers().any(|broker| broker.node != node && broker.takes_more())
}
