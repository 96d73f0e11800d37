use std::sync::Arc;

use crate::shared::Shared;
use crate::{AppendError, Lsn, Record, WalDead};

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
    /// End of what is durable.
    pub committed: Lsn,
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

    /// Waits until the record at `lsn` (and so all before it) is durable.
    pub async fn committed(&self, lsn: Lsn) -> Result<(), WalDead> {
        self.shared.committed(lsn).await
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

    /// The failure that ended this log, if one did.
    pub fn failure(&self) -> Option<WalDead> {
        self.shared.dead().cloned()
    }

    /// Refuses further appends, writes what was queued, and returns when all of it is durable and the writer has ended.
    pub async fn close(&self) -> Result<(), WalDead> {
        self.shared.close();
        self.shared.ended.cancelled().await;
        self.failure().map_or(Ok(()), Err)
    }
}
