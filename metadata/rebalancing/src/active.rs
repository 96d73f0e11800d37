//! What the active controller does about brokers that leave, and about balance.

use std::convert::Infallible;
use std::time::Duration;

use aquifer_controller::{Rebalance, Voters};
use aquifer_image::{Command, Image, Leaving, MovePartitions, UnregisterBroker};
use aquifer_quorum::{Quorum, Role};
use aquifer_runtime::{OnEnd, TaskGroup};
use aquifer_types::NodeId;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

/// How often it looks: what a broker that stops waits for at most.
const LOOK: Duration = Duration::from_millis(200);
/// How long nothing must have happened before partitions move for balance. A move costs a fraction of a second of one
/// partition, so that it can be short; a broker that starts again and again never rests so long.
const QUIET: Duration = Duration::from_secs(10);
/// A member that was not heard for so long is not there.
const SILENCE: Duration = Duration::from_secs(2);
/// Entries that a voter may lack and still count: what is on its way.
const LAG: u64 = 500;
/// How long a new leader takes to hear all members.
const SETTLING: Duration = Duration::from_secs(10);
/// How long a voter's removal may take to be committed.
const REMOVE_LIMIT: Duration = Duration::from_secs(10);
/// How long the lead may take to be handed over by a node that leaves.
const RESIGN_LIMIT: Duration = Duration::from_secs(3);

/// The voters as the leader of the quorum sees them.
pub fn voters(quorum: &Quorum) -> Voters {
    let all = quorum.status().voters.into_iter().collect();
    let current = quorum.current_voters(SILENCE, LAG).into_iter().collect();
    Voters { all, current }
}

/// Moves partitions and forgets nodes while `quorum` leads; `balance` also when nobody asked.
pub fn start(quorum: &Quorum, balance: bool, tasks: &TaskGroup) {
    let quiet_ms = balance.then(|| millis(QUIET));
    let rebalancer = Rebalancer { quorum: quorum.clone(), quiet_ms, active: None };
    let stopping = tasks.stopping().clone();
    tasks.spawn("rebalancing", OnEnd::Continue, async move {
        stopping.run_until_cancelled(rebalancer.run()).await;
        Ok::<_, Infallible>(())
    });
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("no process runs for so long")
}

struct Rebalancer {
    quorum: Quorum,
    quiet_ms: Option<u64>,
    /// While this node leads the quorum.
    active: Option<Rebalance>,
}

impl Rebalancer {
    async fn run(mut self) {
        let began = Instant::now();
        let mut leads_since = began;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if self.quorum.status().role != Role::Leader {
                self.active = None;
                leads_since = Instant::now();
                continue;
            }
            let image = self.quorum.image();
            let quiet_ms = self.quiet_ms;
            let active = self.active.get_or_insert_with(|| Rebalance::new(quiet_ms));
            let moves = active.due(&image, millis(began.elapsed()));
            if !moves.is_empty() {
                info!(partitions = moves.len(), "partitions shall move");
                self.propose(MovePartitions { moves }).await;
            }
            let settled = leads_since.elapsed() > SETTLING;
            self.retire(&image, settled).await;
        }
    }

    /// Takes the next step with each node that leaves for good and leads nothing: it loses its vote but follows on, it is
    /// forgotten, it sees that and ends, and then nobody waits for it any more.
    async fn retire(&self, image: &Image, settled: bool) {
        let leaves = image.brokers().filter(|broker| broker.leaving == Some(Leaving::Decommission));
        let empty = leaves.map(|broker| broker.node).filter(|node| image.led_count(*node) == 0);
        // A node that is no broker is forgotten first, so that it asks for no new vote.
        let nodes: Vec<NodeId> = empty.chain(image.decommissioned()).collect();
        for node in nodes {
            let voters = voters(&self.quorum);
            if voters.all.contains(&node) {
                if voters.lose(node) {
                    self.take_vote(node).await;
                }
            } else if image.broker(node).is_some() {
                if image.left_of(node).is_empty() {
                    info!(%node, "nothing of the node is left: it is forgotten");
                    self.propose(UnregisterBroker { node }).await;
                }
            } else if settled && self.quorum.silent_learners(SILENCE).contains(&node) {
                match self.quorum.remove_learner(node, REMOVE_LIMIT).await {
                    Ok(()) => info!(%node, "no member of the metadata quorum any more"),
                    Err(error) => warn!(%node, %error, "still a member of the metadata quorum"),
                }
            }
        }
    }

    async fn take_vote(&self, node: NodeId) {
        if node == self.quorum.node() {
            info!(%node, "this node leaves for good: another one leads the quorum from now on");
            self.quorum.resign(RESIGN_LIMIT).await;
            return;
        }
        match self.quorum.take_vote(node, REMOVE_LIMIT).await {
            Ok(()) => info!(%node, "no voter any more"),
            Err(error) => warn!(%node, %error, "its vote could not be taken yet"),
        }
    }

    async fn propose(&self, command: impl Into<Command>) {
        match self.quorum.propose(command.into()).await {
            Ok((_, Ok(_))) => {}
            Ok((_, Err(rejection))) => info!(%rejection, "the brokers changed meanwhile: looking again"),
            // Whoever leads next looks again.
            Err(error) => warn!(%error, "not proposed yet"),
        }
    }
}
