//! Everything there is in one run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_image::{Image, ObjectState};
use aquifer_objects::{SimulatedStore, StoreFaults};
use aquifer_peer::SimulatedNetwork;
use aquifer_quorum::{Quorum, Role};
use aquifer_runtime::{CancellationToken, Clock, OnEnd, Random, SimulatedClock, TaskGroup};
use aquifer_types::{NodeId, ObjectId};
use tokio::time::sleep;

use crate::checkers::{Checkers, Observation};
use crate::machine::Machine;
use crate::planted::Planted;
use crate::process::Process;
use crate::scenario::Scenario;
use crate::supervisor::Supervisor;
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
    /// An operator is at work.
    pub(crate) operated: AtomicBool,
    /// Cancelled when nothing goes wrong any more.
    pub(crate) mended: CancellationToken,
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
        let (mut machines, mut inboxes) = (BTreeMap::new(), Vec::new());
        for (node, controller) in scenario.all_nodes() {
            let part = (node, controller, node.0 > scenario.nodes());
            let (machine, orders) = Machine::new(part, &random, &scenario, (&store, &network), NOON_MS);
            inboxes.push((machine.clone(), orders));
            machines.insert(node, machine);
        }
        let first_controllers = machines.values().filter(|machine| machine.controller && !machine.is_off());
        let servers: Vec<String> = first_controllers.map(|machine| machine.address()).collect();
        let tasks = TaskGroup::new();
        let world = Arc::new(Self {
            checkers: Mutex::new(Checkers::new()),
            scenario,
            trace: trace.clone(),
            network,
            store,
            machines,
            random: Random::seeded(random.next_u64()),
            tasks: tasks.clone(),
            store_hand,
            unreachable: Mutex::default(),
            operated: AtomicBool::new(false),
            mended: CancellationToken::new(),
        });
        for (machine, orders) in inboxes {
            let supervisor = Supervisor {
                machine,
                orders,
                servers: servers.clone(),
                random: Random::seeded(random.next_u64()),
                trace: trace.clone(),
                tasks: tasks.clone(),
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

    /// The newest metadata that a process has.
    pub(crate) fn newest_image(&self) -> Option<Arc<Image>> {
        self.processes().map(|process| process.metadata.image()).max_by_key(|image| image.applied())
    }

    /// The member of the quorum that takes itself for its leader; of several the one of the latest term.
    pub(crate) fn leader(&self) -> Option<Quorum> {
        let members = self.processes().filter_map(|process| process.quorum.clone());
        let leaders = members.filter(|member| member.status().role == Role::Leader);
        leaders.max_by_key(|member| member.status().term)
    }

    /// Any node.
    pub(crate) fn any_node(&self) -> NodeId {
        NodeId(1 + u32::try_from(self.random.below(self.machines.len() as u64)).expect("a few"))
    }

    /// Any of the nodes that are there from the start.
    pub(crate) fn first_node(&self) -> NodeId {
        NodeId(1 + u32::try_from(self.random.below(self.scenario.nodes().into())).expect("a few"))
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

/// Moves all wall clocks on, each at its own pace.
async fn tick(world: Arc<World>) {
    let step = i64::try_from(TICK.as_millis()).expect("short");
    for ticks in 0.. {
        sleep(TICK).await;
        world.store_hand.advance(step);
        for machine in world.machines.values() {
            let shown = |ticks: i64| ticks * step * (1_000 + machine.drift) / 1_000;
            machine.hand.advance(shown(ticks + 1) - shown(ticks));
        }
    }
}
