use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_runtime::Random;

use super::backend::{LogBackend, StateKey, WriteBatch};
use crate::snapshot::SnapshotPlace;

/// Writes that a disk which lies has only in its cache.
const LIE_WRITES: usize = 6;

/// A member's storage in memory: the simulator's twin of `metadata.dir`.
///
/// Cheap to clone; it outlives the member, as a disk outlives a process. [`MemoryStorage::crash`] takes back
/// what was not synced, which is what a power cut does.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage(Arc<Mutex<Disk>>);

/// One process's hold on it. The next one's, or a crash, makes it useless.
#[derive(Debug)]
pub(crate) struct Opening {
    storage: MemoryStorage,
    opening: u64,
}

#[derive(Debug, Default)]
struct Disk {
    now: Content,
    /// Writes since the last sync, to undo them: (key, value before).
    undo: Vec<Undo>,
    snapshot: Option<(u64, Vec<u8>)>,
    /// As in `identity.json`: drawn when it was blank.
    directory: Option<u32>,
    /// The longest that a sync takes, and what each one's time is drawn from.
    sync_time: Option<(Random, Duration)>,
    /// Writes that the sync under way covers.
    syncing: Option<usize>,
    /// So many of the writes that were synced are lost in a crash all the same; 0 on an honest disk.
    unkept: usize,
    /// Counts the processes that opened it.
    openings: u64,
    closed: bool,
    broken: bool,
}

#[derive(Debug, Default)]
struct Content {
    entries: BTreeMap<u64, Vec<u8>>,
    state: BTreeMap<StateKey, Vec<u8>>,
}

#[derive(Debug)]
enum Undo {
    Entry(u64, Option<Vec<u8>>),
    State(StateKey, Option<Vec<u8>>),
}

impl MemoryStorage {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// A power cut: everything written since the last sync is gone. Whoever still holds the storage open can no
    /// longer use it.
    pub fn crash(&self) {
        let mut disk = self.lock();
        while let Some(undo) = disk.undo.pop() {
            match undo {
                Undo::Entry(index, Some(before)) => drop(disk.now.entries.insert(index, before)),
                Undo::Entry(index, None) => drop(disk.now.entries.remove(&index)),
                Undo::State(key, Some(before)) => drop(disk.now.state.insert(key, before)),
                Undo::State(key, None) => drop(disk.now.state.remove(&key)),
            }
        }
        (disk.closed, disk.syncing) = (true, None);
    }

    /// The disk is replaced by a blank one. Whoever still holds the storage open can no longer use it. What opens it next is a
    /// member that nobody knows.
    pub fn wipe(&self) {
        self.blank(None);
    }

    /// A lie that a test must notice: the disk is blank, and what opens it next takes itself for the member that it was.
    pub fn wipe_but_for_its_id(&self) {
        let directory = self.lock().directory;
        self.blank(directory);
    }

    fn blank(&self, directory: Option<u32>) {
        let mut disk = self.lock();
        let Disk { sync_time, unkept, openings, broken, .. } = std::mem::take(&mut *disk);
        *disk = Disk { directory, sync_time, unkept, openings, broken, closed: true, ..Disk::default() };
    }

    /// From now on a sync takes up to `most`, as if by a device that is not there at once; a crash meanwhile takes back what
    /// it would have covered. Each one's time is drawn from `random`.
    pub fn set_sync_time(&self, random: &Random, most: Duration) {
        self.lock().sync_time = Some((random.clone(), most));
    }

    /// Which of the node's storages this is: `drawn` if it is blank and was never opened.
    pub(crate) fn directory(&self, drawn: u32) -> u32 {
        *self.lock().directory.get_or_insert(drawn)
    }

    /// From now on every write and every sync fails, as on a device that died; reading still works. Until the
    /// storage is opened again.
    pub fn break_writes(&self) {
        self.lock().broken = true;
    }

    /// Whether nothing was ever written, as in an empty directory.
    pub fn is_blank(&self) -> bool {
        let disk = self.lock();
        disk.now.entries.is_empty() && disk.now.state.is_empty() && disk.snapshot.is_none()
    }

    /// From now on a crash also takes back the last few writes that were synced: a lie that a test must notice.
    pub fn lie(&self) {
        self.lock().unkept = LIE_WRITES;
    }

    /// Opens what was closed, crashed or broken.
    pub(crate) fn open(&self) -> Opening {
        let mut disk = self.lock();
        (disk.closed, disk.broken, disk.syncing) = (false, false, None);
        disk.openings += 1;
        Opening { storage: self.clone(), opening: disk.openings }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        // Every change under this lock is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opening {
    fn opened(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.storage.lock();
        if disk.closed || disk.openings != self.opening {
            Err(io::Error::other("the storage is closed"))
        } else {
            Ok(disk)
        }
    }

    fn writable(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.opened()?;
        if disk.broken { Err(io::Error::other("the storage takes no more writes")) } else { Ok(disk) }
    }
}

impl LogBackend for Opening {
    fn bounds(&self) -> io::Result<Option<(u64, u64)>> {
        let disk = self.opened()?;
        let entries = &disk.now.entries;
        Ok(entries
            .first_key_value()
            .zip(entries.last_key_value())
            .map(|((first, _), (last, _))| (*first, *last)))
    }

    fn entries(&self, range: Range<u64>) -> io::Result<Vec<(u64, Vec<u8>)>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.opened()?.now.entries.range(range).map(|(index, entry)| (*index, entry.clone())).collect())
    }

    fn state(&self, key: StateKey) -> io::Result<Option<Vec<u8>>> {
        Ok(self.opened()?.now.state.get(&key).cloned())
    }

    fn write(&self, batch: WriteBatch) -> io::Result<()> {
        let mut disk = self.writable()?;
        if !batch.remove.is_empty() {
            let doomed: Vec<u64> = disk.now.entries.range(batch.remove).map(|(index, _)| *index).collect();
            for index in doomed {
                let before = disk.now.entries.remove(&index);
                disk.undo.push(Undo::Entry(index, before));
            }
        }
        for (index, entry) in batch.put {
            let before = disk.now.entries.insert(index, entry);
            disk.undo.push(Undo::Entry(index, before));
        }
        for (key, value) in batch.state {
            let before = disk.now.state.insert(key, value);
            disk.undo.push(Undo::State(key, before));
        }
        Ok(())
    }

    fn begin_sync(&self) -> Duration {
        // Without a disk there is nothing to wait for: the sync itself says so.
        let Ok(mut disk) = self.writable() else { return Duration::ZERO };
        disk.syncing = Some(disk.undo.len());
        let Some((random, most)) = &disk.sync_time else { return Duration::ZERO };
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(random.below(most.saturating_add(1)))
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.writable()?;
        let covered = disk.syncing.take().unwrap_or(disk.undo.len());
        let kept = covered.saturating_sub(disk.unkept);
        disk.undo.drain(..kept);
        Ok(())
    }

    fn close(&self) {
        if let Ok(mut disk) = self.opened() {
            disk.closed = true;
        }
    }
}

impl SnapshotPlace for Opening {
    fn store(&self, index: u64, bytes: &[u8]) -> io::Result<()> {
        self.writable()?.snapshot = Some((index, bytes.to_vec()));
        Ok(())
    }

    fn load(&self) -> io::Result<Option<(String, Vec<u8>)>> {
        let disk = self.opened()?;
        Ok(disk
            .snapshot
            .as_ref()
            .map(|(index, bytes)| (format!("snapshot {index} in memory"), bytes.clone())))
    }
}
