//! The writer's side of a roll: acknowledgements freeze, and what was not committed goes into the next segment.

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::ensemble::PATIENCE;
use crate::shared::Entry;
use crate::writer::Writer;
use crate::{Ensemble, Lsn, MirrorHealth};

/// Orders that wait for the writer. Whoever rolls gives one at a time.
const ORDERS: usize = 4;

/// Where a frozen segment ends: nothing at or beyond `end` was committed, and nothing will be in this segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// The segment.
    pub segment: u64,
    /// The LSN after the last committed record.
    pub end: Lsn,
}

/// What the writer is told from outside.
#[derive(Debug)]
pub(crate) enum Order {
    /// Commit nothing any more in this segment, and say where that is.
    Freeze(oneshot::Sender<Frozen>),
    /// The segment was closed where it froze: go on in this one.
    Resume(u64, Box<Ensemble>),
}

/// The handles' ends.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) health: watch::Sender<MirrorHealth>,
}

impl Desk {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(ORDERS);
        (Self { orders, health: watch::Sender::new(MirrorHealth::default()) }, receiver)
    }
}

impl<T, S: FnMut(&mut Vec<T>)> Writer<T, S> {
    pub(crate) fn obey(&mut self, order: Order) {
        match order {
            Order::Freeze(reply) => {
                self.frozen = true;
                let end = Lsn(self.shared.committed_end());
                // Who asked may be gone; frozen is frozen.
                let _ = reply.send(Frozen { segment: self.stamp.segment, end });
            }
            Order::Resume(segment, ensemble) => {
                assert!(self.frozen, "a segment goes on in another one only where it froze");
                assert!(segment > self.stamp.segment, "segment {segment} is older than the one before it");
                self.next = Some((segment, ensemble));
            }
        }
    }

    /// Begins the next segment, once nothing of the old one is on its way to our own disk and a file is free: a segment
    /// begins with a file, so that recovery finds it.
    pub(crate) fn try_roll(&mut self) {
        if self.next.is_none() || !self.landings.is_empty() {
            return;
        }
        // Segments in which nothing was committed give their files back.
        self.free_told();
        let end = self.shared.committed_end();
        if !self.ring.begin_file(end) {
            self.tell_trim_alone();
            if let Some(bytes) = self.ring.extra()
                && self.demand.extra(bytes)
            {
                self.ring.expect(bytes);
                self.publish(0);
            }
            if !std::mem::replace(&mut self.told_waiting, true) {
                tracing::info!(
                    "the WAL waits for a file to go on in: those it has hold what is not offloaded yet, or are being zeroed"
                );
            }
            return self.demand.hurry();
        }
        self.told_waiting = false;
        let (segment, ensemble) = self.next.take().expect("looked at above");
        self.take_back();
        self.stamp.segment = segment;
        self.stamp.sequence = 0;
        self.stamp.lsn = end;
        self.ensemble = *ensemble;
        self.frozen = false;
        self.tell_health();
        tracing::info!(
            segment,
            base = end,
            copies = self.ensemble.copies(),
            "the WAL goes on in a new segment"
        );
        self.issue_empty();
    }

    /// A frozen log commits nothing, so that no frame would tell any more what was trimmed: a ring whose files are all of
    /// small segments could never roll again. The segment is closed by now and its members have had their last frame; this
    /// one is for our own disk alone.
    fn tell_trim_alone(&mut self) {
        let trimmed = self.shared.trimmed_end();
        if trimmed > self.stamp.trimmed && self.ring.frees(trimmed) {
            self.ensemble = Ensemble::alone();
            self.launch_empty();
        }
    }

    /// Takes files back while frozen, as soon as all that was issued is on our own disk: what its frames tell was trimmed is
    /// found there by whoever recovers it.
    pub(crate) fn free_told(&mut self) {
        if self.landings.is_empty()
            && let Some(told) = self.in_flight.iter().map(|flight| flight.trimmed).max()
        {
            self.free(told);
        }
    }

    /// Puts what no committed frame holds as a whole back in front of what was taken.
    fn take_back(&mut self) {
        let before = self.taken_bytes;
        let frames = self.in_flight.iter().filter(|flight| flight.bytes > 0).count();
        for flight in self.in_flight.drain(..).rev() {
            for (record, tag) in flight.records.into_iter().zip(flight.tags).rev() {
                self.taken.push_front(Entry { record, tag });
            }
        }
        self.cut = 0;
        self.taken_bytes = self.taken.iter().map(Entry::bytes).sum();
        self.shared.taken_back(self.taken_bytes - before, frames);
    }

    /// Takes in what members told, or that one of them has been silent for too long.
    pub(crate) fn hear_members(&mut self) {
        self.ensemble.refresh(Instant::now());
        self.tell_health();
        self.publish(0);
        let ailing = !self.shared.desk.health.borrow().is_well();
        if self.closing && ailing && self.landings.is_empty() {
            // Nobody rolls for a log that ends. Its own copy has everything; whoever recovers it decides.
            self.shared.give_up("it was closed while mirrors owed acknowledgements".to_owned());
        }
    }

    /// A member has been silent for too long, or a log that ends has waited for that long.
    pub(crate) fn look_at_members(&mut self) {
        let now = Instant::now();
        let waited = self.look_again.take_if(|at| *at <= now).is_some();
        self.hear_members();
        if waited {
            self.look_again = Some(now + PATIENCE);
            // Whoever rolled it may have ended before.
            if self.frozen && self.next.is_none() && self.landings.is_empty() {
                self.shared.give_up("it was closed while it rolled".to_owned());
            }
        }
    }

    /// Publishes which members should be rolled away from.
    fn tell_health(&self) {
        let health = self.ensemble.health(self.stamp.segment);
        self.shared.desk.health.send_if_modified(|present| {
            let changed = *present != health;
            *present = health;
            changed
        });
    }
}
