use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::backend::{LogBackend, StateKey, WriteBatch};

/// sled keeps the tree's hot pages here; entries that are read often are cached above it.
const CACHE_BYTES: u64 = 32 << 20;
/// sled collects its garbage only in its timed flush.
const COLLECT_EVERY_MS: u64 = 2_000;
/// An entry is cut into pieces of this size. sled writes whole leaves of up to 20 pieces, and what exceeds a
/// quarter of its 512 KiB segment goes into a file of its own that sled *never* syncs: pieces keep us below.
const PIECE_BYTES: usize = 4 << 10;
/// How often, and how long apart, a closed store's file is looked at until sled has let go of it.
const RELEASE_LOOKS: u32 = 200;
const RELEASE_PAUSE: Duration = Duration::from_millis(10);
/// First byte of an entry's key, followed by index and piece number, big-endian so that keys sort by them.
const ENTRY: u8 = 1;
/// First byte of a hard-state key.
const STATE: u8 = 0;

/// The log in sled.
///
/// sled's `flush` ends in `sync_file_range`, which does not reach through the device's cache, so each flush is
/// followed by `fdatasync` of sled's `db` file, through a descriptor that was opened before the first write so
/// that an earlier write-back error is reported to it.
pub(crate) struct SledLog {
    open: Mutex<Option<Open>>,
}

#[derive(Clone)]
struct Open {
    db: sled::Db,
    file: Arc<File>,
}

impl SledLog {
    /// Opens or creates the store in `dir`. Blocks.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let db = sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(COLLECT_EVERY_MS))
            .open()
            .map_err(to_io)?;
        let file = OpenOptions::new().read(true).write(true).open(dir.join("db"))?;
        // A new `db` file exists after a power cut only if its directory entry is durable.
        sync_directory(dir)?;
        if let Some(parent) = dir.parent() {
            sync_directory(parent)?;
        }
        Ok(Self { open: Mutex::new(Some(Open { db, file: Arc::new(file) })) })
    }

    fn get(&self) -> io::Result<Open> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clone().ok_or_else(|| io::Error::other("the log is closed"))
    }
}

impl LogBackend for SledLog {
    fn bounds(&self) -> io::Result<Option<(u64, u64)>> {
        let db = self.get()?.db;
        let mut keys = db.scan_prefix([ENTRY]).keys();
        let first = keys.next().transpose().map_err(to_io)?;
        let last = keys.next_back().transpose().map_err(to_io)?.or_else(|| first.clone());
        first.zip(last).map(|(first, last)| Ok((parse_key(&first)?.0, parse_key(&last)?.0))).transpose()
    }

    fn entries(&self, range: Range<u64>) -> io::Result<Vec<(u64, Vec<u8>)>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let db = self.get()?.db;
        let mut entries: Vec<(u64, Vec<u8>)> = Vec::new();
        for piece in db.range(piece_key(range.start, 0)..piece_key(range.end, 0)) {
            let (key, value) = piece.map_err(to_io)?;
            let (index, number) = parse_key(&key)?;
            match entries.last_mut() {
                Some((last, bytes)) if *last == index => bytes.extend_from_slice(&value),
                // A piece that is missing in the middle is found by the entry's own checksum.
                _ if number == 0 => entries.push((index, value.to_vec())),
                _ => return Err(damaged(format!("entry {index} begins with piece {number}"))),
            }
        }
        Ok(entries)
    }

    fn state(&self, key: StateKey) -> io::Result<Option<Vec<u8>>> {
        let value = self.get()?.db.get(state_key(key)).map_err(to_io)?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn write(&self, change: WriteBatch) -> io::Result<()> {
        let db = self.get()?.db;
        // One key is atomic by itself, and a batch costs two more writes to the file: sled begins a new buffer
        // before and after it.
        match (change.remove.is_empty(), &change.put[..], &change.state[..]) {
            (true, [(index, entry)], []) if entry.len() <= PIECE_BYTES => {
                db.insert(piece_key(*index, 0), &entry[..]).map_err(to_io)?;
                return Ok(());
            }
            (true, [], [(key, value)]) => {
                db.insert(state_key(*key), &value[..]).map_err(to_io)?;
                return Ok(());
            }
            _ => {}
        }
        let mut batch = sled::Batch::default();
        if !change.remove.is_empty() {
            let doomed = db.range(piece_key(change.remove.start, 0)..piece_key(change.remove.end, 0));
            for key in doomed.keys() {
                batch.remove(key.map_err(to_io)?);
            }
        }
        for (index, entry) in change.put {
            for (number, piece) in (0u16..).zip(entry.chunks(PIECE_BYTES)) {
                batch.insert(&piece_key(index, number), piece);
            }
        }
        for (key, value) in change.state {
            batch.insert(&state_key(key), value);
        }
        db.apply_batch(batch).map_err(to_io)
    }

    fn sync(&self) -> io::Result<()> {
        let Open { db, file } = self.get()?;
        db.flush().map_err(to_io)?;
        file.sync_data()
    }

    fn close(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Open { db, file }) = open {
            drop(db);
            released(&file);
        }
    }
}

/// Waits until sled's own threads have let go of the file and of its lock, a moment after the store is dropped: until then
/// nobody can open it again. A successor that is faster than we are has the lock, and we go.
#[expect(
    clippy::disallowed_methods,
    reason = "sled tells nobody when its threads have ended; closing blocks anyway"
)]
fn released(file: &File) {
    for _ in 0..RELEASE_LOOKS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(RELEASE_PAUSE),
            // Locked by us, and free again when this descriptor is closed; or there are no locks here.
            Ok(()) | Err(TryLockError::Error(_)) => return,
        }
    }
}

fn piece_key(index: u64, number: u16) -> [u8; 11] {
    let mut key = [ENTRY; 11];
    key[1..9].copy_from_slice(&index.to_be_bytes());
    key[9..].copy_from_slice(&number.to_be_bytes());
    key
}

fn parse_key(key: &[u8]) -> io::Result<(u64, u16)> {
    let parse = || {
        let key: &[u8; 11] = key.try_into().ok()?;
        let index = u64::from_be_bytes(key[1..9].try_into().ok()?);
        let number = u16::from_be_bytes(key[9..].try_into().ok()?);
        (key[0] == ENTRY).then_some((index, number))
    };
    parse().ok_or_else(|| damaged(format!("a key of {} bytes that no release wrote", key.len())))
}

fn state_key(key: StateKey) -> [u8; 2] {
    let name = match key {
        StateKey::Vote => b'v',
        StateKey::Committed => b'c',
        StateKey::Purged => b'p',
    };
    [STATE, name]
}

fn damaged(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn to_io(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        sled::Error::Corruption { .. } => io::Error::new(io::ErrorKind::InvalidData, error),
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sled's own flush says yes without the device's word. Here the device cannot give it.
    #[test]
    fn a_sync_is_an_error_when_the_device_does_not_confirm_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut open = SledLog::open(dir.path()).and_then(|log| log.get()).expect("it opens");
        open.file = Arc::new(File::open("/dev/null").expect("it is there"));
        let log = SledLog { open: Mutex::new(Some(open)) };
        let vote = WriteBatch { state: vec![(StateKey::Vote, b"for 7".to_vec())], ..WriteBatch::default() };
        log.write(vote).expect("sled takes it");
        assert_eq!(log.sync().expect_err("/dev/null has no disk").kind(), io::ErrorKind::InvalidInput);
    }
}
