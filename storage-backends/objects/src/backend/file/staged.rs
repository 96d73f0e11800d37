//! A file that is written past the page cache and appears under its name when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::direct::{self, ALIGNMENT};

/// Bytes of one write.
const CHUNK: usize = 1 << 20;
/// Buffers of finished writers, for the next ones: memory that was used before costs no page faults.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Buffer>>);

impl Buffers {
    /// As many as are kept; a file store takes few uploads at once.
    const KEPT: usize = 4;

    fn take(&self) -> Buffer {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_else(Buffer::new)
    }

    fn give_back(&self, buffer: Buffer) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < Self::KEPT {
            kept.push(Buffer { filled: 0, ..buffer });
        }
    }
}

/// One chunk of memory that starts at a multiple of [`ALIGNMENT`].
#[derive(Debug)]
struct Buffer {
    memory: Vec<u8>,
    start: usize,
    filled: usize,
}

impl Buffer {
    fn new() -> Self {
        let memory = vec![0; CHUNK + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Buffer { memory, start, filled: 0 }
    }

    fn free(&mut self) -> &mut [u8] {
        &mut self.memory[self.start + self.filled..self.start + CHUNK]
    }

    /// The first `len` bytes of the chunk.
    fn chunk(&self, len: usize) -> &[u8] {
        &self.memory[self.start..self.start + len]
    }
}

/// A file under a temporary name. Dropped without [`publish`](Self::publish), it stays for a sweep.
#[derive(Debug)]
pub(super) struct Staged {
    path: PathBuf,
    file: File,
    buffer: Buffer,
    /// Bytes written to the file, a multiple of the alignment until the last write.
    written: u64,
}

impl Staged {
    /// Creates `path`, and its directory if need be.
    pub(super) fn create(path: PathBuf, buffers: &Buffers) -> io::Result<Self> {
        let create = || direct::open(OpenOptions::new().write(true).create_new(true), &path);
        let file = match create() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_directories(parent(&path))?;
                create()?
            }
            result => result?,
        };
        Ok(Staged { path, file, buffer: buffers.take(), written: 0 })
    }

    /// Appends `part`.
    pub(super) fn write(&mut self, mut part: &[u8]) -> io::Result<()> {
        while !part.is_empty() {
            let free = self.buffer.free();
            let (now, later) = part.split_at(part.len().min(free.len()));
            free[..now.len()].copy_from_slice(now);
            self.buffer.filled += now.len();
            part = later;
            if self.buffer.filled == CHUNK {
                self.write_chunk(CHUNK)?;
            }
        }
        Ok(())
    }

    /// Appends `parts`.
    pub(super) fn write_all(&mut self, parts: &[Bytes]) -> io::Result<()> {
        parts.iter().try_for_each(|part| self.write(part))
    }

    /// Writes the rest and makes the file durable under its temporary name.
    pub(super) fn seal(mut self, buffers: &Buffers) -> io::Result<Sealed> {
        let bytes = self.written + self.buffer.filled as u64;
        if self.buffer.filled > 0 {
            let whole = self.buffer.filled.next_multiple_of(ALIGNMENT);
            let padding = whole - self.buffer.filled;
            self.buffer.free()[..padding].fill(0);
            self.write_chunk(whole)?;
            self.file.set_len(bytes)?;
        }
        self.file.sync_all()?;
        buffers.give_back(self.buffer);
        Ok(Sealed { path: self.path })
    }

    fn write_chunk(&mut self, len: usize) -> io::Result<()> {
        self.file.write_all_at(self.buffer.chunk(len), self.written)?;
        self.written += len as u64;
        self.buffer.filled = 0;
        Ok(())
    }
}

/// A whole, durable file that nobody sees yet.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    path: PathBuf,
}

impl Sealed {
    /// Gives the file its name, durably. Again after an unknown outcome, it says that the name is taken.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the name is taken; the temporary one is removed then, too.
    pub(super) fn publish(&self, name: &Path) -> io::Result<()> {
        let linked = match fs::hard_link(&self.path, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.path.exists() => {
                create_directories(parent(name))?;
                fs::hard_link(&self.path, name)
            }
            result => result,
        };
        match &linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return linked,
            // Also if the name was taken: perhaps by an earlier attempt of ours that did not come as far as this.
            _ => sync_directory(parent(name)).map_err(unknown)?,
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unknown(error)),
            _ => {}
        }
        linked
    }
}

/// After the link every failure leaves open whether the object is there, a full disk's too.
fn unknown(error: io::Error) -> io::Error {
    io::Error::other(error)
}

fn parent(path: &Path) -> &Path {
    path.parent().expect("an object's file lies below the store's root")
}

/// Creates a directory with those above it, each durable in its parent.
fn create_directories(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_directories(parent(directory))?;
            match fs::create_dir(directory) {
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
                created => created?,
            }
        }
        created => created?,
    }
    sync_directory(parent(directory))
}

/// Makes a directory's entries durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Around the chunk, around the alignment, and nothing at all.
    #[test]
    fn what_was_written_is_in_the_file_whatever_its_length() {
        let directory = tempfile::tempdir().unwrap();
        let buffers = Buffers::default();
        for (n, length) in
            [0, 1, 4095, 4096, 4097, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5000].into_iter().enumerate()
        {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 31 + n) as u8).collect();
            let staged = directory.path().join(format!("deep/er/{n}#x"));
            let mut file = Staged::create(staged.clone(), &buffers).unwrap();
            for part in bytes.chunks(70_001) {
                file.write(part).unwrap();
            }
            let name = directory.path().join(format!("deep/{n}"));
            file.seal(&buffers).unwrap().publish(&name).unwrap();
            assert!(fs::read(&name).unwrap() == bytes, "{length} bytes");
            assert!(!staged.exists());
        }
    }

    #[test]
    fn a_name_is_given_once() {
        let directory = tempfile::tempdir().unwrap();
        let buffers = Buffers::default();
        let name = directory.path().join("a");
        for (round, expected) in [None, Some(io::ErrorKind::AlreadyExists)].into_iter().enumerate() {
            let mut file = Staged::create(directory.path().join("a#1"), &buffers).unwrap();
            file.write(&[round as u8]).unwrap();
            let published = file.seal(&buffers).unwrap().publish(&name);
            assert_eq!(published.err().map(|error| error.kind()), expected);
        }
        assert_eq!(fs::read(&name).unwrap(), [0]);
        assert!(!directory.path().join("a#1").exists());
    }
}
