use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use crate::roll::Order;
use crate::shared::Shared;
use crate::{AppendError, Ensemble, Frozen, Lsn, MirrorHealth, Record, WalDead};

/// A handle of a running log; cheap to clone. `T` is what the caller wants back when a record is durable.
#[derive(Debug)]
pub struct Wal<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Wal<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

/// How full the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of records that are not trimmed yet, durable or queued.
    pub unoffloaded_bytes: u64,
    /// Bytes of the files that hold them (space comes back in whole files), and of records queued: this is what makes
    /// the log full.
    pub used_bytes: u64,
    /// `wal.size` in bytes.
    pub capacity_bytes: u64,
    /// Share of the capacity whose files cannot be written before something is trimmed, in percent. Many short segments take
    /// files that are nearly empty.
    pub files_percent: u64,
    /// How much of what they may hold the present segment's mirrors hold, in percent: the fullest one's share.
    pub mirrors_percent: u64,
    /// End of what is durable on as many copies as it takes.
    pub committed: Lsn,
    /// End of what is durable on our own disk.
    pub landed: Lsn,
    /// End of what was appended.
    pub appended: Lsn,
    /// Everything below was trimmed.
    pub trimmed: Lsn,
}

impl Usage {
    /// From here on writers should be slowed down, in percent of the capacity.
    pub const THROTTLE_PERCENT: u64 = 70;
    /// From here on writers should be refused (retriable), in percent of the capacity.
    pub const REFUSE_PERCENT: u64 = 90;

    /// Whether writers should be slowed down.
    pub fn throttle(&self) -> bool {
        self.used_bytes * 100 >= self.capacity_bytes * Self::THROTTLE_PERCENT
    }

    /// Whether writers should be refused. [`Wal::append`] itself refuses only at the capacity.
    pub fn refuse(&self) -> bool {
        self.used_bytes * 100 >= self.capacity_bytes * Self::REFUSE_PERCENT
    }
}

impl<T: Send + 'static> Wal<T> {
    pub(crate) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    /// Queues a record. Synchronous, under a short lock, never waiting for the disk. LSN order is call order.
    ///
    /// The record is in the log when this returns, and durable when [`committed`](Self::committed) says so.
    pub fn append(&self, record: Record, tag: T) -> Result<Lsn, AppendError> {
        self.shared.append(record, tag)
    }

    /// Why nothing is appended any more; from then on every append is refused, so an answer stays true.
    pub fn refusal(&self) -> Option<AppendError> {
        self.shared.refusal()
    }

    /// Waits until the record at `lsn` (and so all before it) is durable.
    pub async fn committed(&self, lsn: Lsn) -> Result<(), WalDead> {
        self.shared.committed(lsn).await
    }

    /// Waits until the record at `lsn` (and so all before it) is durable on our own disk, though perhaps not on enough mirrors:
    /// nobody may be shown it before it is [`committed`](Self::committed), and it is lost if this process ends and others go
    /// on from what the mirrors have. What was true once stays true over a roll: the record is in the segment that was closed.
    pub async fn landed(&self, lsn: Lsn) -> Result<(), WalDead> {
        self.shared.landed(lsn).await
    }

    /// Lets everything below `below` go, recovered segments included: it is offloaded, and that is committed.
    ///
    /// Space comes back in whole files, after a frame that tells so is durable. Never goes backwards.
    ///
    /// # Panics
    /// If `below` lies beyond what is durable: that is a bug that would lose data.
    pub fn trim(&self, below: Lsn) {
        self.shared.trim(below);
    }

    /// How full the log is.
    pub fn usage(&self) -> Usage {
        self.shared.usage()
    }

    /// Commits nothing any more in the present segment, and says where that is. First half of a roll: the segment is
    /// to be closed there, and the log then [resumed](Self::resume) in another one. Frozen it stays until then.
    ///
    /// # Errors
    /// The log is dead or closed.
    pub async fn freeze(&self) -> Result<Frozen, WalDead> {
        let (sender, receiver) = oneshot::channel();
        self.order(Order::Freeze(sender)).await?;
        receiver.await.map_err(|_| self.shared.death())
    }

    /// Goes on in `segment`, which was opened where the frozen one was closed. What was appended and not committed is
    /// written again, under the same LSNs.
    ///
    /// # Errors
    /// The log is dead or closed.
    ///
    /// # Panics
    /// The writer does, and the log is dead, if it is not frozen or `segment` is not younger than the present one.
    pub async fn resume(&self, segment: u64, ensemble: Ensemble) -> Result<(), WalDead> {
        self.order(Order::Resume(segment, Box::new(ensemble))).await
    }

    async fn order(&self, order: Order) -> Result<(), WalDead> {
        tokio::select! {
            biased;
            sent = self.shared.desk.orders.send(order) => sent.map_err(|_| self.shared.death()),
            () = self.shared.ended.cancelled() => Err(self.shared.death()),
        }
    }

    /// Ends the log at once: another one decides what it held. Nothing is acknowledged from here on.
    pub fn fence(&self, reason: &str) {
        self.shared.die(reason.to_owned());
    }

    /// How the present segment's mirrors are. Whoever rolls looks here.
    pub fn mirror_health(&self) -> watch::Receiver<MirrorHealth> {
        self.shared.desk.health.subscribe()
    }

    /// The failure that ended this log, if one did.
    pub fn failure(&self) -> Option<WalDead> {
        self.shared.dead().cloned()
    }

    /// Resolves when a failure has ended this log. Never after a close that went well.
    pub async fn died(&self) -> WalDead {
        self.shared.ended.cancelled().await;
        match self.failure() {
            Some(dead) => dead,
            None => std::future::pending().await,
        }
    }

    /// Refuses further appends, writes what was queued, and returns when all of it is durable and the writer has ended.
    pub async fn close(&self) -> Result<(), WalDead> {
        self.shared.close();
        self.shared.ended.cancelled().await;
        self.failure().map_or(Ok(()), Err)
    }
}
