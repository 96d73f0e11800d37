//! The way from any node to the active controller.

use std::sync::Arc;
use std::time::Duration;

use aquifer_client::Source;
use aquifer_peer::{Caller, Channel, Class, Declined};
use aquifer_quorum::Role;
use aquifer_types::NodeId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::desk::Desk;
use super::request::{Answer, Request};
use aquifer_heartbeat::Port;

/// Questions about nodes, to the active controller.
pub(crate) const ADMIN: Channel = Channel {
    id: 24,
    name: "admin",
    class: Class::Control,
    max_bytes: 1 << 20,
    in_flight_bytes: 4 << 20,
    in_flight_calls: 16,
};

/// How long the active controller is looked for, its answer included.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// Pause before another controller is asked.
const ASK_AGAIN: Duration = Duration::from_millis(200);

#[derive(Serialize, Deserialize)]
enum Told {
    Answer(Result<Answer, String>),
    /// Who leads the quorum, as far as known.
    NotActive(Option<NodeId>),
}

/// Answers the other nodes on this controller.
pub(super) fn serve(port: &Port, desk: &Arc<Desk>) {
    let desk = desk.clone();
    port.listener.serve(&ADMIN, move |_: Caller, request: Bytes| {
        let desk = desk.clone();
        async move {
            let request = serde_json::from_slice(&request).map_err(|error| Declined(error.to_string()))?;
            let told = match desk.quorum.status().role {
                Role::Leader => Told::Answer(desk.answer(request).await),
                _ => Told::NotActive(desk.quorum.leader().map(|leader| leader.node)),
            };
            Ok(serde_json::to_vec(&told).expect("texts and numbers always encode").into())
        }
    });
}

/// Asks the active controller, wherever it is.
pub(crate) struct Relay {
    source: Source,
    port: Option<Port>,
    /// On a controller.
    desk: Option<Arc<Desk>>,
}

impl Relay {
    pub(super) fn new(source: Source, port: Option<Port>, desk: Option<Arc<Desk>>) -> Self {
        Self { source, port, desk }
    }

    /// The active controller's answer, or why there is none. Asking twice does no harm.
    pub(crate) async fn ask(&self, request: Request) -> Result<Answer, String> {
        let Some(port) = &self.port else {
            return match &self.desk {
                Some(desk) => desk.answer(request).await,
                None => Err("this node has no way to a controller".to_owned()),
            };
        };
        let bytes: Bytes = serde_json::to_vec(&request).expect("numbers and names always encode").into();
        let deadline = Instant::now() + ASK_LIMIT;
        let (mut hint, mut reason) = (None, "no controller is known yet".to_owned());
        let mut turn = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!(
                    "the active controller did not answer within {ASK_LIMIT:?} ({reason}); does a majority of the controllers run?"
                ));
            }
            if let Some(node) = hint.take().or_else(|| self.likely(turn)) {
                match port.peers.call(node, &ADMIN, bytes.clone(), left).await {
                    Ok(told) => match serde_json::from_slice(&told) {
                        Ok(Told::Answer(answer)) => return answer,
                        Ok(Told::NotActive(leader)) => {
                            reason = format!("node {node} does not lead the quorum");
                            hint = leader.filter(|leader| *leader != node);
                        }
                        Err(error) => reason = format!("node {node} answers what cannot be read: {error}"),
                    },
                    Err(error) => reason = format!("node {node}: {error}"),
                }
            }
            if hint.is_none() {
                turn += 1;
                sleep(ASK_AGAIN).await;
            }
        }
    }

    /// The leader as this node knows it, or one controller after the other.
    fn likely(&self, turn: usize) -> Option<NodeId> {
        match &self.source {
            Source::Member(quorum) => quorum.leader().map(|leader| leader.node),
            Source::Remote(quorum) => {
                let controllers = quorum.controllers();
                controllers.get(turn % controllers.len().max(1)).copied()
            }
        }
    }
}
