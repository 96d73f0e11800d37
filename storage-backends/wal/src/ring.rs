//! The files that the log is written to, over and over.
//!
//! ```text
//!   reserved (*.zeroing) ──zeroed, renamed──> free ──> current ──full──> live ──trimmed, and that is durable──> free
//! ```
//!
//! Files are reused oldest first, and only after a frame that tells what was trimmed is durable: so whatever recovery
//! finds in an old file is either needed or known to be trimmed.

use std::collections::VecDeque;
use std::sync::Arc;

use aquifer_disk::{BLOCK, BlockFile, Disk, DiskError, FileEntry};

use crate::frame::MAX_FRAME;
use crate::{OpenError, WalConfig};

/// The first file of a new log, small because the start waits for its zeros.
const FIRST_FILE: u64 = 8 << 20;
/// One zeroing write.
pub(crate) const ZERO_CHUNK: usize = 1 << 20;
/// Zeroing writes in flight.
const ZERO_DEPTH: usize = 2;
/// Kept free for frames without records, which make space (they tell what was trimmed).
pub(crate) const RESERVE: u64 = 16 * BLOCK as u64;

/// A file of the ring.
#[derive(Clone, Debug)]
pub(crate) struct RingFile {
    pub(crate) name: String,
    pub(crate) file: Arc<dyn BlockFile>,
}

impl RingFile {
    pub(crate) fn length(&self) -> u64 {
        self.file.length()
    }
}

/// A full file, or one of an earlier segment.
#[derive(Debug)]
pub(crate) struct LiveFile {
    pub(crate) file: RingFile,
    /// The LSN after the last record that has bytes in it.
    pub(crate) end: u64,
}

/// The files of a log that runs.
#[derive(Debug)]
pub(crate) struct Ring {
    current: RingFile,
    position: u64,
    live: VecDeque<LiveFile>,
    free: VecDeque<RingFile>,
    /// Bytes of the files that are still being zeroed.
    zeroing_bytes: u64,
    capacity_bytes: u64,
    file_bytes: u64,
}

/// A place for a frame.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) file: Arc<dyn BlockFile>,
    pub(crate) position: u64,
}

impl Ring {
    /// The ring of a log that begins, with as many bytes still to be zeroed.
    pub(crate) fn new(files: Files, zeroing_bytes: u64, config: &WalConfig) -> Self {
        let Files { live, mut free, .. } = files;
        let current = free.pop_front().expect("opening leaves a free file");
        Self {
            current,
            position: 0,
            live: live.into(),
            free,
            zeroing_bytes,
            capacity_bytes: config.capacity_bytes,
            file_bytes: config.ring_file_bytes(),
        }
    }

    /// The largest frame that can be placed now; `None` until a file is free.
    ///
    /// `end` is the LSN after the last record with bytes in the current file.
    pub(crate) fn largest_frame(&mut self, end: u64) -> Option<usize> {
        if self.position == self.current.length() && !self.next_file(end) {
            return None;
        }
        let left = usize::try_from(self.current.length() - self.position).unwrap_or(MAX_FRAME);
        Some(left.min(MAX_FRAME))
    }

    /// Goes on at the beginning of a file; false if none is free. `end` as for [`largest_frame`](Self::largest_frame).
    pub(crate) fn begin_file(&mut self, end: u64) -> bool {
        self.position == 0 || self.next_file(end)
    }

    fn next_file(&mut self, end: u64) -> bool {
        let Some(next) = self.free.pop_front() else { return false };
        let file = std::mem::replace(&mut self.current, next);
        self.live.push_back(LiveFile { file, end });
        self.position = 0;
        true
    }

    /// Places a frame of at most [`largest_frame`](Self::largest_frame).
    pub(crate) fn place(&mut self, length: usize) -> Place {
        let place = Place { file: self.current.file.clone(), position: self.position };
        self.position += length as u64;
        assert!(self.position <= self.current.length(), "a frame lies within its file");
        place
    }

    /// Takes in a file that was zeroed.
    pub(crate) fn zeroed(&mut self, file: RingFile) {
        self.zeroing_bytes -= file.length();
        self.free.push_back(file);
    }

    /// Bytes of a file beyond the capacity, for a segment that has none to begin with: nothing can be trimmed before it
    /// begins, if what would be offloaded waits for it. `None` while files are being zeroed, and at twice the capacity.
    pub(crate) fn extra(&self) -> Option<u64> {
        let waits = self.free.is_empty() && self.zeroing_bytes == 0 && self.total() < 2 * self.capacity_bytes;
        waits.then(|| FIRST_FILE.min(self.file_bytes))
    }

    /// A file of so many bytes will come.
    pub(crate) fn expect(&mut self, bytes: u64) {
        self.zeroing_bytes += bytes;
    }

    /// Whether a trim makes a file free.
    pub(crate) fn frees(&self, trimmed: u64) -> bool {
        self.live.front().is_some_and(|live| live.end <= trimmed)
    }

    /// Frees what lies below `trimmed`, which a durable frame tells. Files beyond the capacity are returned, to be removed.
    pub(crate) fn release(&mut self, trimmed: u64) -> Vec<RingFile> {
        let mut surplus = Vec::new();
        while self.frees(trimmed) {
            let live = self.live.pop_front().expect("frees() saw it");
            if self.total() + live.file.length() > self.capacity_bytes && self.free.len() > 1 {
                surplus.push(live.file);
            } else {
                self.free.push_back(live.file);
            }
        }
        surplus
    }

    /// Bytes that can be written before something is trimmed.
    pub(crate) fn room(&self) -> u64 {
        let free = self.free.iter().map(RingFile::length).sum::<u64>();
        self.current.length() - self.position + free + self.zeroing_bytes
    }

    /// Bytes of all files.
    pub(crate) fn total(&self) -> u64 {
        let live = self.live.iter().map(|live| live.file.length()).sum::<u64>();
        let free = self.free.iter().map(RingFile::length).sum::<u64>();
        live + free + self.current.length() + self.zeroing_bytes
    }
}

/// The files of a log that was opened.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// With records that are not trimmed, in LSN order.
    pub(crate) live: Vec<LiveFile>,
    /// Zeroed or trimmed, the longest trimmed first.
    pub(crate) free: VecDeque<RingFile>,
    /// Reserved, to be zeroed.
    pub(crate) zeroing: Vec<RingFile>,
}

/// A name in the directory that is a file of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Ready(u32),
    Zeroing(u32),
}

impl Name {
    /// Of a file to be zeroed that is not among these.
    pub(crate) fn next(entries: &[FileEntry]) -> Self {
        let numbers = entries.iter().filter_map(|entry| Self::parse(&entry.name)).map(Self::number);
        Self::Zeroing(numbers.max().unwrap_or(0) + 1)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (number, kind) = name.strip_prefix("ring-")?.split_once('.')?;
        let number = number.parse().ok()?;
        let name_again = match kind {
            "wal" => Self::Ready(number),
            "zeroing" => Self::Zeroing(number),
            _ => return None,
        };
        (name_again.to_string() == name).then_some(name_again)
    }

    fn number(self) -> u32 {
        match self {
            Self::Ready(number) | Self::Zeroing(number) => number,
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready(number) => write!(f, "ring-{number:08}.wal"),
            Self::Zeroing(number) => write!(f, "ring-{number:08}.zeroing"),
        }
    }
}

impl Files {
    /// Reserves what is missing of the capacity, and sees that the log can begin at once.
    pub(crate) async fn complete(
        &mut self,
        disk: &Arc<dyn Disk>,
        config: &WalConfig,
    ) -> Result<(), OpenError> {
        let mut number = Name::next(&disk.list().await?).number();
        let mut next = || {
            number += 1;
            Name::Zeroing(number - 1).to_string()
        };
        let live = self.live.iter().map(|live| live.file.length());
        let existing: u64 = live.chain(self.free.iter().chain(&self.zeroing).map(RingFile::length)).sum();
        let file_bytes = config.ring_file_bytes();
        let first = if self.free.is_empty() { FIRST_FILE.min(file_bytes) } else { 0 };
        let more = config.capacity_bytes.saturating_sub(existing + first) / file_bytes;
        let (needed, available) = (first + more * file_bytes, disk.available().await?);
        if needed > available {
            let (path, capacity) = (disk.path(), config.capacity_bytes);
            return Err(OpenError::NoSpace { path, capacity, needed, available });
        }
        if first > 0 {
            let name = next();
            let file = disk.create(&name, first).await?;
            let ready =
                Zeroer::new(disk.clone(), RingFile { name, file }).run(|_| std::future::ready(())).await?;
            self.free.push_back(ready);
        }
        for _ in 0..more {
            let name = next();
            let file = disk.create(&name, file_bytes).await?;
            self.zeroing.push(RingFile { name, file });
        }
        Ok(())
    }
}

/// Writes a file full of zeros, so that writing to it later changes no metadata.
pub(crate) struct Zeroer {
    disk: Arc<dyn Disk>,
    file: RingFile,
}

impl Zeroer {
    pub(crate) fn new(disk: Arc<dyn Disk>, file: RingFile) -> Self {
        Self { disk, file }
    }

    /// Zeroes the file and gives it the name of a ready one. `pace` is awaited with the number of bytes of each write.
    pub(crate) async fn run<F: Future<Output = ()>>(
        self,
        mut pace: impl FnMut(usize) -> F,
    ) -> Result<RingFile, DiskError> {
        let Self { disk, file: RingFile { name, file } } = self;
        let zeros = Arc::new(disk.pool().zeros(ZERO_CHUNK));
        let mut in_flight = VecDeque::with_capacity(ZERO_DEPTH);
        let mut position = 0;
        while position < file.length() {
            let left = file.length() - position;
            let chunk = if left >= ZERO_CHUNK as u64 {
                zeros.clone()
            } else {
                Arc::new(disk.pool().zeros(usize::try_from(left).expect("less than a chunk")))
            };
            let length = chunk.len();
            if in_flight.len() == ZERO_DEPTH {
                in_flight.pop_front().expect("it is full").await?;
            }
            in_flight.push_back(file.write(position, chunk));
            position += length as u64;
            pace(length).await;
        }
        for write in in_flight {
            write.await?;
        }
        let Some(Name::Zeroing(number)) = Name::parse(&name) else {
            unreachable!("only files to be zeroed are")
        };
        let ready = Name::Ready(number).to_string();
        disk.rename(&name, &ready).await?;
        Ok(RingFile { name: ready, file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_files_of_the_ring() {
        assert_eq!(Name::parse("ring-00000007.wal"), Some(Name::Ready(7)));
        assert_eq!(Name::parse("ring-00000007.zeroing"), Some(Name::Zeroing(7)));
        for other in ["ring-7.wal", "ring-00000007.wal.bak", "identity", "ring-+0000007.wal"] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}
