use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a disk could not do what it was asked. Cheap to clone: one failure answers many waiters.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DiskError {
    /// The file is not there.
    #[error("{path}: no such file")]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// A file of that name exists already.
    #[error("{path}: exists already")]
    AlreadyExists {
        /// The file.
        path: PathBuf,
    },
    /// The filesystem cannot hold a new file.
    #[error(
        "{path}: no room for a file of {needed} bytes, the filesystem has {available} bytes left; \
         free some space, or ask for less"
    )]
    NoSpace {
        /// The file that could not be reserved.
        path: PathBuf,
        /// Its size in bytes.
        needed: u64,
        /// What the filesystem has left for this process, in bytes.
        available: u64,
    },
    /// Another process works in the directory.
    #[error(
        "{path}: locked by another process{}; two nodes must not share a WAL directory: stop the other one, or \
         give this one a directory of its own", holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that wrote its id into the lock file.
        holder: Option<u32>,
    },
    /// The filesystem cannot do direct I/O.
    #[error(
        "{path}: the filesystem ({filesystem}) refuses O_DIRECT, which the io_uring engine needs; use a directory on \
         ext4 or xfs, or ask for the plain-thread engine, which goes through the page cache there (wal.io.engine=threads)"
    )]
    DirectIoRefused {
        /// The file that was tried.
        path: PathBuf,
        /// The filesystem's type, as `statfs` knows it.
        filesystem: String,
    },
    /// The kernel or the container does not let us use io_uring.
    #[error(
        "io_uring is not available here ({cause}): the kernel is too old (5.6 or later is needed), or io_uring is turned off by \
         a seccomp profile of the container or by the sysctl kernel.io_uring_disabled; allow it, or ask for the \
         slower plain-thread engine with wal.io.engine=threads"
    )]
    RingUnavailable {
        /// What the kernel answered.
        cause: String,
    },
    /// The device's sectors are larger than our blocks.
    #[error("{path}: the device has sectors of {sector} bytes; at most 4096 are supported")]
    SectorTooLarge {
        /// The directory.
        path: PathBuf,
        /// The logical sector size in bytes.
        sector: u64,
    },
    /// A system call failed.
    #[error("{path}: {operation} failed: {cause}")]
    Io {
        /// What was tried, e.g. `read of 4096 bytes at 8192`.
        operation: String,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        cause: String,
        /// Its kind.
        kind: io::ErrorKind,
    },
    /// The device failed a write or a sync earlier in the life of this process, and is not used any more.
    #[error(transparent)]
    Dead(#[from] DeviceFailure),
}

/// The first failed write or sync of a device, which ended its use.
///
/// It is never retried: after a failed sync the kernel may have dropped the dirty data and marked it
/// clean, so that a second sync succeeds over data that was lost.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "the device under {path} failed ({operation}: {cause}) and is not used again by this process; nothing was \
     acknowledged after it. Check the kernel's log (dmesg) and the device (smartctl), then restart the node"
)]
pub struct DeviceFailure {
    /// The file that was written.
    pub path: Arc<PathBuf>,
    /// What was tried.
    pub operation: Arc<str>,
    /// The kernel's answer.
    pub cause: Arc<str>,
}

impl DiskError {
    pub(crate) fn io(path: impl Into<PathBuf>, operation: impl Into<String>, cause: &io::Error) -> Self {
        let path = path.into();
        match cause.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::AlreadyExists => Self::AlreadyExists { path },
            kind => Self::Io { operation: operation.into(), path, cause: cause.to_string(), kind },
        }
    }
}

impl DeviceFailure {
    pub(crate) fn new(
        path: impl Into<PathBuf>,
        operation: impl Into<Arc<str>>,
        cause: impl Into<Arc<str>>,
    ) -> Self {
        Self { path: Arc::new(path.into()), operation: operation.into(), cause: cause.into() }
    }
}
