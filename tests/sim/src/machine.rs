//! A machine: what outlives its processes, and what is done to both.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_disk::{SimulatedDisk, SimulatedFaults};
use aquifer_objects::SimulatedStore;
use aquifer_peer::SimulatedNetwork;
use aquifer_quorum::MemoryStorage;
use aquifer_runtime::{Clock, Random, SimulatedClock};
use aquifer_types::{DiskId, NodeId};
use tokio::sync::mpsc;

use crate::planted::Planted;
use crate::process::Process;
use crate::scenario::{Scenario, WalMode};

/// Orders that may wait for a supervisor; more are dropped, as it is busy killing anyway.
const ORDERS: usize = 16;
/// What is done to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Its process is killed.
    Kill { down: Duration },
    /// It loses power.
    CutPower { down: Duration },
    /// Its process is stopped gracefully.
    Stop { down: Duration },
    /// Its process is killed, and disks are replaced by blank ones.
    Lose { loss: Loss, down: Duration },
    /// It is switched off until it is started.
    Halt,
    /// It is started if it is off.
    Start,
}

/// Which disks are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Of its WAL, and of the copies that it keeps for others.
    pub(crate) wal: bool,
    /// Of its part of the quorum.
    pub(crate) metadata: bool,
}

/// A disk, and its id.
type Identified = (SimulatedDisk, DiskId);

/// What outlives a process.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) node: NodeId,
    pub(crate) controller: bool,
    /// Of its own WAL.
    wal_disk: Mutex<Identified>,
    /// Where it keeps copies of others' segments.
    mirror_disk: Mutex<Identified>,
    pub(crate) wal_bytes: u64,
    pub(crate) wal_mode: WalMode,
    pub(crate) planted: Option<Planted>,
    faults: SimulatedFaults,
    pub(crate) storage: MemoryStorage,
    pub(crate) store: SimulatedStore,
    pub(crate) network: SimulatedNetwork,
    pub(crate) clock: Clock,
    pub(crate) hand: SimulatedClock,
    /// By how much of 1000 its clock goes too fast.
    pub(crate) drift: i64,
    /// The process, while one serves.
    running: Mutex<Option<Arc<Process>>>,
    /// Nobody starts a process.
    off: AtomicBool,
    /// Counts losses of disks that were ordered.
    losses: AtomicU64,
    /// What a sync of the quorum's log draws its time from.
    log_random: Random,
    orders: mpsc::Sender<Order>,
    /// Why the last process ended or did not start.
    last_end: Mutex<String>,
}

impl Machine {
    /// The internal port on every machine.
    pub(crate) const PORT: u16 = 9093;

    /// A machine with blank disks; `off`: it is there, but nobody has started it.
    pub(crate) fn new(
        (node, controller, off): (NodeId, bool, bool),
        random: &Random,
        scenario: &Scenario,
        (store, network): (&SimulatedStore, &SimulatedNetwork),
        noon_ms: i64,
    ) -> (Arc<Self>, mpsc::Receiver<Order>) {
        let about = |most: u64| {
            let drawn = random.below(2 * most + 1);
            i64::try_from(drawn).expect("short") - i64::try_from(most).expect("short")
        };
        let (clock, hand) = Clock::simulated(noon_ms + about(scenario.clock_skew_ms));
        let (orders, inbox) = mpsc::channel(ORDERS);
        let faults = SimulatedFaults {
            latency_ms: scenario.disk_latency_ms,
            lies: scenario.planted == Some(Planted::LyingDisk),
            ..SimulatedFaults::default()
        };
        let machine = Self {
            node,
            controller,
            wal_disk: Mutex::new(blank(random, &faults)),
            mirror_disk: Mutex::new(blank(random, &faults)),
            wal_bytes: 4 << 20,
            wal_mode: scenario.wal_mode,
            planted: scenario.planted,
            faults,
            storage: MemoryStorage::new(),
            store: store.clone(),
            network: network.clone(),
            clock,
            hand,
            drift: about(scenario.clock_drift),
            running: Mutex::default(),
            off: AtomicBool::new(off),
            losses: AtomicU64::new(0),
            log_random: Random::seeded(random.next_u64()),
            orders,
            last_end: Mutex::new("nothing".to_owned()),
        };
        if scenario.planted == Some(Planted::ForgetfulLog) {
            machine.storage.lie();
        }
        machine.set_log_sync(scenario.log_sync);
        (Arc::new(machine), inbox)
    }

    pub(crate) fn host(&self) -> String {
        format!("host-{}", self.node)
    }

    /// Of the internal port.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host(), Self::PORT)
    }

    /// The process, while one serves.
    pub(crate) fn process(&self) -> Option<Arc<Process>> {
        lock(&self.running).clone()
    }

    /// The disk of its own WAL.
    pub(crate) fn wal_disk(&self) -> Identified {
        lock(&self.wal_disk).clone()
    }

    /// Where it keeps copies of others' segments.
    pub(crate) fn mirror_disk(&self) -> Identified {
        lock(&self.mirror_disk).clone()
    }

    /// Puts a blank disk in the place of the one with copies.
    pub(crate) fn replace_mirror_disk(&self, random: &Random) {
        let (disk, id) = blank(random, &self.faults);
        let mut replaced = lock(&self.mirror_disk);
        let id = if self.planted == Some(Planted::BlankMirror) { replaced.1 } else { id };
        *replaced = (disk, id);
    }

    /// Puts blank disks in the place of those of its WAL and of the copies beside it. Nobody may be using them.
    pub(crate) fn replace_disks(&self, random: &Random) {
        *lock(&self.wal_disk) = blank(random, &self.faults);
        self.replace_mirror_disk(random);
    }

    /// Puts blank disks in the place of those that are lost, as was ordered. Nobody may be using them.
    pub(crate) fn lose(&self, loss: Loss, random: &Random) {
        self.losses.fetch_add(1, Ordering::Relaxed);
        if loss.wal {
            self.replace_disks(random);
        }
        match loss.metadata {
            true if self.planted == Some(Planted::BlankVoter) => self.storage.wipe_but_for_its_id(),
            true => self.storage.wipe(),
            false => {}
        }
    }

    /// The longest that a sync of the quorum's log takes from now on.
    pub(crate) fn set_log_sync(&self, most: Duration) {
        self.storage.set_sync_time(&self.log_random, most);
    }

    /// Gives an order to the supervisor; whether it will be carried out. A full mailbox means that the machine is being killed
    /// over and over.
    pub(crate) fn order(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }

    /// How often disks were lost by order.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    /// Whether it is switched off, and stays so.
    pub(crate) fn is_off(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }

    pub(crate) fn set_off(&self, off: bool) {
        self.off.store(off, Ordering::Relaxed);
    }

    /// Why the last process ended or did not start.
    pub(crate) fn last_end(&self) -> String {
        lock(&self.last_end).clone()
    }

    pub(crate) fn set_running(&self, process: Option<Arc<Process>>) {
        *lock(&self.running) = process;
    }

    pub(crate) fn ended(&self, reason: String) {
        *lock(&self.last_end) = reason;
    }
}

fn blank(random: &Random, faults: &SimulatedFaults) -> Identified {
    (SimulatedDisk::new(random.next_u64(), faults.clone()), DiskId(random.uuid()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change under these locks is one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
