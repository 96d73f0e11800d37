use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;

use crate::directory::{Directory, RawFile};
use crate::disk::assert_aligned;
use crate::mailbox::{Mailbox, Operation};
use crate::probe::{self, Measured};
use crate::uring::Ring;
use crate::{
    AlignedBuf, BLOCK, BlockFile, BufferPool, DeviceFailure, DeviceInfo, Disk, DiskError, Engine, FileEntry,
    Pending, device, sys, threads,
};

/// The I/O thread's name, as `top -H` shows it.
const THREAD: &str = "aquifer-disk";
/// How long writes of a killed process may take to land before its files are ours.
const LANDING: Duration = Duration::from_secs(10);
/// How often that is looked at; the kernel gives no event for it that could be waited for with a limit.
const LANDING_LOOK: Duration = Duration::from_millis(5);

/// A real directory with a thread that does its I/O.
#[derive(Debug)]
pub(crate) struct RealDisk {
    running: Arc<Running>,
    info: DeviceInfo,
}

/// The thread, for as long as a disk or a file needs it.
struct Running {
    mailbox: Arc<Mailbox>,
    directory: Arc<Directory>,
    pool: BufferPool,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.mailbox.close();
        if let Some(thread) = self.thread.take() {
            // It ends when what is in flight has landed. Its panic was told by the panic hook.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("directory", &self.directory.path).finish_non_exhaustive()
    }
}

impl RealDisk {
    /// Takes the directory, probes it and starts the thread. Blocks for some tens of milliseconds.
    pub(crate) fn start(path: &Path, engine: Engine) -> Result<Self, DiskError> {
        let directory = Directory::take(path, true)?;
        let block_device = device::block_device(path);
        if let Some(device) = &block_device
            && device.sector > BLOCK as u64
        {
            return Err(DiskError::SectorTooLarge { path: path.to_owned(), sector: device.sector });
        }
        let pool = BufferPool::new();
        let (mailbox, directory, measured, thread) = match engine {
            Engine::Uring => start_ring(directory, &pool, block_device.clone())?,
            Engine::Threads => start_threads(directory, &pool)?,
        };
        let info = DeviceInfo {
            path: path.to_owned(),
            engine: if engine == Engine::Uring { "io_uring" } else { "threads" },
            sync: measured.strategy,
            direct: directory.direct,
            filesystem: sys::filesystem(path).unwrap_or_else(|_| "an unknown filesystem".to_owned()),
            class: device::class(block_device.as_ref(), Some(measured.commit_us)),
            block_device,
            commit_us: Some(measured.commit_us),
        };
        let running = Running { mailbox, directory, pool, thread: Some(thread) };
        Ok(Self { running: Arc::new(running), info })
    }

    fn file(&self, file: RawFile) -> Arc<dyn BlockFile> {
        Arc::new(RealFile { running: self.running.clone(), file: Arc::new(file) })
    }

    /// Runs something that blocks.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, DiskError> {
        if let Some(failure) = self.running.mailbox.failure() {
            return Err(failure.clone().into());
        }
        let directory = self.running.directory.clone();
        let result = tokio::task::spawn_blocking(move || work(&directory)).await;
        result.unwrap_or_else(|_| {
            Err(DeviceFailure::new(
                &self.info.path,
                "a file operation",
                "it panicked or the runtime is stopping",
            )
            .into())
        })
    }
}

type Started = (Arc<Mailbox>, Arc<Directory>, Measured, JoinHandle<()>);

fn start_ring(
    directory: Directory,
    pool: &BufferPool,
    block_device: Option<crate::BlockDevice>,
) -> Result<Started, DiskError> {
    let path = directory.path.clone();
    let bells = sys::eventfd().and_then(|event| Ok((event.try_clone()?, event)));
    let (bell, event) = bells.map_err(|error| DiskError::io(&path, "creating an eventfd", &error))?;
    let mailbox = Arc::new(Mailbox::with_event(bell.into()));
    let directory = Arc::new(directory);
    let (tell, told) = sync_channel::<Result<Measured, DiskError>>(1);
    let thread = {
        let (mailbox, directory, pool) = (mailbox.clone(), directory.clone(), pool.clone());
        // The ring belongs to the thread that makes it, so that the kernel need not guard it against others.
        spawn(&path, move || {
            let begin = || {
                let mut ring = Ring::new(event.into())?;
                let measured = probe::ring(&mut ring, &mailbox, &directory, &pool, block_device.as_ref())?;
                Ok((ring, measured))
            };
            match begin() {
                Ok((ring, measured)) => {
                    let strategy = measured.strategy;
                    if tell.send(Ok(measured)).is_ok() {
                        ring.serve(&mailbox, strategy);
                    }
                }
                // Nobody listens only if the starting thread panicked.
                Err(error) => drop(tell.send(Err(error))),
            }
        })?
    };
    let measured = told
        .recv()
        .unwrap_or_else(|_| Err(DeviceFailure::new(&path, "starting the I/O thread", "it panicked").into()));
    Ok((mailbox, directory, measured?, thread))
}

fn start_threads(mut directory: Directory, pool: &BufferPool) -> Result<Started, DiskError> {
    let measured = match probe::threads(&directory, pool) {
        Err(DiskError::DirectIoRefused { path, filesystem }) => {
            tracing::warn!(path = %path.display(), filesystem, "no O_DIRECT here: writing through the page cache");
            directory.direct = false;
            probe::threads(&directory, pool)
        }
        other => other,
    }?;
    let mailbox = Arc::new(Mailbox::with_condition());
    let thread = {
        let mailbox = mailbox.clone();
        spawn(&directory.path, move || threads::serve(&mailbox))?
    };
    Ok((mailbox, Arc::new(directory), measured, thread))
}

fn spawn(path: &Path, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, DiskError> {
    let body = move || {
        let real_time = sys::ask_for_real_time();
        tracing::debug!(real_time, "the I/O thread runs");
        body();
    };
    let spawned = std::thread::Builder::new().name(THREAD.to_owned()).spawn(body);
    spawned.map_err(|error| DiskError::io(path, "starting the I/O thread", &error))
}

#[async_trait]
impl Disk for RealDisk {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn path(&self) -> PathBuf {
        self.info.path.clone()
    }

    fn pool(&self) -> &BufferPool {
        &self.running.pool
    }

    fn failure(&self) -> Option<DeviceFailure> {
        self.running.mailbox.failure().cloned()
    }

    async fn list(&self) -> Result<Vec<FileEntry>, DiskError> {
        self.blocking(Directory::list).await
    }

    async fn available(&self) -> Result<u64, DiskError> {
        self.blocking(Directory::available).await
    }

    async fn create(&self, name: &str, length: u64) -> Result<Arc<dyn BlockFile>, DiskError> {
        assert_aligned(0, length);
        let name = name.to_owned();
        Ok(self.file(self.blocking(move |directory| directory.create(&name, length)).await?))
    }

    async fn open(&self, name: &str) -> Result<Arc<dyn BlockFile>, DiskError> {
        let start = tokio::time::Instant::now();
        loop {
            let wanted = name.to_owned();
            if let Some(file) = self.blocking(move |directory| directory.open(&wanted)).await? {
                return Ok(self.file(file));
            }
            if start.elapsed() > LANDING {
                return Err(DiskError::Locked { path: self.info.path.join(name), holder: None });
            }
            tokio::time::sleep(LANDING_LOOK).await;
        }
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.blocking(move |directory| directory.rename(&from, &to)).await
    }

    async fn remove(&self, name: &str) -> Result<(), DiskError> {
        let name = name.to_owned();
        self.blocking(move |directory| directory.remove(&name)).await
    }
}

#[derive(Debug)]
struct RealFile {
    running: Arc<Running>,
    file: Arc<RawFile>,
}

impl BlockFile for RealFile {
    fn length(&self) -> u64 {
        self.file.length
    }

    fn path(&self) -> PathBuf {
        self.file.path.clone()
    }

    fn read(&self, position: u64, length: usize) -> Pending<AlignedBuf> {
        assert_aligned(position, length as u64);
        let mut buffer = self.running.pool.take(length);
        buffer.set_len(length);
        let (reply, pending) = Pending::new();
        self.running.mailbox.post(Operation::Read { file: self.file.clone(), position, buffer, reply });
        pending
    }

    fn write(&self, position: u64, blocks: Arc<AlignedBuf>) -> Pending<()> {
        assert_aligned(position, blocks.len() as u64);
        assert!(position + blocks.len() as u64 <= self.file.length, "a write beyond the end of a file");
        let (reply, pending) = Pending::new();
        self.running.mailbox.post(Operation::Write { file: self.file.clone(), position, blocks, reply });
        pending
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// A file whose writes fail, because it is open for reading only.
    fn unwritable(disk: &RealDisk, directory: &Path) -> RealFile {
        let path = directory.join("readable");
        std::fs::write(&path, vec![7; BLOCK]).expect("written");
        let file = File::open(&path).expect("just written");
        let file = Arc::new(RawFile { file, path, length: BLOCK as u64 });
        RealFile { running: disk.running.clone(), file }
    }

    async fn a_failed_write_kills_the_device(engine: Engine) {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = RealDisk::start(directory.path(), engine).expect("starts");
        let healthy = disk.create("healthy", BLOCK as u64).await.expect("created");
        let zeros = Arc::new(disk.pool().zeros(BLOCK));
        healthy.write(0, zeros.clone()).await.expect("the device is fine");

        let error = unwritable(&disk, directory.path()).write(0, zeros.clone()).await.expect_err("read-only");
        let DiskError::Dead(failure) = &error else { panic!("{error}") };
        assert!(failure.to_string().contains("write of 4096 bytes at 0"), "{failure}");

        assert!(matches!(healthy.write(0, zeros).await, Err(DiskError::Dead(_))));
        assert!(matches!(healthy.read(0, BLOCK).await, Err(DiskError::Dead(_))));
        assert!(matches!(disk.create("another", BLOCK as u64).await, Err(DiskError::Dead(_))));
        assert!(disk.failure().is_some());
    }

    #[tokio::test]
    async fn a_failed_write_kills_the_device_of_a_ring() {
        a_failed_write_kills_the_device(Engine::Uring).await;
    }

    #[tokio::test]
    async fn a_failed_write_kills_the_device_of_a_thread() {
        a_failed_write_kills_the_device(Engine::Threads).await;
    }
}
