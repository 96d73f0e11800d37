//! Everything there is in one run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_disk::SimulatedFaults;
use aquifer_image::ObjectState;
use aquifer_objects::{SimulatedStore, StoreFaults};
use aquifer_peer::SimulatedNetwork;
use aquifer_runtime::{Clock, OnEnd, Random, SimulatedClock, TaskGroup};
use aquifer_types::{NodeId, ObjectId};
use tokio::time::sleep;

use crate::checkers::{Checkers, Observation};
use crate::machine::{Machine, Supervisor};
use crate::planted::Planted;
use crate::process::Process;
use crate::scenario::Scenario;
use crate::trace::Trace;

/// Where all wall clocks stand at first.
pub(crate) const NOON_MS: i64 = 1_700_000_000_000;
/// How often the wall clocks move.
const TICK: Duration = Duration::from_millis(50);

/// Machines, network, store and clients of one run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) trace: Trace,
    pub(crate) network: SimulatedNetwork,
    pub(crate) store: SimulatedStore,
    pub(crate) machines: BTreeMap<NodeId, Arc<Machine>>,
    /// Of clients and faults.
    pub(crate) random: Random,
    pub(crate) tasks: TaskGroup,
    /// The store's own clock.
    store_hand: SimulatedClock,
    /// Nodes that clients do not reach.
    unreachable: Mutex<BTreeSet<NodeId>>,
    checkers: Mutex<Checkers>,
}

impl World {
    /// Builds all machines and starts their supervisors.
    pub(crate) fn start(scenario: Scenario, trace: Trace) -> Arc<Self> {
        let random = Random::seeded(scenario.seed);
        let network = SimulatedNetwork::new(Random::seeded(random.next_u64()));
        network.set_delay(Duration::from_micros(50), scenario.network_delay);
        let (store_clock, store_hand) = Clock::simulated(NOON_MS);
        let faults = StoreFaults {
            latency_ms: scenario.store_latency_ms,
            lost_per_mille: if scenario.planted == Some(Planted::LosingStore) { 100 } else { 0 },
            damaged_per_mille: if scenario.planted == Some(Planted::RottingStore) { 100 } else { 0 },
            ..StoreFaults::default()
        };
        let store = SimulatedStore::new(random.next_u64(), faults, store_clock);
        let disk_faults = SimulatedFaults {
            latency_ms: scenario.disk_latency_ms,
            lies: scenario.planted == Some(Planted::LyingDisk),
            ..SimulatedFaults::default()
        };
        let (mut machines, mut inboxes) = (BTreeMap::new(), Vec::new());
        for node in (1..=scenario.nodes()).map(NodeId) {
            let controller = node.0 <= scenario.controllers;
            let ground = (&store, &network);
            let (machine, orders) = Machine::new(
                node,
                controller,
                &random,
                (scenario.wal_mode, scenario.planted),
                disk_faults.clone(),
                ground,
                NOON_MS,
            );
            if scenario.planted == Some(Planted::ForgetfulLog) {
                machine.storage.lie();
            }
            inboxes.push((machine.clone(), orders));
            machines.insert(node, machine);
        }
        let servers: Vec<String> =
            machines.values().filter(|machine| machine.controller).map(|machine| machine.address()).collect();
        let tasks = TaskGroup::new();
        let world = Arc::new(Self {
            checkers: Mutex::new(Checkers::new(&scenario)),
            scenario,
            trace: trace.clone(),
            network,
            store,
            machines,
            random: Random::seeded(random.next_u64()),
            tasks: tasks.clone(),
            store_hand,
            unreachable: Mutex::default(),
        });
        for (machine, orders) in inboxes {
            let supervisor = Supervisor {
                machine,
                orders,
                servers: servers.clone(),
                random: Random::seeded(random.next_u64()),
                trace: trace.clone(),
                tasks: tasks.clone(),
                planted: world.scenario.planted,
            };
            world.spawn("supervisor", supervisor.run());
        }
        world.spawn("clocks", tick(world.clone()));
        if world.scenario.planted == Some(Planted::EagerSweeper) {
            world.spawn("eager sweeper", sweep_eagerly(world.clone()));
        }
        world
    }

    /// Runs something until the run ends.
    pub(crate) fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.tasks.stopping().clone();
        self.tasks.spawn(name, OnEnd::StopGroup, async move {
            stopping.run_until_cancelled(future).await;
            Ok::<_, std::convert::Infallible>(())
        });
    }

    /// The process that serves on `node`, if there is one.
    pub(crate) fn process(&self, node: NodeId) -> Option<Arc<Process>> {
        self.machines.get(&node)?.process()
    }

    /// All processes that serve.
    pub(crate) fn processes(&self) -> impl Iterator<Item = Arc<Process>> {
        self.machines.values().filter_map(|machine| machine.process())
    }

    /// Any node.
    pub(crate) fn any_node(&self) -> NodeId {
        NodeId(1 + u32::try_from(self.random.below(self.machines.len() as u64)).expect("a few"))
    }

    /// Shows something to the checkers.
    pub(crate) fn observe(&self, observation: &Observation<'_>) {
        self.checkers().observe(observation, &self.trace);
    }

    pub(crate) fn checkers(&self) -> MutexGuard<'_, Checkers> {
        self.checkers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nodes that clients do not reach.
    pub(crate) fn unreachable(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.unreachable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The planted sweeper: deletes what some node has not seen committed.
async fn sweep_eagerly(world: Arc<World>) {
    loop {
        sleep(TICK).await;
        let Some(process) = world.process(world.any_node()) else { continue };
        let image = process.metadata.image();
        for (id, key) in numbered(&world.store.objects()) {
            if !matches!(image.object(id), Some(ObjectState::Committed { .. })) {
                world.store.remove(&key);
            }
        }
    }
}

/// Objects by the number that ends their key. The marker of the cluster has none.
pub(crate) fn numbered(stored: &BTreeMap<String, u64>) -> BTreeMap<ObjectId, String> {
    let number = |key: &String| key.rsplit('/').next()?.parse().ok().map(ObjectId);
    stored.keys().filter_map(|key| Some((number(key)?, key.clone()))).collect()
}

/// Moves all wall clocks on.
async fn tick(world: Arc<World>) {
    let step = i64::try_from(TICK.as_millis()).expect("short");
    loop {
        sleep(TICK).await;
        world.store_hand.advance(step);
        for machine in world.machines.values() {
            machine.hand.advance(step);
        }
    }
}
