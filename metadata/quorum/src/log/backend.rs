use std::io;
use std::ops::Range;
use std::time::Duration;

/// The hard state that lives beside the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StateKey {
    /// For whom this member voted.
    Vote,
    /// How far the log is known to be committed. May lag.
    Committed,
    /// The last entry that was purged.
    Purged,
}

/// One atomic change.
#[derive(Debug, Default)]
pub(crate) struct WriteBatch {
    /// Entries to remove, before `put`.
    pub(crate) remove: Range<u64>,
    /// Entries to set, by index.
    pub(crate) put: Vec<(u64, Vec<u8>)>,
    /// Hard state to set.
    pub(crate) state: Vec<(StateKey, Vec<u8>)>,
}

/// Where entries and hard state are kept, as opaque bytes.
///
/// Contract:
/// - `write` is atomic and its effect visible to reads at once. It is not durable before a `sync` that began later.
/// - Durability is ordered: after a crash the store holds a prefix of the writes that includes everything
///   written before the last successful `sync` began.
/// - `sync` blocks; it is called from one task at a time, `write` and reads may run beside it.
/// - After a failed `write` or `sync` the store must be given up: what it holds is unknown.
pub(crate) trait LogBackend: Send + Sync + 'static {
    /// The first and the last index present.
    fn bounds(&self) -> io::Result<Option<(u64, u64)>>;
    /// The entries in `range`, in order; absent ones are left out.
    fn entries(&self, range: Range<u64>) -> io::Result<Vec<(u64, Vec<u8>)>>;
    /// One piece of hard state.
    fn state(&self, key: StateKey) -> io::Result<Option<Vec<u8>>>;
    /// Applies a change.
    fn write(&self, batch: WriteBatch) -> io::Result<()>;
    /// A sync begins: how long to wait before [`LogBackend::sync`], which then need not cover what is written meanwhile. A real
    /// device takes its time in `sync` itself; a simulated one must not block.
    fn begin_sync(&self) -> Duration {
        Duration::ZERO
    }
    /// Makes every write durable that came before the sync began.
    fn sync(&self) -> io::Result<()>;
    /// Lets go of the files. Further calls fail.
    fn close(&self);
}
