use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::{DiskError, FileEntry, sys};

/// Held with `flock` as long as the disk is open.
const LOCK: &str = "lock";
/// Where the probe writes; ours to replace at any time.
pub(crate) const PROBE: &str = "probe";

/// A directory of the real filesystem, locked for this process.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    /// Whether files are opened with `O_DIRECT`.
    pub(crate) direct: bool,
    /// Closing it gives the lock back.
    _lock: File,
}

/// An open file of a [`Directory`].
#[derive(Debug)]
pub(crate) struct RawFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
}

impl Directory {
    /// Creates the directory if need be and locks it.
    pub(crate) fn take(path: &Path, direct: bool) -> Result<Self, DiskError> {
        let error = |operation: &str, error: io::Error| DiskError::io(path, operation, &error);
        fs::create_dir_all(path).map_err(|e| error("creating the directory", e))?;
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|e| DiskError::io(&lock_path, "opening", &e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Who holds it is only for the message.
                let _ = lock.read_to_string(&mut text);
                return Err(DiskError::Locked { path: lock_path, holder: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(e)) => return Err(DiskError::io(&lock_path, "locking", &e)),
        }
        let sign = |lock: &mut File| {
            lock.set_len(0)?;
            lock.seek(SeekFrom::Start(0))?;
            writeln!(lock, "{}", std::process::id())
        };
        sign(&mut lock).map_err(|e| DiskError::io(&lock_path, "writing our process id", &e))?;
        Ok(Self { path: path.to_owned(), direct, _lock: lock })
    }

    pub(crate) fn list(&self) -> Result<Vec<FileEntry>, DiskError> {
        let list = || -> io::Result<Vec<FileEntry>> {
            let mut entries = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let about = entry.metadata()?;
                if about.is_file() && name != LOCK && name != PROBE {
                    entries.push(FileEntry { name, length: about.len() });
                }
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        };
        list().map_err(|e| DiskError::io(&self.path, "listing", &e))
    }

    pub(crate) fn available(&self) -> Result<u64, DiskError> {
        sys::available(&self.path).map_err(|e| DiskError::io(&self.path, "asking for free space", &e))
    }

    pub(crate) fn create(&self, name: &str, length: u64) -> Result<RawFile, DiskError> {
        let path = self.path.join(name);
        let available = self.available()?;
        if available < length {
            return Err(DiskError::NoSpace { path, needed: length, available });
        }
        let file =
            self.options().create_new(true).open(&path).map_err(|e| self.refused(&path, "creating", &e));
        let reserved = file.and_then(|file| self.reserve(&path, &file, length).map(|()| file));
        match reserved {
            Ok(file) => Ok(RawFile { file, path, length }),
            Err(error) => {
                if !matches!(error, DiskError::AlreadyExists { .. }) {
                    // Even a refused O_DIRECT may leave the name behind. The first error is the one to tell.
                    let _ = fs::remove_file(&path);
                }
                Err(error)
            }
        }
    }

    fn reserve(&self, path: &Path, file: &File, length: u64) -> Result<(), DiskError> {
        let reserved = match sys::fallocate(file, length) {
            // A filesystem without reservations (NFS before 4.2): the zeroing that follows takes the room.
            Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => file.set_len(length),
            other => other,
        };
        reserved.and_then(|()| file.sync_all()).map_err(|e| match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::NoSpace {
                path: path.to_owned(),
                needed: length,
                available: self.available().unwrap_or(0),
            },
            _ => DiskError::io(path, format!("reserving {length} bytes"), &e),
        })?;
        file.try_lock().map_err(|e| DiskError::io(path, "locking", &e.into()))?;
        self.sync()
    }

    /// Opens a file; `None` while a previous process still has writes in flight on it.
    ///
    /// A killed process's directory lock is gone before its ring's last writes have landed: those hold on to the open
    /// file only, and so to this file's own lock.
    pub(crate) fn open(&self, name: &str) -> Result<Option<RawFile>, DiskError> {
        let path = self.path.join(name);
        let file = self.options().open(&path).map_err(|e| self.refused(&path, "opening", &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(DiskError::io(path, "locking", &e)),
        }
        let length = file.metadata().map_err(|e| DiskError::io(&path, "asking for its length", &e))?.len();
        Ok(Some(RawFile { file, path, length }))
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let path = self.path.join(from);
        fs::rename(&path, self.path.join(to)).map_err(|e| DiskError::io(path, "renaming", &e))?;
        self.sync()
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), DiskError> {
        let path = self.path.join(name);
        fs::remove_file(&path).map_err(|e| DiskError::io(path, "removing", &e))?;
        self.sync()
    }

    /// Makes names durable.
    fn sync(&self) -> Result<(), DiskError> {
        let sync = || File::open(&self.path)?.sync_all();
        sync().map_err(|e| DiskError::io(&self.path, "syncing the directory", &e))
    }

    fn options(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if self.direct {
            options.custom_flags(libc::O_DIRECT);
        }
        options
    }

    /// Tells a filesystem that cannot do direct I/O from other errors.
    pub(crate) fn refused(&self, path: &Path, operation: &str, error: &io::Error) -> DiskError {
        if self.direct && error.raw_os_error() == Some(libc::EINVAL) {
            let filesystem = sys::filesystem(&self.path).unwrap_or_else(|_| "unknown".to_owned());
            return DiskError::DirectIoRefused { path: path.to_owned(), filesystem };
        }
        DiskError::io(path, operation, error)
    }
}
