//! Heartbeats: brokers send them, and the active controller, which is the leader of the metadata quorum, fences those
//! that it does not hear or whose process has certainly ended.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aquifer_client::{MetadataClient, Source};
use aquifer_controller::Liveness;
use aquifer_image::{FenceBroker, Image};
use aquifer_peer::{Caller, Channel, Class, Declined, End, Gone, Peers, Probe};
use aquifer_quorum::{ProposeError, Quorum, Role};
use aquifer_runtime::{OnEnd, TaskGroup};
use aquifer_types::{BrokerEpoch, LogIndex, NodeId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use crate::port::{Port, address, instance};

/// A broker's word that it is alive.
pub const HEARTBEAT: Channel = Channel {
    id: 16,
    name: "heartbeat",
    class: Class::Control,
    max_bytes: 4 << 10,
    in_flight_bytes: 64 << 10,
    in_flight_calls: 16,
};

/// Heartbeats on their way to the controller's task; a broker whose beat finds no room is heard by its next one.
const BEATS: usize = 1_024;
/// Looks at the sessions in one session.
const LOOKS: u32 = 10;
/// How long a probe of a process may take. Without an answer the session decides.
const PROBE_LIMIT: Duration = Duration::from_millis(500);
/// For how long it is proposed again to fence a process that has ended, and how often. Longer than a proposal may take.
const FENCE_LIMIT: Duration = Duration::from_secs(15);
const FENCE_AGAIN: Duration = Duration::from_millis(20);

#[derive(Serialize, Deserialize)]
struct Beat {
    epoch: BrokerEpoch,
}

#[derive(Serialize, Deserialize)]
enum Reply {
    Heard,
    /// This one is not the active controller; who is, as far as known.
    NotActive(Option<NodeId>),
}

/// A broker whose process must end.
#[derive(Debug, thiserror::Error)]
#[error(
    "broker {node} was taken for dead by the controller, or another process of the node has registered; this process cannot go on, start it again"
)]
struct Fenced {
    node: NodeId,
}

/// Serves heartbeats and, while `quorum` leads, decides who is dead.
pub fn start_controller(port: &Port, quorum: &Quorum, session: Duration, tasks: &TaskGroup) {
    let (beats, heard) = mpsc::channel(BEATS);
    let member = quorum.clone();
    port.listener.serve(&HEARTBEAT, move |caller: Caller, beat: Bytes| {
        let answer = take_beat(&member, &beats, caller, &beat);
        async move { answer }
    });
    let controller = Controller {
        peers: port.peers.clone(),
        listener: port.endpoint.listener.clone(),
        quorum: quorum.clone(),
        session,
        began: Instant::now(),
        active: None,
        tasks: tasks.clone(),
    };
    tasks.spawn("active-controller", OnEnd::Continue, controller.run(heard));
}

fn take_beat(
    quorum: &Quorum,
    beats: &mpsc::Sender<(NodeId, BrokerEpoch)>,
    caller: Caller,
    beat: &[u8],
) -> Result<Bytes, Declined> {
    let Beat { epoch } = serde_json::from_slice(beat).map_err(|error| Declined(error.to_string()))?;
    let reply = match quorum.role() {
        Role::Leader => {
            beats.try_send((caller.node, epoch)).map_err(|error| Declined(error.to_string()))?;
            Reply::Heard
        }
        _ => Reply::NotActive(quorum.leader().map(|leader| leader.node)),
    };
    Ok(serde_json::to_vec(&reply).expect("a reply of numbers always encodes").into())
}

struct Controller {
    peers: Peers,
    /// The internal port's listener name.
    listener: String,
    quorum: Quorum,
    session: Duration,
    began: Instant,
    /// While this node leads the quorum.
    active: Option<Liveness>,
    tasks: TaskGroup,
}

impl Controller {
    async fn run(mut self, mut beats: mpsc::Receiver<(NodeId, BrokerEpoch)>) -> Result<(), Infallible> {
        let stopping = self.tasks.stopping().clone();
        let mut gone = self.peers.gone();
        let mut looks = interval(self.session / LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut role = self.quorum.role();
        loop {
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                // A new leader looks at once: the former one may have died with its broker.
                other = self.quorum.other_role(role) => {
                    role = other;
                    self.look();
                }
                Some((node, epoch)) = beats.recv() => {
                    let now_ms = self.now_ms();
                    if let Some(liveness) = &mut self.active {
                        liveness.heard(node, epoch, now_ms);
                    }
                }
                gone = gone.recv() => match gone {
                    Ok(Gone { end: End::Goodbye, .. }) => {}
                    Ok(Gone { node, .. }) => self.look_after(node),
                    Err(RecvError::Lagged(_)) => self.look_after_all(),
                    Err(RecvError::Closed) => return Ok(()),
                },
                _ = looks.tick() => self.look(),
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).expect("no process runs for so long")
    }

    fn look(&mut self) {
        if self.quorum.role() != Role::Leader {
            self.active = None;
            return;
        }
        let (image, now_ms) = (self.quorum.image(), self.now_ms());
        let fresh = self.active.is_none();
        let session_ms = u64::try_from(self.session.as_millis()).expect("bounded by its option");
        let due = self.active.get_or_insert_with(|| Liveness::new(session_ms)).due(&image, now_ms);
        for fence in due {
            warn!(broker = %fence.node, session = ?self.session, "no heartbeat within the session: fencing");
            self.fence(fence);
        }
        if fresh {
            // The former leader may have died with its broker, and nobody has told this one.
            self.look_after_all();
        }
    }

    fn look_after_all(&self) {
        let image = self.quorum.image();
        let others = image.brokers().filter(|broker| broker.is_live() && broker.node != self.quorum.node());
        others.for_each(|broker| self.look_after(broker.node));
    }

    /// Asks whether the registered process of a broker still lives, and fences it if it certainly does not.
    fn look_after(&self, node: NodeId) {
        let image = self.quorum.image();
        let Some(broker) = image.broker(node).filter(|broker| broker.is_live() && self.active.is_some())
        else {
            return;
        };
        // Where this registration says that it listens: what else is known may be an earlier one's.
        let Some(address) = broker.endpoint(&self.listener).map(address) else { return };
        let (peers, quorum) = (self.peers.clone(), self.quorum.clone());
        let registered = instance(broker.incarnation);
        self.tasks.spawn("probe", OnEnd::Continue, async move {
            let ended = match peers.probe(node, &address, PROBE_LIMIT).await {
                Probe::Alive { instance } => instance != registered,
                Probe::Refused => true,
                Probe::Silent => false,
            };
            if ended && let Some(fence) = Liveness::ended(&quorum.image(), node, registered) {
                warn!(broker = %node, "its process has ended: fencing");
                fence_ended(&quorum, fence).await;
            }
            Ok::<_, Infallible>(())
        });
    }

    fn fence(&self, fence: FenceBroker) {
        let quorum = self.quorum.clone();
        self.tasks.spawn("fence", OnEnd::Continue, async move {
            // The next look says it again.
            if let Err(error) = propose(&quorum, &fence).await {
                warn!(broker = %fence.node, %error, "not fenced yet");
            }
            Ok::<_, Infallible>(())
        });
    }
}

/// Fences a process that has ended. A leader of the first moments may be refused: it asks again while it leads.
async fn fence_ended(quorum: &Quorum, fence: FenceBroker) {
    let deadline = Instant::now() + FENCE_LIMIT;
    while let Err(error) = propose(quorum, &fence).await {
        if quorum.role() != Role::Leader || Instant::now() >= deadline {
            // Whoever leads next looks again.
            return warn!(broker = %fence.node, %error, "not fenced yet");
        }
        debug!(broker = %fence.node, %error, "not fenced yet: asking again");
        sleep(FENCE_AGAIN).await;
    }
}

async fn propose(quorum: &Quorum, fence: &FenceBroker) -> Result<(), ProposeError> {
    let command = aquifer_image::Command::from(fence.clone());
    if let (_, Err(rejection)) = quorum.propose(command).await? {
        info!(broker = %fence.node, %rejection, "not fenced");
    }
    Ok(())
}

fn learn_address(peers: &Peers, image: &Image, node: NodeId, listener: &str) {
    if let Some(endpoint) = image.broker(node).and_then(|broker| broker.endpoint(listener)) {
        peers.set_address(node, &address(endpoint));
    }
}

/// A broker's heartbeats.
#[derive(Debug)]
pub struct Heart {
    /// The way to the controllers.
    pub port: Port,
    /// Who they are.
    pub source: Source,
    /// Where this broker reads that it was fenced.
    pub metadata: MetadataClient,
    /// Of this broker's registration.
    pub epoch: BrokerEpoch,
    /// From beat to beat.
    pub interval: Duration,
}

impl Heart {
    /// Beats as a task of `tasks` until they stop, and follows where the other brokers are. When this broker is
    /// fenced the task fails.
    pub fn start(self, tasks: &TaskGroup) {
        let stopping = tasks.stopping().clone();
        tasks.spawn("heartbeats", OnEnd::StopGroup, async move {
            tokio::select! {
                () = stopping.cancelled() => Ok(()),
                fenced = self.beat() => Err(fenced),
            }
        });
    }

    async fn beat(self) -> Fenced {
        let node = self.port.peers.node();
        let mut changes = self.metadata.changes();
        let mut beats = interval(self.interval);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut hint, mut known) = (None, LogIndex(0));
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    // The feed ends only with the node.
                    std::future::pending::<()>().await;
                },
                _ = beats.tick() => hint = self.tell(hint).await,
            }
            let image: Arc<Image> = changes.borrow_and_update().clone();
            let present = image.broker(node).filter(|broker| broker.epoch == self.epoch && broker.is_live());
            if present.is_none() && image.is_decommissioned(node) {
                // Nothing of it is left, and the node stops in good order.
                std::future::pending::<()>().await;
            }
            if present.is_none() {
                return Fenced { node };
            }
            if known != image.changed().brokers {
                known = image.changed().brokers;
                for broker in image.brokers() {
                    learn_address(&self.port.peers, &image, broker.node, &self.port.endpoint.listener);
                }
            }
        }
    }

    /// One beat to the controller that is believed active; who is, as far as it says.
    async fn tell(&self, hint: Option<NodeId>) -> Option<NodeId> {
        let controller = hint.or_else(|| match &self.source {
            Source::Member(quorum) => quorum.leader().map(|leader| leader.node),
            Source::Remote(quorum) => quorum.controllers().first().copied(),
        })?;
        let beat = serde_json::to_vec(&Beat { epoch: self.epoch }).expect("a number always encodes");
        let limit = self.interval * 2;
        let answer = self.port.peers.call(controller, &HEARTBEAT, beat.into(), limit).await.ok()?;
        match serde_json::from_slice(&answer).ok()? {
            Reply::Heard => Some(controller),
            Reply::NotActive(leader) => leader,
        }
    }
}
