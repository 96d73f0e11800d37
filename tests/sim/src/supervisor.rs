//! Starts processes on a machine, again and again, and carries out what is ordered.

use std::sync::Arc;
use std::time::Duration;

use aquifer_runtime::{OnEnd, Random, TaskGroup};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{Instrument, info_span};

use crate::event;
use crate::machine::{Loss, Machine, Order};
use crate::planted::Planted;
use crate::process::{self, Body, Process};
use crate::scenario::WalMode;
use crate::trace::Trace;

/// How long what is left of a dead process may take to end.
const REAP_LIMIT: Duration = Duration::from_secs(600);
/// How long a supervisor waits before it starts a process again that ended by itself.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// What comes after a process.
enum Next {
    /// Another one, after a while.
    Again(Duration),
    /// None until somebody says so.
    Off,
}

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It alone.
    Killed,
    /// With its machine.
    PowerCut,
    /// With the machine, which has other disks afterwards.
    Lost(Loss),
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
}

impl Supervisor {
    pub(crate) async fn run(mut self) {
        let mut life = 0_u32;
        loop {
            if self.machine.is_off() {
                self.until_started().await;
            }
            life += 1;
            let span = info_span!("node", id = %self.machine.node, life);
            match self.live(life).instrument(span).await {
                Next::Again(down) => sleep(down).await,
                Next::Off => {
                    event!(self.trace, "node {}: is off", self.machine.node);
                    self.machine.set_off(true);
                }
            }
        }
    }

    async fn until_started(&mut self) {
        loop {
            match self.orders.recv().await {
                Some(Order::Start) => break,
                Some(Order::Lose { loss, .. }) => {
                    event!(self.trace, "node {}: gets blank disks: {loss:?}", self.machine.node);
                    self.machine.lose(loss, &self.random);
                }
                // There is nothing to be killed or stopped.
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
        self.machine.set_off(false);
    }

    /// One process from its start to its end.
    async fn live(&mut self, life: u32) -> Next {
        let (machine, node) = (self.machine.clone(), self.machine.node);
        let random = Random::seeded(self.random.next_u64());
        let body = Body::new(&machine, &random);
        event!(self.trace, "node {node}: process {life} starts");
        let started = tokio::select! {
            biased;
            order = next(&mut self.orders) => Err(order),
            started = process::start(&machine, &self.servers, body.clone(), random) => Ok(started),
            reason = body.failed() => Ok(Err(reason.into())),
        };
        let process = match started {
            Ok(Ok(process)) => Arc::new(process),
            Ok(Err(error)) => {
                event!(self.trace, "node {node}: does not start: {error}");
                machine.ended(format!("it did not start: {error}"));
                self.end(&body, None, End::Killed);
                return Next::Again(RESTART_PAUSE);
            }
            Err(order) => return self.carry_out(order, &body, None).await,
        };
        event!(self.trace, "node {node}: serves as broker epoch {}", process.epoch);
        machine.set_running(Some(process.clone()));
        tokio::select! {
            biased;
            order = next(&mut self.orders) => self.carry_out(order, &body, Some(process)).await,
            reason = body.failed() => {
                event!(self.trace, "node {node}: fails: {reason}");
                machine.ended(reason);
                self.end(&body, Some(process), End::Killed);
                Next::Again(RESTART_PAUSE)
            }
            () = process.forgotten() => {
                event!(self.trace, "node {node}: is forgotten, and stops for good");
                machine.ended("it was forgotten".to_owned());
                // Who is killed meanwhile is started again.
                self.stop(&body, process).await.unwrap_or(Next::Off)
            }
        }
    }

    async fn carry_out(&mut self, order: Order, body: &Body, process: Option<Arc<Process>>) -> Next {
        let node = self.machine.node;
        self.machine.ended(format!("{order:?}"));
        match order {
            Order::Kill { down } => {
                event!(self.trace, "node {node}: killed, back in {down:?}");
                self.end(body, process, End::Killed);
                Next::Again(down)
            }
            Order::CutPower { down } => {
                event!(self.trace, "node {node}: loses power, back in {down:?}");
                self.end(body, process, End::PowerCut);
                Next::Again(down)
            }
            Order::Lose { loss, down } => {
                event!(self.trace, "node {node}: loses disks, {loss:?}, back in {down:?}");
                self.end(body, process, End::Lost(loss));
                Next::Again(down)
            }
            Order::Stop { down } => {
                let Some(process) = process else {
                    self.end(body, None, End::Killed);
                    return Next::Again(down);
                };
                event!(self.trace, "node {node}: stops gracefully, back in {down:?}");
                self.stop(body, process).await.unwrap_or(Next::Again(down))
            }
            // `next` gives no order to start.
            Order::Halt | Order::Start => {
                self.end(body, process, End::Killed);
                Next::Off
            }
        }
    }

    /// Stops a process gracefully; what comes next if it was ended before it had stopped.
    async fn stop(&mut self, body: &Body, process: Arc<Process>) -> Option<Next> {
        let node = self.machine.node;
        let stopped = tokio::select! {
            biased;
            order = next(&mut self.orders) => Err(order),
            stopped = process.stop() => Ok(stopped),
        };
        let (end, next) = match stopped {
            Ok(stopped) => {
                event!(self.trace, "node {node}: stopped {stopped:?}");
                self.end(body, Some(process), End::Killed);
                return None;
            }
            Err(Order::CutPower { down }) => (End::PowerCut, Next::Again(down)),
            Err(Order::Lose { loss, down }) => (End::Lost(loss), Next::Again(down)),
            Err(Order::Kill { down } | Order::Stop { down }) => (End::Killed, Next::Again(down)),
            // `next` gives no order to start.
            Err(Order::Halt | Order::Start) => (End::Killed, Next::Off),
        };
        event!(self.trace, "node {node}: is ended while it stops");
        self.end(body, Some(process), end);
        Some(next)
    }

    /// Severs a process from the world at this moment. What is left of it ends by itself, and reaches nobody.
    fn end(&self, body: &Body, process: Option<Arc<Process>>, end: End) {
        let machine = &self.machine;
        machine.set_running(None);
        body.dead.cancel();
        machine.network.kill(&machine.address());
        machine.store.kill(body.store_process);
        machine.storage.crash();
        for (disk, _) in [machine.wal_disk(), machine.mirror_disk()] {
            match end {
                End::Killed => disk.kill(),
                End::PowerCut | End::Lost(_) => disk.crash(),
            }
        }
        if end == End::PowerCut && machine.planted == Some(Planted::BlankMirror) {
            machine.replace_mirror_disk(&self.random);
        }
        match end {
            End::Lost(loss) => machine.lose(loss, &self.random),
            End::Killed | End::PowerCut => {}
        }
        // Where an object is what is durable, disks that do not outlive the host are common.
        if machine.wal_mode == WalMode::Object && self.random.below(2) == 0 {
            machine.replace_disks(&self.random);
        }
        for tasks in body.tasks() {
            tasks.stopping().cancel();
        }
        let body = body.clone();
        self.tasks.spawn("remains", OnEnd::Continue, async move {
            if let Some(quorum) = process.as_ref().and_then(|process| process.quorum.as_ref()) {
                let _ = timeout(REAP_LIMIT, quorum.shutdown()).await;
            }
            for tasks in body.tasks() {
                let _ = tasks.shutdown(REAP_LIMIT).await;
            }
            drop(process);
            Ok::<_, std::convert::Infallible>(())
        });
    }
}

/// The next order that means something to a process.
async fn next(orders: &mut mpsc::Receiver<Order>) -> Order {
    loop {
        match orders.recv().await {
            Some(Order::Start) => {}
            Some(order) => return order,
            None => std::future::pending().await,
        }
    }
}
