//! What an operator does to nodes, one thing after the other: drains them, takes them out for good, lets them in, replaces
//! their disks.
//!
//! While things go wrong nothing is promised but that it does no harm; in the calm afterwards it must come to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aquifer_client::ProposeError;
use aquifer_controller::stop_hazards;
use aquifer_image::{AllocateProducerIds, Command, DrainBroker, Image, ResumeBroker};
use aquifer_quorum::Quorum;
use aquifer_rebalancing::voters;
use aquifer_types::{DiskId, NodeId};
use tokio::time::{Instant, sleep, timeout};

use crate::event;
use crate::machine::{Loss, Machine, Order};
use crate::nemesis::a_while;
use crate::scenario::{Fault, WalMode};
use crate::world::World;

/// How often a condition is looked at that is waited for.
const POLL: Duration = Duration::from_millis(100);
/// How long an answer to an operator may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long an operator waits for a node to be forgotten while things go wrong, before it is kept.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long anything may take in the calm.
const CALM_LIMIT: Duration = Duration::from_secs(60);

/// Whether what was begun must come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    Hard,
    Calm,
}

/// The rule that what an operator asks for is done in the end.
const STARVED: &str = "what an operator asks for is done";

/// How long an operator waits: for ever while things go wrong, and [`CALM_LIMIT`] afterwards.
#[derive(Default)]
struct Patience(Option<Instant>);

impl Patience {
    fn is_over(&mut self, world: &World) -> bool {
        let calm = world.mended.is_cancelled();
        calm && self.0.get_or_insert_with(Instant::now).elapsed() > CALM_LIMIT
    }
}

/// Begins something, unless something else is under way.
pub(crate) fn begin(world: &Arc<World>, fault: Fault, node: NodeId) {
    if world.operated.swap(true, Ordering::Relaxed) {
        return;
    }
    event!(world.trace, "an operator begins: {fault:?} of node {node}");
    let held = world.clone();
    world.spawn("an operator", async move {
        operate(&held, fault, node).await;
        held.operated.store(false, Ordering::Relaxed);
    });
}

/// Whether the last thing came to its end.
pub(crate) fn is_done(world: &World) -> bool {
    !world.operated.load(Ordering::Relaxed)
}

async fn operate(world: &World, fault: Fault, node: NodeId) {
    let machine = &world.machines[&node];
    match fault {
        Fault::Drain => drain(world, node, Times::Hard).await,
        Fault::Decommission => decommission(world, machine, Times::Hard).await,
        Fault::Join => join(world).await,
        Fault::LoseDisks => lose(world, machine, Loss { wal: true, metadata: false }).await,
        Fault::LoseMetadata => lose(world, machine, Loss { wal: false, metadata: true }).await,
        Fault::LoseHost => lose(world, machine, Loss { wal: true, metadata: true }).await,
        _ => unreachable!("the nemesis does that"),
    }
}

/// When everything is well again: whoever did not come yet joins, and who is told to leave leaves.
pub(crate) async fn in_calm(world: &World) {
    join(world).await;
    let (faults, node) = (&world.scenario.faults, world.any_node());
    if faults.contains(&Fault::Drain) {
        drain(world, node, Times::Calm).await;
    }
    if faults.contains(&Fault::Decommission) {
        decommission(world, &world.machines[&node], Times::Calm).await;
    }
}

/// Has a broker lead nothing, and lets it lead again.
async fn drain(world: &World, node: NodeId, times: Times) {
    if !others_remain(world, node, 1) || !propose(world, DrainBroker { node, for_good: false }).await {
        return;
    }
    let is_rid = || world.newest_image().is_some_and(|image| image.led_count(node) == 0);
    match times {
        Times::Hard => sleep(a_while(world)).await,
        Times::Calm => demand(world, "who leaves is rid of everything", is_rid).await,
    }
    propose(world, ResumeBroker { node }).await;
}

/// Takes a node out of the cluster, and lets it in again, blank mostly.
async fn decommission(world: &World, machine: &Machine, times: Times) {
    let node = machine.node;
    let left = if world.scenario.wal_mode.copies_and_needed().is_some() { 2 } else { 1 };
    let last_voter = world.leader().is_none_or(|leader| leader.status().voters == [node]);
    if last_voter || !others_remain(world, node, left) {
        return;
    }
    if !propose(world, DrainBroker { node, for_good: true }).await {
        return;
    }
    let is_forgotten = || world.newest_image().is_some_and(|image| image.is_decommissioned(node));
    let is_gone = || {
        let votes = world.leader().is_none_or(|leader| leader.status().voters.contains(&node));
        is_forgotten() && !votes && machine.process().is_none()
    };
    match times {
        Times::Calm => demand(world, "who leaves for good is forgotten, and ends", is_gone).await,
        Times::Hard => {
            until(PATIENCE, is_gone).await;
        }
    }
    if is_forgotten() && !until(ANSWER_LIMIT, || machine.is_off()).await {
        // It was away when that happened, and is refused whenever it starts.
        switch_off(world, machine).await;
    }
    if machine.is_off() && world.random.below(3) > 0 {
        machine.order(Order::Lose { loss: Loss { wal: true, metadata: true }, down: Duration::ZERO });
    }
    event!(world.trace, "an operator lets node {node} in again");
    propose(world, ResumeBroker { node }).await;
    start(world, machine).await;
}

/// Starts the node that was not there from the start.
async fn join(world: &World) {
    let Some((node, _)) = world.scenario.all_nodes().find(|(node, _)| node.0 > world.scenario.nodes()) else {
        return;
    };
    start(world, &world.machines[&node]).await;
}

/// Starts a machine that is off, and waits until it has its part in everything.
async fn start(world: &World, machine: &Machine) {
    eventually(world, || {
        if machine.is_off() {
            machine.order(Order::Start);
        }
        !machine.is_off() && machine.process().is_some()
    })
    .await;
    if machine.controller {
        votes_again(world, machine).await;
    }
}

async fn switch_off(world: &World, machine: &Machine) {
    eventually(world, || {
        machine.order(Order::Halt);
        machine.is_off()
    })
    .await;
}

/// Replaces disks of a machine by blank ones, and waits until nothing depends on those that were lost.
async fn lose(world: &World, machine: &Machine, loss: Loss) {
    let loss = Loss {
        // With one copy nobody may lose it.
        wal: loss.wal && world.scenario.wal_mode != WalMode::Local,
        metadata: loss.metadata && machine.controller,
    };
    let voters = world.leader().map_or(Vec::new(), |leader| leader.status().voters);
    let replaceable = !loss.metadata || voters.len() > 2 && voters.contains(&machine.node);
    if machine.is_off() || loss == Loss::default() || !replaceable || only_there(world, machine) {
        return;
    }
    let lost = [machine.wal_disk().1, machine.mirror_disk().1];
    let losses = machine.losses();
    if !machine.order(Order::Lose { loss, down: Duration::from_millis(world.random.below(1_000)) }) {
        return;
    }
    eventually(world, || machine.losses() > losses).await;
    if loss.wal {
        eventually(world, || depends_on_nothing(world, machine, lost)).await;
    }
    if loss.metadata {
        votes_again(world, machine).await;
    }
    event!(world.trace, "node {} is replaced: {loss:?}", machine.node);
}

/// Whether a WAL segment may have its only copy on the machine.
fn only_there(world: &World, machine: &Machine) -> bool {
    let alone = |image: &Image| image.segments_of(machine.node).any(|segment| segment.members.is_empty());
    world.newest_image().is_none_or(|image| alone(&image))
}

/// Whether the machine serves on other disks, and no WAL segment that is needed was on those that it lost.
fn depends_on_nothing(world: &World, machine: &Machine, lost: [DiskId; 2]) -> bool {
    let Some(image) = world.newest_image() else { return false };
    let needed = image.segments().any(|segment| {
        lost.contains(&segment.disk) || segment.members.iter().any(|member| lost.contains(&member.disk))
    });
    let kept = machine.mirror_disk().1;
    let offers = image.broker(machine.node).is_some_and(|broker| broker.mirror_disk == Some(kept));
    machine.process().is_some() && !needed && (offers || machine.wal_mode == WalMode::Object)
}

/// Waits until the machine's member of the quorum is a voter by what is committed.
async fn votes_again(world: &World, machine: &Machine) {
    let mut patience = Patience::default();
    while !patience.is_over(world) {
        sleep(POLL).await;
        let Some(process) = machine.process() else { continue };
        let Some(member) = process.quorum.clone().filter(Quorum::is_voter) else { continue };
        // Behind this entry of the log is all that made it a voter.
        let barrier = AllocateProducerIds { node: process.node, broker_epoch: process.epoch, count: 1 };
        let barrier: Command = barrier.into();
        let Ok(Ok((index, _))) = timeout(ANSWER_LIMIT, member.propose(barrier)).await else { continue };
        if until(ANSWER_LIMIT, || member.image().applied() >= index).await && member.is_voter() {
            return;
        }
    }
    world.trace.violation(STARVED, format_args!("node {} is no voter again", machine.node));
}

/// Whether so many other brokers are in service.
fn others_remain(world: &World, node: NodeId, count: usize) -> bool {
    world.newest_image().is_some_and(|image| {
        let others = image.brokers().filter(|broker| broker.node != node && broker.takes_more());
        image.broker(node).is_some() && others.count() >= count
    })
}

/// Whether `node` may be stopped now, as far as the active controller knows.
pub(crate) fn is_safe_to_stop(world: &World, node: NodeId) -> bool {
    let needed = if world.scenario.wal_mode.copies_and_needed().is_some() { 2 } else { 1 };
    world
        .leader()
        .is_some_and(|leader| stop_hazards(&leader.image(), node, &voters(&leader), needed).is_empty())
}

/// Proposes until it is answered; whether it was taken.
async fn propose(world: &World, command: impl Into<Command>) -> bool {
    let command = command.into();
    let mut patience = Patience::default();
    loop {
        if let Some(process) = world.process(world.any_node()) {
            let dead = process.body.dead.clone();
            let asked = timeout(ANSWER_LIMIT, process.metadata.propose(command.clone()));
            match dead.run_until_cancelled(asked).await {
                Some(Ok(Ok(_))) => return true,
                Some(Ok(Err(ProposeError::Rejected(rejection)))) => {
                    event!(world.trace, "an operator is refused {}: {rejection}", command.name());
                    return false;
                }
                _ => {}
            }
        }
        if patience.is_over(world) {
            world.trace.violation(STARVED, format_args!("no answer to {}", command.name()));
            return false;
        }
        sleep(POLL).await;
    }
}

/// Waits for what must come once nothing goes wrong any more.
async fn eventually(world: &World, mut condition: impl FnMut() -> bool) {
    let mut patience = Patience::default();
    while !condition() {
        if patience.is_over(world) {
            return world.trace.violation(STARVED, format_args!("it waits in vain"));
        }
        sleep(POLL).await;
    }
}

/// Waits in the calm.
async fn demand(world: &World, rule: &str, condition: impl FnMut() -> bool) {
    if !until(CALM_LIMIT, condition).await {
        world.trace.violation(rule, format_args!("it did not happen within {CALM_LIMIT:?}"));
    }
}

/// Waits for a condition; whether it came.
pub(crate) async fn until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(POLL).await;
    }
    true
}
