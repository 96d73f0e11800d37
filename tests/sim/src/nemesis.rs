//! What goes wrong, one thing after the other and several at once.

use std::sync::Arc;
use std::time::Duration;

use aquifer_image::{FenceBroker, MovePartition, MovePartitions};
use aquifer_objects::StoreFaults;
use aquifer_types::NodeId;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::clients::TOPIC;
use crate::event;
use crate::machine::{Machine, Order};
use crate::operator::{self, until};
use crate::process::Process;
use crate::scenario::Fault;
use crate::world::World;

/// How far a wall clock jumps at most, in milliseconds.
const JUMP_MS: u64 = 120_000;
/// How long a rolling restart waits until a node may be stopped; then it is given up.
const SAFE_LIMIT: Duration = Duration::from_secs(10);
/// How long it waits for a node to be back; then it goes on if that is safe.
const RESTART_LIMIT: Duration = Duration::from_secs(20);

/// Lets faults happen until `enough`, and then mends everything.
pub(crate) async fn run(world: Arc<World>, enough: watch::Receiver<bool>) {
    let faults: Vec<Fault> = world.scenario.faults.iter().copied().collect();
    while !*enough.borrow() {
        let calm = u64::try_from(world.scenario.calm.as_micros()).expect("short");
        sleep(Duration::from_micros(world.random.below(2 * calm + 1))).await;
        if *enough.borrow() {
            break;
        }
        if let Some(fault) = pick(&world, &faults) {
            begin(&world, fault);
        }
    }
    mend(&world);
}

fn pick<T: Copy>(world: &World, choices: &[T]) -> Option<T> {
    let count = choices.len() as u64;
    (count > 0).then(|| choices[usize::try_from(world.random.below(count)).expect("an index")])
}

/// Ends everything that was done to network, disks and store.
pub(crate) fn mend(world: &World) {
    event!(world.trace, "everything is mended");
    world.mended.cancel();
    world.network.heal();
    world.network.break_one_in(0);
    world.network.set_delay(Duration::from_micros(50), world.scenario.network_delay);
    world.unreachable().clear();
    world.store.set_faults(store_faults(world));
    for machine in world.machines.values() {
        machine.wal_disk().0.set_latency_ms(world.scenario.disk_latency_ms);
        machine.set_log_sync(world.scenario.log_sync);
    }
}

/// The store as it is on a good day.
fn store_faults(world: &World) -> StoreFaults {
    StoreFaults {
        down: false,
        latency_ms: world.scenario.store_latency_ms,
        refused_per_mille: 0,
        unanswered_per_mille: 0,
        ..world.store.faults()
    }
}

/// Short mostly, and long sometimes.
pub(crate) fn a_while(world: &World) -> Duration {
    let most = if world.random.below(5) == 0 { 7_000 } else { 1_500 };
    Duration::from_millis(world.random.below(most))
}

fn begin(world: &Arc<World>, fault: Fault) {
    let node = world.any_node();
    let machine = &world.machines[&node];
    let (down, long) = (a_while(world), a_while(world));
    event!(world.trace, "fault {fault:?}");
    match fault {
        Fault::Kill => order(machine, Order::Kill { down }),
        Fault::PowerCut => order(machine, Order::CutPower { down }),
        Fault::Blackout => {
            for machine in world.machines.values() {
                machine.order(Order::CutPower { down: a_while(world) });
            }
        }
        Fault::Restart => order(machine, Order::Stop { down }),
        Fault::RollingRestart => world.spawn("rolling restart", rolling_restart(world.clone())),
        Fault::Partition => isolate(world, node, long),
        Fault::OneWayCut => {
            let other = world.any_node();
            cut(world, vec![(node, other)], long);
        }
        Fault::BreakingConnections => {
            world.network.break_one_in(20 + world.random.below(200));
            later(world, long, |world| world.network.break_one_in(0));
        }
        Fault::SlowNetwork => {
            world.network.set_delay(Duration::from_millis(5), Duration::from_millis(400));
            later(world, long, |world| {
                world.network.set_delay(Duration::from_micros(50), world.scenario.network_delay);
            });
        }
        Fault::ClientCut => {
            event!(world.trace, "clients do not reach node {node} for {long:?}");
            world.unreachable().insert(node);
            later(world, long, move |world| {
                world.unreachable().remove(&node);
            });
        }
        Fault::StoreOutage => trouble(world, long, StoreFaults { down: true, ..store_faults(world) }),
        Fault::StoreTrouble => {
            let faults =
                StoreFaults { refused_per_mille: 200, unanswered_per_mille: 200, ..store_faults(world) };
            trouble(world, long, faults);
        }
        Fault::SlowStore => trouble(world, long, StoreFaults { latency_ms: 8_000, ..store_faults(world) }),
        Fault::SlowDisk => {
            machine.wal_disk().0.set_latency_ms(400);
            later(world, long, move |world| {
                world.machines[&node].wal_disk().0.set_latency_ms(world.scenario.disk_latency_ms);
            });
        }
        Fault::DiskFailure => machine.wal_disk().0.fail_next_write(),
        Fault::SlowLog => {
            machine.set_log_sync(Duration::from_millis(300));
            later(world, long, move |world| {
                world.machines[&node].set_log_sync(world.scenario.log_sync);
            });
        }
        Fault::ClockJump => {
            let jump = i64::try_from(world.random.below(2 * JUMP_MS)).expect("minutes") - JUMP_MS as i64;
            event!(world.trace, "the clock of node {node} jumps by {jump} ms");
            machine.hand.advance(jump);
            // An operator mends it.
            later(world, long, move |world| world.machines[&node].hand.advance(-jump));
        }
        Fault::Move => ask(world, node, |world, process| async move { move_some(&world, &process).await }),
        Fault::FalseFence => {
            ask(world, node, |world, process| async move { fence_somebody(&world, &process).await });
        }
        Fault::LeadTransfer => ask(world, node, |world, process| async move {
            if let Some(quorum) = &process.quorum {
                quorum.transfer_lead(world.any_node()).await;
            }
        }),
        Fault::DeleteRecords => {
            ask(world, node, |world, process| async move { delete_some(&world, &process).await });
        }
        Fault::Drain
        | Fault::Decommission
        | Fault::Join
        | Fault::LoseDisks
        | Fault::LoseMetadata
        | Fault::LoseHost => operator::begin(world, fault, node),
    }
}

fn order(machine: &Machine, order: Order) {
    // What there is no room for has happened often enough.
    let _ = machine.order(order);
}

fn later(world: &Arc<World>, after: Duration, then: impl FnOnce(&World) + Send + 'static) {
    let held = world.clone();
    world.spawn("the end of a fault", async move {
        sleep(after).await;
        then(&held);
    });
}

/// Does something at a node, if one serves there.
fn ask<F: Future<Output = ()> + Send + 'static>(
    world: &Arc<World>,
    node: NodeId,
    action: impl FnOnce(Arc<World>, Arc<Process>) -> F,
) {
    let Some(process) = world.process(node) else { return };
    let dead = process.body.dead.clone();
    let action = action(world.clone(), process);
    world.spawn("an administrator", async move {
        dead.run_until_cancelled(action).await;
    });
}

fn isolate(world: &Arc<World>, node: NodeId, long: Duration) {
    let others = world.machines.keys().copied().filter(|other| *other != node);
    let direction = world.random.below(3);
    let links = others.flat_map(|other| match direction {
        0 => vec![(node, other)],
        1 => vec![(other, node)],
        _ => vec![(node, other), (other, node)],
    });
    cut(world, links.collect(), long);
}

fn cut(world: &Arc<World>, links: Vec<(NodeId, NodeId)>, long: Duration) {
    event!(world.trace, "cut for {long:?}: {links:?}");
    for (from, to) in &links {
        world.network.set_cut(*from, *to, true);
    }
    later(world, long, move |world| {
        for (from, to) in links {
            world.network.set_cut(from, to, false);
        }
    });
}

fn trouble(world: &Arc<World>, long: Duration, faults: StoreFaults) {
    world.store.set_faults(faults);
    later(world, long, |world| world.store.set_faults(store_faults(world)));
}

/// As an operator's script does it: the next one when the last one is back and nothing speaks against it.
async fn rolling_restart(world: Arc<World>) {
    for machine in world.machines.values().filter(|machine| !machine.is_off()) {
        let safe = until(SAFE_LIMIT, || operator::is_safe_to_stop(&world, machine.node)).await;
        if !safe || world.mended.is_cancelled() {
            return;
        }
        let before = machine.process().map(|process| process.epoch);
        order(machine, Order::Stop { down: Duration::from_millis(50) });
        let is_back = || {
            let epoch = machine.process().map(|process| process.epoch);
            epoch.is_some() && epoch != before
        };
        until(RESTART_LIMIT, is_back).await;
    }
}

async fn move_some(world: &World, process: &Process) {
    let image = process.metadata.image();
    let brokers: Vec<NodeId> = image.brokers().map(|broker| broker.node).collect();
    let (mut moves, mut wanted) = (Vec::new(), Vec::new());
    for topic in image.topics() {
        for (index, _) in image.partitions_of(topic.id) {
            if world.random.below(2) == 0 {
                let to = pick(world, &brokers).filter(|_| world.random.below(8) > 0);
                moves.push(MovePartition { topic: topic.id, index, to, replicas: None });
                wanted.push((topic.name.clone(), index, to));
            }
        }
    }
    if moves.is_empty() {
        return;
    }
    let asked = process.metadata.propose(MovePartitions { moves }).await;
    event!(world.trace, "node {}: asks for moves {wanted:?}: {asked:?}", process.node);
}

async fn fence_somebody(world: &World, process: &Process) {
    let victim = world.any_node();
    let Some(broker_epoch) = process.metadata.image().broker_epoch(victim) else { return };
    let fenced = process.metadata.propose(FenceBroker { node: victim, broker_epoch }).await;
    event!(world.trace, "node {}: takes node {victim} for dead: {fenced:?}", process.node);
}

async fn delete_some(world: &World, process: &Process) {
    let index = i32::try_from(world.random.below(u64::from(world.scenario.partitions.unsigned_abs())))
        .expect("a few");
    let Ok(partition) = process.partitions.get_by_name(TOPIC, index) else { return };
    let (start, end) = (partition.log_start_offset(), partition.high_watermark());
    let length = u64::try_from(end - start).expect("a log does not end before it starts");
    let offset = start + i64::try_from(world.random.below(length / 2 + 1)).expect("within the log");
    let deleted = partition.delete_records(offset).await;
    event!(world.trace, "node {}: {TOPIC}-{index} is deleted up to {offset}: {deleted:?}", process.node);
}
