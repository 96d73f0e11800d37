use std::marker::PhantomData;

use crate::{AppendError, Lsn, Record, WalDead};

/// A handle of a running log; cheap to clone. `T` is what the caller wants back when a record is durable.
#[derive(Debug)]
pub struct Wal<T> {
    tag: PhantomData<fn(T)>,
}

impl<T> Clone for Wal<T> {
    fn clone(&self) -> Self {
        Self { tag: PhantomData }
    }
}

/// How full the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of files that hold records not trimmed yet, and of records queued.
    pub unoffloaded_bytes: u64,
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
        self.unoffloaded_bytes * 100 >= self.capacity_bytes * Self::THROTTLE_PERCENT
    }

    /// Whether writers should be refused. [`Wal::append`] itself refuses only at the capacity.
    pub fn refuse(&self) -> bool {
        self.unoffloaded_bytes * 100 >= self.capacity_bytes * Self::REFUSE_PERCENT
    }
}

impl<T: Send + 'static> Wal<T> {
    /// Queues a record. Synchronous, under a short lock, never waiting for the disk. LSN order is call order.
    ///
    /// The record is in the log when this returns, and durable when [`committed`](Self::committed) says so.
    pub fn append(&self, record: Record, tag: T) -> Result<Lsn, AppendError> {
        let _ = (record, tag);
        todo!("lands next")
    }

    /// Waits until the record at `lsn` (and so all before it) is durable.
    pub async fn committed(&self, lsn: Lsn) -> Result<(), WalDead> {
        let _ = lsn;
        todo!("lands next")
    }

    /// Lets everything below `below` go, recovered segments included: it is offloaded, and that is committed.
    ///
    /// Space comes back in whole files, after a frame that tells so is durable. Never goes backwards.
    ///
    /// # Panics
    /// If `below` lies beyond what is durable: that is a bug that would lose data.
    pub fn trim(&self, below: Lsn) {
        let _ = below;
        todo!("lands next")
    }

    /// How full the log is.
    pub fn usage(&self) -> Usage {
        todo!("lands next")
    }

    /// The failure that ended this log, if one did.
    pub fn failure(&self) -> Option<WalDead> {
        todo!("lands next")
    }

    /// Refuses further appends, writes what was queued, and returns when all of it is durable and the writer has ended.
    pub async fn close(&self) -> Result<(), WalDead> {
        todo!("lands next")
    }
}
