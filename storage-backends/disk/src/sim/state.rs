use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aquifer_runtime::Random;
use tokio::time::{Duration, Instant};

use super::SimulatedFaults;
use crate::{AlignedBuf, BLOCK, DeviceFailure, DiskError, FileEntry};

/// What a device writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// The whole disk. Files are kept by number, so that a handle survives a rename.
#[derive(Debug)]
pub(super) struct State {
    pub(super) faults: SimulatedFaults,
    pub(super) fail_next_write: bool,
    random: Random,
    names: BTreeMap<String, u64>,
    files: HashMap<u64, File>,
    next_number: u64,
    writes: Vec<Write>,
    /// Acknowledged, but only in the cache of a device that lies.
    unkept: Vec<Write>,
    /// Counts the processes that lost the disk.
    pub(super) incarnation: u64,
    pub(super) locked: bool,
    failure: Option<DeviceFailure>,
}

#[derive(Debug, Default)]
struct File {
    length: u64,
    /// Blocks that are not all zeros.
    blocks: HashMap<u64, Box<[u8]>>,
    bad_reads: Vec<Range<u64>>,
}

#[derive(Debug)]
struct Write {
    file: u64,
    position: u64,
    blocks: Arc<AlignedBuf>,
    due: Instant,
}

impl State {
    pub(super) fn new(seed: u64, faults: SimulatedFaults) -> Self {
        Self {
            faults,
            fail_next_write: false,
            random: Random::seeded(seed),
            names: BTreeMap::new(),
            files: HashMap::new(),
            next_number: 0,
            writes: Vec::new(),
            unkept: Vec::new(),
            incarnation: 0,
            locked: false,
            failure: None,
        }
    }

    pub(super) fn failure(&self) -> Option<DeviceFailure> {
        self.failure.clone()
    }

    pub(super) fn list(&self) -> Vec<FileEntry> {
        let entry = |(name, number): (&String, &u64)| FileEntry {
            name: name.clone(),
            length: self.files[number].length,
        };
        self.names.iter().map(entry).collect()
    }

    pub(super) fn available(&self) -> u64 {
        let used = self.names.values().map(|number| self.files[number].length).sum::<u64>();
        self.faults.capacity_bytes.saturating_sub(used)
    }

    pub(super) fn create(&mut self, name: &str, length: u64) -> Result<u64, DiskError> {
        if self.names.contains_key(name) {
            return Err(DiskError::AlreadyExists { path: path(name) });
        }
        let available = self.available();
        if available < length {
            return Err(DiskError::NoSpace { path: path(name), needed: length, available });
        }
        let number = self.number();
        self.names.insert(name.to_owned(), number);
        self.files.insert(number, File { length, ..File::default() });
        Ok(number)
    }

    pub(super) fn open(&self, name: &str) -> Result<(u64, u64), DiskError> {
        let number = *self.names.get(name).ok_or_else(|| DiskError::NotFound { path: path(name) })?;
        Ok((number, self.files[&number].length))
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let number = self.names.remove(from).ok_or_else(|| DiskError::NotFound { path: path(from) })?;
        self.names.insert(to.to_owned(), number);
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.names.remove(name).map(drop).ok_or_else(|| DiskError::NotFound { path: path(name) })
    }

    /// How long the next operation takes.
    pub(super) fn latency(&self) -> Duration {
        Duration::from_millis(self.random.below(self.faults.latency_ms + 1))
    }

    pub(super) fn issue(&mut self, file: u64, position: u64, blocks: Arc<AlignedBuf>) -> Instant {
        let due = Instant::now() + self.latency();
        self.writes.push(Write { file, position, blocks, due });
        due
    }

    /// Lets every write end whose time has come, whether or not somebody waits for it.
    pub(super) fn settle(&mut self, now: Instant) {
        let mut index = 0;
        while index < self.writes.len() {
            if self.writes[index].due > now {
                index += 1;
                continue;
            }
            let write = self.writes.swap_remove(index);
            self.end(write);
        }
    }

    fn end(&mut self, write: Write) {
        let unlucky = self.random.below(1000) < self.faults.write_errors_per_mille;
        if std::mem::take(&mut self.fail_next_write) || unlucky {
            let operation = format!("write of {} bytes at {}", write.blocks.len(), write.position);
            self.failure.get_or_insert(DeviceFailure::new(
                self.name(write.file),
                operation,
                "simulated I/O error",
            ));
            self.tear(&write);
        } else if self.faults.lies {
            self.unkept.push(write);
        } else {
            self.keep(&write, |_| true);
        }
    }

    pub(super) fn read(&mut self, file: u64, position: u64, into: &mut AlignedBuf) -> Result<(), DiskError> {
        let end = position + into.len() as u64;
        let Some(content) = self.files.get(&file) else {
            return Err(self.read_error(file, position, into.len(), "the file is gone"));
        };
        if end > content.length {
            return Err(self.read_error(file, position, into.len(), "beyond the end of the file"));
        }
        if content.bad_reads.iter().any(|bad| bad.start < end && position < bad.end) {
            return Err(self.read_error(file, position, into.len(), "simulated I/O error"));
        }
        for (index, block) in into.chunks_mut(BLOCK).enumerate() {
            match content.blocks.get(&(position / BLOCK as u64 + index as u64)) {
                Some(bytes) => block.copy_from_slice(bytes),
                None => block.fill(0),
            }
        }
        // The cache of a lying device answers reads until it is lost.
        for write in self.unkept.iter().filter(|write| write.file == file) {
            for (index, block) in write.blocks.chunks(BLOCK).enumerate() {
                let at = write.position + (index * BLOCK) as u64;
                if (position..end).contains(&at) {
                    into[(at - position) as usize..][..BLOCK].copy_from_slice(block);
                }
            }
        }
        Ok(())
    }

    fn read_error(&self, file: u64, position: u64, length: usize, cause: &str) -> DiskError {
        DiskError::Io {
            operation: format!("read of {length} bytes at {position}"),
            path: self.name(file),
            cause: cause.to_owned(),
            kind: std::io::ErrorKind::Other,
        }
    }

    pub(super) fn crash(&mut self) {
        let mut writes = std::mem::take(&mut self.unkept);
        writes.append(&mut self.writes);
        for write in writes {
            self.tear(&write);
        }
        self.lose_process();
    }

    pub(super) fn kill(&mut self) {
        self.drain();
        self.lose_process();
    }

    /// Lets everything in flight end, in any order.
    pub(super) fn drain(&mut self) {
        while !self.writes.is_empty() {
            let index = self.random.below(self.writes.len() as u64) as usize;
            let write = self.writes.swap_remove(index);
            self.end(write);
        }
    }

    fn lose_process(&mut self) {
        self.incarnation += 1;
        self.locked = false;
        self.failure = None;
        self.fail_next_write = false;
    }

    /// Some sectors of the write arrive: all, none, a beginning, or any.
    fn tear(&mut self, write: &Write) {
        let sectors = (write.blocks.len() / SECTOR) as u64;
        match self.random.below(4) {
            0 => self.keep(write, |_| true),
            1 => {}
            2 => {
                let beginning = self.random.below(sectors + 1);
                self.keep(write, |sector| sector < beginning);
            }
            _ => {
                let random = self.random.clone();
                self.keep(write, |_| random.below(2) == 0);
            }
        }
    }

    fn keep(&mut self, write: &Write, mut arrives: impl FnMut(u64) -> bool) {
        let Some(file) = self.files.get_mut(&write.file) else { return };
        let zeros = |block: &[u8]| block.iter().all(|byte| *byte == 0);
        // The zeroing of fresh files is most of what is written, and changes nothing.
        if file.blocks.is_empty() && zeros(&write.blocks) {
            return;
        }
        for (index, sector) in write.blocks.chunks(SECTOR).enumerate() {
            if arrives(index as u64) {
                file.put(write.position + (index * SECTOR) as u64, sector);
            }
        }
    }

    pub(super) fn rot(&mut self, name: &str, position: u64, length: u64) {
        let mut bytes = self.bytes(name, position, length as usize);
        for byte in &mut bytes {
            *byte ^= 1 << self.random.below(8);
        }
        self.overwrite(name, position, &bytes);
    }

    pub(super) fn fail_reads(&mut self, name: &str, position: u64, length: u64) {
        let number = self.names[name];
        let file = self.files.get_mut(&number).expect("a name has a file");
        file.bad_reads.push(position..position + length);
    }

    pub(super) fn bytes(&self, name: &str, position: u64, length: usize) -> Vec<u8> {
        let file = &self.files[&self.names[name]];
        assert!(position + length as u64 <= file.length, "beyond the end of {name}");
        let byte =
            |at: u64| file.blocks.get(&(at / BLOCK as u64)).map_or(0, |block| block[at as usize % BLOCK]);
        (position..position + length as u64).map(byte).collect()
    }

    pub(super) fn overwrite(&mut self, name: &str, position: u64, bytes: &[u8]) {
        let number = self.names[name];
        let file = self.files.get_mut(&number).expect("a name has a file");
        assert!(position + bytes.len() as u64 <= file.length, "beyond the end of {name}");
        for (index, byte) in bytes.iter().enumerate() {
            file.put(position + index as u64, std::slice::from_ref(byte));
        }
    }

    pub(super) fn writes_in_flight(&self) -> usize {
        self.writes.len()
    }

    pub(super) fn name(&self, file: u64) -> PathBuf {
        let name = self.names.iter().find(|(_, number)| **number == file);
        path(name.map_or("a removed file", |(name, _)| name))
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

impl File {
    /// Writes bytes that lie within one block.
    fn put(&mut self, position: u64, bytes: &[u8]) {
        let block =
            self.blocks.entry(position / BLOCK as u64).or_insert_with(|| vec![0; BLOCK].into_boxed_slice());
        block[position as usize % BLOCK..][..bytes.len()].copy_from_slice(bytes);
        // Zeroed files stay small.
        if bytes.iter().all(|byte| *byte == 0) && block.iter().all(|byte| *byte == 0) {
            self.blocks.remove(&(position / BLOCK as u64));
        }
    }
}

pub(super) fn path(name: &str) -> PathBuf {
    Path::new("/simulated").join(name)
}
