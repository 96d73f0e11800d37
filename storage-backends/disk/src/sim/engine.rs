use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use super::SimulatedDisk;
use super::state::path;
use crate::disk::assert_aligned;
use crate::{
    AlignedBuf, BlockFile, BufferPool, DeviceFailure, DeviceInfo, Disk, DiskError, FileEntry, Pending,
    SyncStrategy,
};

/// A process's hold on a simulated disk.
#[derive(Debug)]
pub(super) struct Attachment {
    disk: SimulatedDisk,
    incarnation: u64,
    info: DeviceInfo,
    pool: BufferPool,
}

impl Attachment {
    pub(super) fn new(disk: SimulatedDisk) -> Result<Arc<Self>, DiskError> {
        let mut state = disk.state();
        if state.locked {
            return Err(DiskError::Locked { path: path("lock"), holder: None });
        }
        state.locked = true;
        let incarnation = state.incarnation;
        drop(state);
        let info = DeviceInfo {
            path: path(""),
            engine: "simulated",
            sync: SyncStrategy::Simulated,
            direct: true,
            filesystem: "simulated".to_owned(),
            block_device: None,
            commit_us: None,
            class: "simulated",
        };
        Ok(Arc::new(Self { disk, incarnation, info, pool: BufferPool::new() }))
    }

    fn file(&self, number: u64, length: u64) -> Arc<dyn BlockFile> {
        let (disk, pool) = (self.disk.clone(), self.pool.clone());
        Arc::new(SimulatedFile { disk, incarnation: self.incarnation, number, length, pool })
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.incarnation == self.incarnation {
            state.drain();
            state.locked = false;
        }
    }
}

impl SimulatedDisk {
    /// The disk's state, if it still belongs to this process and works.
    fn alive(&self, incarnation: u64) -> Result<std::sync::MutexGuard<'_, super::State>, DiskError> {
        let mut state = self.state();
        state.settle(Instant::now());
        if state.incarnation != incarnation {
            return Err(
                DeviceFailure::new(path(""), "an operation after a crash", "this process is dead").into()
            );
        }
        match state.failure() {
            Some(failure) => Err(failure.into()),
            None => Ok(state),
        }
    }
}

#[async_trait]
impl Disk for Attachment {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn path(&self) -> PathBuf {
        path("")
    }

    fn pool(&self) -> &BufferPool {
        &self.pool
    }

    fn failure(&self) -> Option<DeviceFailure> {
        self.disk.state().failure()
    }

    async fn list(&self) -> Result<Vec<FileEntry>, DiskError> {
        Ok(self.disk.alive(self.incarnation)?.list())
    }

    async fn available(&self) -> Result<u64, DiskError> {
        Ok(self.disk.alive(self.incarnation)?.available())
    }

    async fn create(&self, name: &str, length: u64) -> Result<Arc<dyn BlockFile>, DiskError> {
        assert_aligned(0, length);
        let number = self.disk.alive(self.incarnation)?.create(name, length)?;
        Ok(self.file(number, length))
    }

    async fn open(&self, name: &str) -> Result<Arc<dyn BlockFile>, DiskError> {
        let (number, length) = self.disk.alive(self.incarnation)?.open(name)?;
        Ok(self.file(number, length))
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.alive(self.incarnation)?.rename(from, to)
    }

    async fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.disk.alive(self.incarnation)?.remove(name)
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    incarnation: u64,
    number: u64,
    length: u64,
    pool: BufferPool,
}

impl BlockFile for SimulatedFile {
    fn length(&self) -> u64 {
        self.length
    }

    fn path(&self) -> PathBuf {
        self.disk.state().name(self.number)
    }

    fn read(&self, position: u64, length: usize) -> Pending<AlignedBuf> {
        assert_aligned(position, length as u64);
        let (disk, incarnation, number) = (self.disk.clone(), self.incarnation, self.number);
        let mut buffer = self.pool.zeros(length);
        let due = Instant::now() + disk.state().latency();
        Pending::driven(async move {
            sleep_until(due).await;
            disk.alive(incarnation)?.read(number, position, &mut buffer)?;
            Ok(buffer)
        })
    }

    fn write(&self, position: u64, blocks: Arc<AlignedBuf>) -> Pending<()> {
        assert_aligned(position, blocks.len() as u64);
        assert!(position + blocks.len() as u64 <= self.length, "a write beyond the end of a file");
        let (disk, incarnation) = (self.disk.clone(), self.incarnation);
        let issued = disk.alive(incarnation).map(|mut state| state.issue(self.number, position, blocks));
        Pending::driven(async move {
            let due = issued?;
            sleep_until(due).await;
            disk.alive(incarnation).map(drop)
        })
    }
}
