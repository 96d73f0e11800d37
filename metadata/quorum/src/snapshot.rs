//! Snapshots: the image at one entry of the log, kept so that the log behind it can be purged.
//!
//! ```text
//!   "AQFSNAP\n" | format u32 | meta length u32 | meta (MessagePack) | image | crc32c u32 of all before
//! ```

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aquifer_image::{Image, decode_snapshot, encode_snapshot};
use bytes::Bytes;

use crate::directory::sync_directory;
use crate::error::StartError;
use crate::raft::{Snapshot, SnapshotMeta};

const MAGIC: &[u8; 8] = b"AQFSNAP\n";
const FORMAT: u32 = 1;
const HEADER: usize = 16;
const TRAILER: usize = 4;
const PREFIX: &str = "snapshot-";
const SUFFIX: &str = ".aqfsnap";
/// The name under which a snapshot is written before it is renamed; what a crash leaves is removed at the start.
const UNFINISHED: &str = "snapshot.unfinished";

/// Where the one current snapshot is kept, as opaque bytes. Both methods block.
pub(crate) trait SnapshotPlace: Send + Sync + 'static {
    /// Durably replaces the snapshot: after a crash at any moment there is the old one or the new one, whole.
    fn store(&self, index: u64, bytes: &[u8]) -> io::Result<()>;
    /// The current one, with a name for messages.
    fn load(&self) -> io::Result<Option<(String, Vec<u8>)>>;
}

/// The files of `metadata.dir`.
pub(crate) struct SnapshotFiles {
    dir: PathBuf,
}

impl SnapshotFiles {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// All snapshots, by index. There are two for the moment between a rename and the removal of the older one.
    fn list(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let index = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(SUFFIX));
            if let Some(index) = index.and_then(|index| index.parse().ok()) {
                found.push((index, path));
            }
        }
        found.sort();
        Ok(found)
    }
}

impl SnapshotPlace for SnapshotFiles {
    fn store(&self, index: u64, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.dir.join(UNFINISHED);
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&unfinished, self.dir.join(format!("{PREFIX}{index:020}{SUFFIX}")))?;
        sync_directory(&self.dir)?;
        for (other, path) in self.list()? {
            if other != index {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn load(&self) -> io::Result<Option<(String, Vec<u8>)>> {
        match fs::remove_file(self.dir.join(UNFINISHED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let Some((_, path)) = self.list()?.pop() else { return Ok(None) };
        Ok(Some((path.display().to_string(), fs::read(path)?)))
    }
}

/// The current snapshot and how a new one replaces it. Clones share it.
#[derive(Clone)]
pub(crate) struct Snapshots {
    place: Arc<dyn SnapshotPlace>,
    current: Arc<Mutex<Current>>,
}

/// Locked while a snapshot is read or replaced.
struct Current {
    meta: Option<SnapshotMeta>,
    /// The member has stopped: what raft still had under way is not written.
    closed: bool,
}

impl Snapshots {
    /// Reads and checks the current snapshot. Blocks.
    pub(crate) fn open(
        place: Arc<dyn SnapshotPlace>,
        dir: &Path,
    ) -> Result<(Self, Option<(SnapshotMeta, Image)>), StartError> {
        let io = |source| StartError::Io { action: "read the snapshot in", path: dir.to_owned(), source };
        let opened = match place.load().map_err(io)? {
            None => None,
            Some((name, bytes)) => {
                let path = PathBuf::from(name);
                let (meta, image) = decode(&path, &bytes.into())?;
                let image = decode_snapshot(&image)
                    .map_err(|error| StartError::Damaged { path, reason: error.to_string() })?;
                Some((meta, image))
            }
        };
        let meta = opened.as_ref().map(|(meta, _)| meta.clone());
        Ok((Self { place, current: Arc::new(Mutex::new(Current { meta, closed: false })) }, opened))
    }

    /// Encodes and stores `image`.
    pub(crate) async fn build(&self, meta: SnapshotMeta, image: Image) -> io::Result<Snapshot> {
        let snapshots = self.clone();
        blocking(move || {
            let encoded = Bytes::from(encode_snapshot(&image));
            snapshots.store(&meta, &encoded)?;
            Ok(Snapshot { meta, snapshot: encoded })
        })
        .await
    }

    /// Checks and stores an image that came from the leader.
    pub(crate) async fn install(&self, meta: SnapshotMeta, encoded: Bytes) -> io::Result<Image> {
        let snapshots = self.clone();
        blocking(move || {
            let image = decode_snapshot(&encoded)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            snapshots.store(&meta, &encoded)?;
            Ok(image)
        })
        .await
    }

    /// Reads the current snapshot.
    pub(crate) async fn current(&self) -> io::Result<Option<Snapshot>> {
        let snapshots = self.clone();
        blocking(move || {
            // The lock keeps a new one from replacing the file while it is read.
            let current = snapshots.current.lock().unwrap_or_else(PoisonError::into_inner);
            if current.meta.is_none() {
                return Ok(None);
            }
            let Some((name, bytes)) = snapshots.place.load()? else { return Ok(None) };
            let (meta, image) = decode(Path::new(&name), &bytes.into())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            Ok(Some(Snapshot { meta, snapshot: image }))
        })
        .await
    }

    fn store(&self, meta: &SnapshotMeta, image: &[u8]) -> io::Result<()> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // One from the leader may have overtaken the one that was being built here.
        if current.meta.as_ref().is_some_and(|current| current.last_log_id > meta.last_log_id) {
            return Ok(());
        }
        if current.closed {
            return Err(io::Error::other("the member has stopped"));
        }
        let index = meta.last_log_id.map_or(0, |last| last.index);
        self.place.store(index, &encode(meta, image))?;
        current.meta = Some(meta.clone());
        Ok(())
    }

    /// Waits for a snapshot that is being written, and writes none any more. Blocks.
    pub(crate) fn close(&self) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    aquifer_runtime::blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

fn encode(meta: &SnapshotMeta, image: &[u8]) -> Vec<u8> {
    let meta = rmp_serde::to_vec_named(meta).expect("a snapshot's meta of numbers and texts always encodes");
    let meta_length = u32::try_from(meta.len()).expect("a membership of at most a few voters is small");
    let mut bytes = Vec::with_capacity(HEADER + meta.len() + image.len() + TRAILER);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_be_bytes());
    bytes.extend_from_slice(&meta_length.to_be_bytes());
    bytes.extend_from_slice(&meta);
    bytes.extend_from_slice(image);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

fn decode(path: &Path, bytes: &Bytes) -> Result<(SnapshotMeta, Bytes), StartError> {
    let damaged = |reason: String| StartError::Damaged { path: path.to_owned(), reason };
    let word =
        |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes within the length"));
    if bytes.len() < HEADER + TRAILER || &bytes[..8] != MAGIC {
        return Err(damaged(format!("{} bytes that do not begin as a snapshot does", bytes.len())));
    }
    if word(8) > FORMAT {
        return Err(StartError::LaterFormat { path: path.to_owned(), found: word(8), supported: FORMAT });
    }
    let end = bytes.len() - TRAILER;
    let (expected, found) = (word(end), crc32c::crc32c(&bytes[..end]));
    if expected != found {
        return Err(damaged(format!("CRC32C is {found:08x}, it says {expected:08x}")));
    }
    let meta_end = HEADER + word(12) as usize;
    if meta_end > end {
        return Err(damaged("its parts are longer than the file".to_owned()));
    }
    let meta = rmp_serde::from_slice(&bytes[HEADER..meta_end])
        .map_err(|error| damaged(format!("what it covers cannot be read: {error}")))?;
    Ok((meta, bytes.slice(meta_end..end)))
}
