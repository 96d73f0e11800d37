use std::path::Path;
use std::sync::Arc;

use crate::engine::RealDisk;
use crate::{DeviceFailure, Disk, DiskError};

/// What drives a real directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// io_uring with `O_DIRECT`; the default.
    #[default]
    Uring,
    /// Plain system calls on a thread, for kernels and containers without io_uring. Must be asked for.
    Threads,
}

impl std::str::FromStr for Engine {
    type Err = String;

    /// The values of `wal.io.engine`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "io_uring" => Ok(Self::Uring),
            "threads" => Ok(Self::Threads),
            other => Err(format!("'{other}' is no I/O engine; io_uring (the default) and threads are")),
        }
    }
}

/// How to open a directory.
#[derive(Clone, Debug, Default)]
pub struct DiskOptions {
    /// What drives it.
    pub engine: Engine,
}

/// Takes the directory for this process (creating it if need be), probes its device and starts an engine on it.
///
/// Takes some tens of milliseconds, most of them for the probe, and logs what was found.
pub async fn open(path: &Path, options: &DiskOptions) -> Result<Arc<dyn Disk>, DiskError> {
    let (path, engine) = (path.to_owned(), options.engine);
    let started = tokio::task::spawn_blocking(move || RealDisk::start(&path, engine)).await;
    let disk = started.unwrap_or_else(|_| {
        Err(DeviceFailure::new("the disk", "starting", "it panicked or the runtime is stopping").into())
    })?;
    tracing::info!("WAL disk: {}", disk.info());
    Ok(Arc::new(disk))
}
