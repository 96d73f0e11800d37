//! What every engine promises, see the contract at `aquifer_disk::Disk`.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use aquifer_disk::{
    AlignedBuf, BLOCK, BlockFile, Disk, DiskError, DiskOptions, Engine, SimulatedDisk, SimulatedFaults, open,
};

/// A disk that can be closed and opened again.
#[derive(Clone)]
enum Machine {
    Real(PathBuf, Engine),
    Simulated(SimulatedDisk),
}

impl Machine {
    async fn open(&self) -> Result<Arc<dyn Disk>, DiskError> {
        match self {
            Self::Real(path, engine) => open(path, &DiskOptions { engine: *engine }).await,
            Self::Simulated(disk) => disk.attach(),
        }
    }
}

async fn on_a_real<F: Future<Output = ()>>(engine: Engine, case: impl FnOnce(Machine) -> F) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    // Made by the engine itself.
    case(Machine::Real(directory.path().join("wal"), engine)).await;
}

async fn on_a_simulated<F: Future<Output = ()>>(case: impl FnOnce(Machine) -> F) {
    case(Machine::Simulated(SimulatedDisk::new(1, SimulatedFaults::default()))).await;
}

/// Each case on each engine.
macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod uring { $(#[tokio::test] async fn $case() { super::on_a_real(super::Engine::Uring, super::$case).await; })* }
        mod threads { $(#[tokio::test] async fn $case() { super::on_a_real(super::Engine::Threads, super::$case).await; })* }
        mod simulated { $(#[tokio::test(start_paused = true)] async fn $case() { super::on_a_simulated(super::$case).await; })* }
    };
}

conformance! {
    a_new_file_reads_as_zeros,
    what_was_written_is_read_also_after_opening_again,
    many_writes_and_reads_run_at_once,
    dropping_a_future_does_not_stop_its_write,
    names_are_created_renamed_listed_and_removed,
    a_disk_has_one_holder,
    a_file_that_does_not_fit_leaves_nothing_behind,
    a_read_beyond_the_end_fails_and_harms_nothing,
    a_large_write_is_whole,
}

const BLOCK_BYTES: u64 = BLOCK as u64;

fn filled(disk: &dyn Disk, bytes: usize, seed: u64) -> Arc<AlignedBuf> {
    let mut buffer = disk.pool().zeros(bytes);
    for (index, chunk) in buffer.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index as u64).to_le_bytes());
    }
    Arc::new(buffer)
}

async fn create(disk: &dyn Disk, name: &str, blocks: u64) -> Arc<dyn BlockFile> {
    disk.create(name, blocks * BLOCK_BYTES).await.expect("created")
}

async fn a_new_file_reads_as_zeros(machine: Machine) {
    let disk = machine.open().await.expect("opens");
    let file = create(&*disk, "new", 4).await;
    assert_eq!(file.length(), 4 * BLOCK_BYTES);
    let content = file.read(0, 4 * BLOCK).await.expect("read");
    assert_eq!(content.len(), 4 * BLOCK);
    assert!(content.iter().all(|byte| *byte == 0));
}

async fn what_was_written_is_read_also_after_opening_again(machine: Machine) {
    let disk = machine.open().await.expect("opens");
    let file = create(&*disk, "file", 8).await;
    let (first, second) = (filled(&*disk, 2 * BLOCK, 1), filled(&*disk, BLOCK, 2));
    file.write(BLOCK_BYTES, first.clone()).await.expect("written");
    file.write(2 * BLOCK_BYTES, second.clone()).await.expect("overwritten");
    let check = async |file: &dyn BlockFile| {
        let content = file.read(0, 4 * BLOCK).await.expect("read");
        assert!(content[..BLOCK].iter().all(|byte| *byte == 0));
        assert_eq!(content[BLOCK..2 * BLOCK], first[..BLOCK]);
        assert_eq!(content[2 * BLOCK..3 * BLOCK], second[..]);
    };
    check(&*file).await;
    drop((file, disk));
    let disk = machine.open().await.expect("opens again");
    let file = disk.open("file").await.expect("is there");
    assert_eq!(file.length(), 8 * BLOCK_BYTES);
    check(&*file).await;
}

async fn many_writes_and_reads_run_at_once(machine: Machine) {
    const AT_ONCE: u64 = 100;
    let disk = machine.open().await.expect("opens");
    let file = create(&*disk, "file", AT_ONCE).await;
    let writes: Vec<_> =
        (0..AT_ONCE).map(|index| file.write(index * BLOCK_BYTES, filled(&*disk, BLOCK, index))).collect();
    for write in writes.into_iter().rev() {
        write.await.expect("written");
    }
    let reads: Vec<_> = (0..AT_ONCE).map(|index| file.read(index * BLOCK_BYTES, BLOCK)).collect();
    for (index, read) in reads.into_iter().enumerate() {
        assert_eq!(read.await.expect("read")[..], filled(&*disk, BLOCK, index as u64)[..]);
    }
}

async fn dropping_a_future_does_not_stop_its_write(machine: Machine) {
    let disk = machine.open().await.expect("opens");
    let file = create(&*disk, "file", 1).await;
    drop(file.write(0, filled(&*disk, BLOCK, 9)));
    drop(file.read(0, BLOCK));
    drop((file, disk));
    let disk = machine.open().await.expect("opens again");
    let file = disk.open("file").await.expect("is there");
    assert_eq!(file.read(0, BLOCK).await.expect("read")[..], filled(&*disk, BLOCK, 9)[..]);
}

async fn names_are_created_renamed_listed_and_removed(machine: Machine) {
    let disk = machine.open().await.expect("opens");
    assert_eq!(disk.list().await.expect("listed"), []);
    let file = create(&*disk, "b", 2).await;
    create(&*disk, "a", 1).await;
    assert!(matches!(disk.create("a", BLOCK_BYTES).await, Err(DiskError::AlreadyExists { .. })));
    assert!(matches!(disk.open("c").await, Err(DiskError::NotFound { .. })));
    disk.rename("b", "a").await.expect("replaces a");
    file.write(0, filled(&*disk, BLOCK, 3)).await.expect("an open handle stays valid");
    create(&*disk, "c", 1).await;
    let names = |disk: Arc<dyn Disk>| async move {
        let entries = disk.list().await.expect("listed");
        entries.into_iter().map(|entry| (entry.name, entry.length)).collect::<Vec<_>>()
    };
    assert_eq!(names(disk.clone()).await, [("a".to_owned(), 2 * BLOCK_BYTES), ("c".to_owned(), BLOCK_BYTES)]);
    disk.remove("c").await.expect("removed");
    assert!(matches!(disk.remove("c").await, Err(DiskError::NotFound { .. })));
    drop((file, disk));
    let disk = machine.open().await.expect("opens again");
    assert_eq!(names(disk.clone()).await, [("a".to_owned(), 2 * BLOCK_BYTES)]);
    let file = disk.open("a").await.expect("is there");
    assert_eq!(file.read(0, BLOCK).await.expect("read")[..], filled(&*disk, BLOCK, 3)[..]);
}

async fn a_disk_has_one_holder(machine: Machine) {
    let disk = machine.open().await.expect("opens");
    let error = machine.open().await.expect_err("it is taken");
    assert!(matches!(error, DiskError::Locked { .. }), "{error}");
    drop(disk);
    machine.open().await.expect("it is free again");
}

async fn a_file_that_does_not_fit_leaves_nothing_behind(machine: Machine) {
    if let Machine::Simulated(disk) = &machine {
        disk.set_capacity(1 << 30);
    }
    let disk = machine.open().await.expect("opens");
    let available = disk.available().await.expect("known");
    let wanted = (available + (1 << 30)).next_multiple_of(BLOCK_BYTES);
    let error = disk.create("huge", wanted).await.expect_err("does not fit");
    let DiskError::NoSpace { path, needed, .. } = &error else { panic!("{error}") };
    assert!(path.ends_with("huge"));
    assert_eq!(*needed, wanted);
    assert_eq!(disk.list().await.expect("listed"), []);
}

async fn a_read_beyond_the_end_fails_and_harms_nothing(machine: Machine) {
    let disk = machine.open().await.expect("opens");
    let file = create(&*disk, "file", 1).await;
    assert!(matches!(file.read(0, 2 * BLOCK).await, Err(DiskError::Io { .. })));
    assert!(disk.failure().is_none());
    file.write(0, filled(&*disk, BLOCK, 1)).await.expect("the device is fine");
}

async fn a_large_write_is_whole(machine: Machine) {
    const BYTES: usize = 1 << 20;
    let disk = machine.open().await.expect("opens");
    let file = create(&*disk, "file", (BYTES / BLOCK) as u64).await;
    let blocks = filled(&*disk, BYTES, 5);
    file.write(0, blocks.clone()).await.expect("written");
    assert_eq!(file.read(0, BYTES).await.expect("read")[..], blocks[..]);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "not whole blocks")]
async fn a_misaligned_position_is_a_bug() {
    let disk = SimulatedDisk::new(1, SimulatedFaults::default()).attach().expect("attaches");
    let file = create(&*disk, "file", 1).await;
    drop(file.read(512, BLOCK));
}
