//! A machine: what outlives its processes, and a supervisor that starts them again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aquifer_disk::{SimulatedDisk, SimulatedFaults};
use aquifer_objects::SimulatedStore;
use aquifer_peer::SimulatedNetwork;
use aquifer_quorum::MemoryStorage;
use aquifer_runtime::{Clock, OnEnd, Random, SimulatedClock, TaskGroup};
use aquifer_types::{DiskId, NodeId};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{Instrument, info_span};

use crate::event;
use crate::planted::Planted;
use crate::process::{self, Body, Process};
use crate::scenario::WalMode;
use crate::trace::Trace;

/// Orders that may wait for a supervisor; more are dropped, as it is busy killing anyway.
const ORDERS: usize = 16;
/// How long what is left of a dead process may take to end.
const REAP_LIMIT: Duration = Duration::from_secs(600);
/// How long a supervisor waits before it starts a process again that ended by itself.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// It is killed.
    Kill { down: Duration },
    /// The machine loses power.
    CutPower { down: Duration },
    /// It is stopped gracefully.
    Stop { down: Duration },
}

/// What outlives a process.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) node: NodeId,
    pub(crate) controller: bool,
    disk: Mutex<SimulatedDisk>,
    pub(crate) disk_id: DiskId,
    pub(crate) wal_bytes: u64,
    pub(crate) wal_mode: WalMode,
    /// The planted one: it never looks.
    pub(crate) idle_sweeper: bool,
    /// Where it keeps copies of others' segments.
    mirror_disk: Mutex<(SimulatedDisk, DiskId)>,
    faults: SimulatedFaults,
    pub(crate) storage: MemoryStorage,
    pub(crate) store: SimulatedStore,
    pub(crate) network: SimulatedNetwork,
    pub(crate) clock: Clock,
    pub(crate) hand: SimulatedClock,
    /// The process, while one serves.
    running: Mutex<Option<Arc<Process>>>,
    orders: mpsc::Sender<Order>,
    /// Why the last process ended or did not start.
    last_end: Mutex<String>,
}

impl Machine {
    /// The internal port on every machine.
    pub(crate) const PORT: u16 = 9093;

    pub(crate) fn new(
        node: NodeId,
        controller: bool,
        random: &Random,
        (wal_mode, planted): (WalMode, Option<Planted>),
        faults: SimulatedFaults,
        (store, network): (&SimulatedStore, &SimulatedNetwork),
        start_ms: i64,
    ) -> (Arc<Self>, mpsc::Receiver<Order>) {
        let (clock, hand) = Clock::simulated(start_ms);
        let (orders, inbox) = mpsc::channel(ORDERS);
        let machine = Self {
            node,
            controller,
            disk: Mutex::new(SimulatedDisk::new(random.next_u64(), faults.clone())),
            disk_id: DiskId(random.uuid()),
            wal_bytes: 4 << 20,
            wal_mode,
            idle_sweeper: planted == Some(Planted::IdleSweeper),
            mirror_disk: Mutex::new((
                SimulatedDisk::new(random.next_u64(), faults.clone()),
                DiskId(random.uuid()),
            )),
            faults,
            storage: MemoryStorage::new(),
            store: store.clone(),
            network: network.clone(),
            clock,
            hand,
            running: Mutex::default(),
            orders,
            last_end: Mutex::default(),
        };
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
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The disk of its own WAL.
    pub(crate) fn disk(&self) -> SimulatedDisk {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a blank disk in the place of that one.
    fn lose_disk(&self, random: &Random) {
        let disk = SimulatedDisk::new(random.next_u64(), self.faults.clone());
        *self.disk.lock().unwrap_or_else(PoisonError::into_inner) = disk;
    }

    /// Where it keeps copies of others' segments.
    pub(crate) fn mirror_disk(&self) -> (SimulatedDisk, DiskId) {
        self.mirror_disk.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a blank disk in the place of that one.
    pub(crate) fn replace_mirror_disk(&self, random: &Random) {
        let disk = SimulatedDisk::new(random.next_u64(), self.faults.clone());
        *self.mirror_disk.lock().unwrap_or_else(PoisonError::into_inner) = (disk, DiskId(random.uuid()));
    }

    /// The planted replacement: blank, and with the id of the one before.
    fn blank_mirror_disk(&self, random: &Random) {
        let disk = SimulatedDisk::new(random.next_u64(), self.faults.clone());
        self.mirror_disk.lock().unwrap_or_else(PoisonError::into_inner).0 = disk;
    }

    /// Gives an order to the supervisor.
    pub(crate) fn order(&self, order: Order) {
        // A full mailbox means that it is being killed over and over.
        let _ = self.orders.try_send(order);
    }

    /// Why the last process ended or did not start.
    pub(crate) fn last_end(&self) -> String {
        self.last_end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_running(&self, process: Option<Arc<Process>>) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = process;
    }

    fn ended(&self, reason: String) {
        *self.last_end.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

/// Starts processes on a machine for ever, and carries out what is ordered.
pub(crate) struct Supervisor {
    pub(crate) machine: Arc<Machine>,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) servers: Vec<String>,
    pub(crate) random: Random,
    pub(crate) trace: Trace,
    /// Where the remains of dead processes end.
    pub(crate) tasks: TaskGroup,
    pub(crate) planted: Option<Planted>,
}

impl Supervisor {
    pub(crate) async fn run(mut self) {
        let mut life = 0_u32;
        loop {
            life += 1;
            let span = info_span!("node", id = %self.machine.node, life);
            let down = self.live(life).instrument(span).await;
            sleep(down).await;
        }
    }

    /// One process from its start to its end; how long the machine is down afterwards.
    async fn live(&mut self, life: u32) -> Duration {
        let (machine, node) = (self.machine.clone(), self.machine.node);
        let random = Random::seeded(self.random.next_u64());
        let body = Body::new(&machine, &random);
        event!(self.trace, "node {node}: process {life} starts");
        let started = tokio::select! {
            biased;
            Some(order) = self.orders.recv() => Err(order),
            started = process::start(&machine, &self.servers, body.clone(), random) => Ok(started),
            reason = body.failed() => Ok(Err(reason.into())),
        };
        let process = match started {
            Ok(Ok(process)) => Arc::new(process),
            Ok(Err(error)) => {
                event!(self.trace, "node {node}: does not start: {error}");
                machine.ended(format!("it did not start: {error}"));
                self.end(&body, None, false);
                return RESTART_PAUSE;
            }
            Err(order) => return self.carry_out(order, &body, None).await,
        };
        event!(self.trace, "node {node}: serves as broker epoch {}", process.epoch);
        machine.set_running(Some(process.clone()));
        tokio::select! {
            biased;
            Some(order) = self.orders.recv() => self.carry_out(order, &body, Some(process)).await,
            reason = body.failed() => {
                event!(self.trace, "node {node}: fails: {reason}");
                machine.ended(reason);
                self.end(&body, Some(process), false);
                RESTART_PAUSE
            }
        }
    }

    async fn carry_out(&mut self, order: Order, body: &Body, process: Option<Arc<Process>>) -> Duration {
        let node = self.machine.node;
        self.machine.ended(format!("{order:?}"));
        match order {
            Order::Kill { down } => {
                event!(self.trace, "node {node}: killed, back in {down:?}");
                self.end(body, process, false);
                down
            }
            Order::CutPower { down } => {
                event!(self.trace, "node {node}: loses power, back in {down:?}");
                self.end(body, process, true);
                down
            }
            Order::Stop { down } => {
                let Some(process) = process else {
                    self.end(body, None, false);
                    return down;
                };
                event!(self.trace, "node {node}: stops gracefully, back in {down:?}");
                let stopped = tokio::select! {
                    biased;
                    Some(order) = self.orders.recv() => Err(order),
                    stopped = process.stop() => Ok(stopped),
                };
                match stopped {
                    Ok(stopped) => {
                        event!(self.trace, "node {node}: stopped {stopped:?}");
                        self.end(body, Some(process), false);
                        down
                    }
                    Err(Order::CutPower { down }) => {
                        event!(self.trace, "node {node}: loses power while it stops");
                        self.end(body, Some(process), true);
                        down
                    }
                    Err(Order::Kill { down } | Order::Stop { down }) => {
                        event!(self.trace, "node {node}: is killed while it stops");
                        self.end(body, Some(process), false);
                        down
                    }
                }
            }
        }
    }

    /// Severs a process from the world at this moment. What is left of it ends by itself, and reaches nobody.
    fn end(&self, body: &Body, process: Option<Arc<Process>>, power_cut: bool) {
        let machine = &self.machine;
        machine.set_running(None);
        body.dead.cancel();
        machine.network.kill(&machine.address());
        machine.store.kill(body.store_process);
        machine.storage.crash();
        for disk in [machine.disk(), machine.mirror_disk().0] {
            match power_cut {
                true => disk.crash(),
                false => disk.kill(),
            }
        }
        if power_cut && self.planted == Some(Planted::BlankMirror) {
            machine.blank_mirror_disk(&self.random);
        }
        if machine.wal_mode == WalMode::Object && self.random.below(2) == 0 {
            machine.lose_disk(&self.random);
        }
        body.storing.stopping().cancel();
        body.deciding.stopping().cancel();
        let body = body.clone();
        self.tasks.spawn("remains", OnEnd::Continue, async move {
            if let Some(quorum) = process.as_ref().and_then(|process| process.quorum.as_ref()) {
                let _ = timeout(REAP_LIMIT, quorum.shutdown()).await;
            }
            let _ = body.storing.shutdown(REAP_LIMIT).await;
            let _ = body.deciding.shutdown(REAP_LIMIT).await;
            drop(process);
            Ok::<_, std::convert::Infallible>(())
        });
    }
}
