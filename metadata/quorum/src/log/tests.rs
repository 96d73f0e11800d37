use std::io;
use std::sync::Arc;
use std::time::Duration;

use aquifer_runtime::{OnEnd, Random, TaskGroup};
use openraft::StorageError;
use openraft::storage::{RaftLogReader as _, RaftLogStorage as _, RaftLogStorageExt as _};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::testing::{blank_ent, log_id};
use tempfile::TempDir;

use super::backend::{LogBackend, WriteBatch};
use super::memory::Opening;
use super::{EntryError, FORMAT, MemoryStorage, RaftLog, SledLog};
use crate::machine::Machine;
use crate::raft::{Entry, Proposal, TypeConfig, Vote};
use crate::snapshot::{SnapshotFiles, SnapshotPlace, Snapshots};

struct OnSled;
struct InMemory;

impl StoreBuilder<TypeConfig, RaftLog, Machine, TempDir> for OnSled {
    async fn build(&self) -> Result<(TempDir, RaftLog, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let backend = Arc::new(SledLog::open(&dir.path().join("log")).unwrap());
        let (log, machine) = store(backend, Arc::new(SnapshotFiles::new(dir.path())));
        Ok((dir, log, machine))
    }
}

impl StoreBuilder<TypeConfig, RaftLog, Machine, ()> for InMemory {
    async fn build(&self) -> Result<((), RaftLog, Machine), StorageError<TypeConfig>> {
        let memory = Arc::new(MemoryStorage::new().open());
        let (log, machine) = store(memory.clone(), memory);
        Ok(((), log, machine))
    }
}

fn store(backend: Arc<dyn LogBackend>, place: Arc<dyn SnapshotPlace>) -> (RaftLog, Machine) {
    let (snapshots, image) = Snapshots::open(place, "test".as_ref()).unwrap();
    (open(backend), Machine::new(snapshots, image))
}

fn open(backend: Arc<dyn LogBackend>) -> RaftLog {
    let (log, sync) = RaftLog::open(backend).unwrap();
    TaskGroup::new().spawn("sync", OnEnd::Continue, sync);
    log
}

/// Both backends, each empty.
fn backends() -> Vec<(Option<TempDir>, Arc<dyn LogBackend>)> {
    let dir = tempfile::tempdir().unwrap();
    let sled = Arc::new(SledLog::open(&dir.path().join("log")).unwrap());
    vec![(Some(dir), sled), (None, Arc::new(MemoryStorage::new().open()))]
}

fn blank(index: u64) -> Entry {
    blank_ent::<TypeConfig>(1, 7, index)
}

#[tokio::test]
async fn sled_passes_openrafts_storage_suite() {
    Suite::test_all(OnSled).await.unwrap();
}

#[tokio::test]
async fn memory_passes_openrafts_storage_suite() {
    Suite::test_all(InMemory).await.unwrap();
}

#[tokio::test]
async fn what_was_synced_is_there_after_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    {
        let backend = Arc::new(SledLog::open(&path).unwrap());
        let mut log = open(backend.clone());
        log.save_vote(&Vote::new(3, 7)).await.unwrap();
        log.blocking_append((0..50).map(blank)).await.unwrap();
        log.truncate_after(Some(log_id::<TypeConfig>(1, 7, 39))).await.unwrap();
        log.purge(log_id::<TypeConfig>(1, 7, 9)).await.unwrap();
        log.save_committed(Some(log_id::<TypeConfig>(1, 7, 30))).await.unwrap();
        log.blocking_append([blank(40)]).await.unwrap();
        backend.close();
    }
    let mut log = open(Arc::new(SledLog::open(&path).unwrap()));
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(3, 7)));
    assert_eq!(log.read_committed().await.unwrap().unwrap().index, 30);
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id.unwrap().index, state.last_log_id.unwrap().index), (9, 40));
    let found: Vec<u64> =
        log.try_get_log_entries(..).await.unwrap().iter().map(|entry| entry.log_id.index).collect();
    assert_eq!(found, (10..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_crash_of_the_memory_takes_back_what_was_not_synced() {
    let memory = MemoryStorage::new();
    let opening = Arc::new(memory.open());
    let mut log = open(opening.clone());
    log.blocking_append((0..5).map(blank)).await.unwrap();
    let overwrite = WriteBatch { remove: 3..5, put: vec![(3, vec![0xff])], ..WriteBatch::default() };
    opening.write(overwrite).unwrap();
    memory.crash();
    assert!(opening.write(WriteBatch::default()).is_err(), "a crashed process writes no more");
    let log = open(Arc::new(memory.open()));
    assert!(opening.write(WriteBatch::default()).is_err(), "nor when the next one runs");
    assert_eq!(log.clone().try_get_log_entries(..).await.unwrap().len(), 5);
}

#[test]
fn a_sync_of_the_memory_that_takes_its_time_covers_what_came_before_it() {
    let memory = MemoryStorage::new();
    let most = Duration::from_millis(5);
    memory.set_sync_time(&Random::seeded(1), most);
    let write = |opening: &Opening, index| {
        opening.write(WriteBatch { put: vec![(index, vec![1])], ..WriteBatch::default() }).unwrap();
    };
    let bounds = || memory.open().bounds().unwrap();

    let opening = memory.open();
    write(&opening, 0);
    let times: Vec<_> = (0..50).map(|_| opening.begin_sync()).collect();
    assert!(times.iter().all(|time| *time <= most) && times.iter().any(|time| *time > most / 2), "{times:?}");
    write(&opening, 1);
    opening.sync().unwrap();
    memory.crash();
    assert_eq!(bounds(), Some((0, 0)));

    let opening = memory.open();
    write(&opening, 1);
    opening.begin_sync();
    memory.crash();
    assert!(opening.sync().is_err());
    assert_eq!(bounds(), Some((0, 0)), "a crash came before the sync ended");
}

#[tokio::test]
async fn an_entry_of_the_largest_size_comes_back_whole() {
    use aquifer_image::{Command, RemoveObjects};
    for (_dir, backend) in backends() {
        let objects = (0..400_000).map(|id| aquifer_types::ObjectId(u64::MAX - id)).collect();
        let proposal = Proposal::new(Arc::new(Command::from(RemoveObjects { objects })));
        assert!(proposal.encoded().len() > 3 << 20, "{} bytes", proposal.encoded().len());
        let mut large = blank(1);
        large.payload = openraft::EntryPayload::Normal(proposal.clone());
        let mut log = open(backend.clone());
        log.blocking_append([blank(0), large, blank(2)]).await.unwrap();
        let reopened = open(backend).try_get_log_entries(1..2).await.unwrap().remove(0);
        let openraft::EntryPayload::Normal(found) = reopened.payload else { panic!("another payload") };
        assert_eq!(found.encoded(), proposal.encoded());
    }
}

#[tokio::test]
async fn sled_never_keeps_anything_outside_the_file_that_is_synced() {
    use aquifer_image::{Command, RemoveObjects};
    let dir = tempfile::tempdir().unwrap();
    let backend: Arc<dyn LogBackend> = Arc::new(SledLog::open(dir.path()).unwrap());
    let mut log = open(backend);
    for round in 0..20u64 {
        let entries = (round * 8..round * 8 + 8).map(|index| {
            let objects = (0..20_000).map(|id| aquifer_types::ObjectId(u64::MAX - id)).collect();
            let mut entry = blank(index);
            entry.payload =
                openraft::EntryPayload::Normal(Proposal::new(Arc::new(Command::from(RemoveObjects {
                    objects,
                }))));
            entry
        });
        log.blocking_append(entries).await.unwrap();
        if round > 2 {
            log.purge(log_id::<TypeConfig>(1, 7, (round - 2) * 8)).await.unwrap();
        }
    }
    assert_eq!(std::fs::read_dir(dir.path().join("blobs")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_gap_and_a_damaged_entry_are_told_at_the_opening() {
    for (_dir, backend) in backends() {
        open(backend.clone()).blocking_append((0..10).map(blank)).await.unwrap();
        let mut bytes = backend.entries(4..5).unwrap().remove(0).1;
        bytes[20] ^= 1;
        backend.write(WriteBatch { put: vec![(4, bytes)], ..WriteBatch::default() }).unwrap();
        let damaged = opening_error(&backend);
        assert!(matches!(&damaged, EntryError::Damaged(reason) if reason.contains("entry 4")), "{damaged}");

        backend.write(WriteBatch { remove: 4..5, ..WriteBatch::default() }).unwrap();
        let gap = opening_error(&backend);
        assert!(matches!(&gap, EntryError::Damaged(reason) if reason.contains("missing")), "{gap}");

        backend.write(WriteBatch { remove: 0..5, ..WriteBatch::default() }).unwrap();
        let cut = opening_error(&backend);
        assert!(matches!(&cut, EntryError::Damaged(reason) if reason.contains("begins at entry 5")), "{cut}");
    }
}

#[tokio::test]
async fn an_entry_of_a_later_release_is_told_at_the_opening() {
    for (_dir, backend) in backends() {
        open(backend.clone()).blocking_append([blank(0)]).await.unwrap();
        let mut bytes = backend.entries(0..1).unwrap().remove(0).1;
        bytes[0] = FORMAT + 1;
        backend.write(WriteBatch { put: vec![(0, bytes)], ..WriteBatch::default() }).unwrap();
        assert!(matches!(opening_error(&backend), EntryError::LaterFormat { found } if found == FORMAT + 1));
    }
}

fn opening_error(backend: &Arc<dyn LogBackend>) -> EntryError {
    match RaftLog::open(backend.clone()) {
        Ok(_) => panic!("opened"),
        Err(error) => error,
    }
}

/// A backend whose disk fails at the first sync and says success ever after, as ext4 does after EIO.
struct FailsOnce {
    inner: Opening,
    failed: std::sync::atomic::AtomicBool,
}

impl LogBackend for FailsOnce {
    fn bounds(&self) -> io::Result<Option<(u64, u64)>> {
        self.inner.bounds()
    }
    fn entries(&self, range: std::ops::Range<u64>) -> io::Result<Vec<(u64, Vec<u8>)>> {
        self.inner.entries(range)
    }
    fn state(&self, key: super::backend::StateKey) -> io::Result<Option<Vec<u8>>> {
        self.inner.state(key)
    }
    fn write(&self, batch: WriteBatch) -> io::Result<()> {
        self.inner.write(batch)
    }
    fn sync(&self) -> io::Result<()> {
        if self.failed.swap(true, std::sync::atomic::Ordering::SeqCst) {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(5))
    }
    fn close(&self) {}
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_ever_reported_durable() {
    let mut log = open(Arc::new(FailsOnce { inner: MemoryStorage::new().open(), failed: false.into() }));
    let first = log.save_vote(&Vote::new(1, 7)).await.unwrap_err();
    assert!(first.to_string().contains("could not be synced"), "{first}");
    assert!(log.save_vote(&Vote::new(2, 7)).await.is_err());
    assert!(log.blocking_append([blank(0)]).await.is_err());
}
