//! `metadata.dir`: who may use it and whose it is.
//!
//! ```text
//!   lock                    held while the process lives
//!   identity.json           format, node, cluster
//!   log/                    sled
//!   snapshot-INDEX.aqfsnap  the current snapshot
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aquifer_types::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

use crate::config::DISK_RESERVE_BYTES;
use crate::error::StartError;

const FORMAT: u32 = 1;

/// A directory that is ours until it is released or this is dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    dir: PathBuf,
    lock: Mutex<Option<File>>,
}

/// What is written about the directory's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    format: u32,
    node: NodeId,
    /// `None` until a joining member has learnt it.
    pub(crate) cluster: Option<ClusterId>,
    /// Drawn when the directory was first used, so that a wiped one is told from it.
    #[serde(default)]
    pub(crate) directory: u32,
}

impl Identity {
    pub(crate) fn new(node: NodeId, cluster: Option<ClusterId>, directory: u32) -> Self {
        Self { format: FORMAT, node, cluster, directory }
    }
}

impl Directory {
    /// Creates the directory if need be and locks it. Blocks, but not for another process.
    pub(crate) fn open(dir: &Path) -> Result<Self, StartError> {
        fs::create_dir_all(dir).map_err(io_error("create", dir))?;
        let path = dir.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error("create", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StartError::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
        }
        let free = free_bytes(dir).map_err(io_error("ask for free space of", dir))?;
        if free < DISK_RESERVE_BYTES {
            return Err(StartError::DiskFull { dir: dir.to_owned(), free, needed: DISK_RESERVE_BYTES });
        }
        Ok(Self { dir: dir.to_owned(), lock: Mutex::new(Some(lock)) })
    }

    /// Lets the next one have it, although handles of this member may live on.
    pub(crate) fn release(&self) {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Whose the directory is, after checking that it is this node's. `None` if it is new.
    pub(crate) fn identity(
        &self,
        node: NodeId,
        expected: Option<ClusterId>,
    ) -> Result<Option<Identity>, StartError> {
        let path = self.dir.join("identity.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        // The format first: a later one may have other fields.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged =
            |error: serde_json::Error| StartError::Damaged { path: path.clone(), reason: error.to_string() };
        let Format { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if format > FORMAT {
            return Err(StartError::LaterFormat { path, found: format, supported: FORMAT });
        }
        let found: Identity = serde_json::from_slice(&bytes).map_err(damaged)?;
        if found.node != node {
            return Err(StartError::WrongNode { dir: self.dir.clone(), found: found.node, expected: node });
        }
        match (found.cluster, expected) {
            (Some(found), Some(expected)) if found != expected => {
                Err(StartError::WrongCluster { dir: self.dir.clone(), found, expected })
            }
            _ => Ok(Some(found)),
        }
    }

    /// Durably writes whose directory this is.
    pub(crate) fn set_identity(&self, identity: &Identity) -> Result<(), StartError> {
        let path = self.dir.join("identity.json");
        self.replace(&path, identity).map_err(io_error("write", &path))
    }

    fn replace(&self, path: &Path, identity: &Identity) -> io::Result<()> {
        let unfinished = self.dir.join("identity.unfinished");
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec_pretty(identity)?)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        sync_directory(&self.dir)
    }
}

/// Bytes that this user may still write on the file system of `dir`.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

pub(crate) fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::Io { action, path: path.clone(), source }
}
