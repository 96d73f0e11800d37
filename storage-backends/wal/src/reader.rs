use std::collections::VecDeque;

use aquifer_disk::{AlignedBuf, BLOCK, DiskError, Pending};

use crate::ring::RingFile;

/// One read.
const CHUNK: usize = 1 << 20;
/// Reads ahead of the one that is looked at.
const AHEAD: usize = 3;

/// Reads a file from a block to its end, in order, a few chunks ahead.
///
/// A device takes several reads at a time, and a restart waits for this.
pub(crate) struct Reader<'a> {
    file: &'a RingFile,
    /// Where the next read begins.
    next: u64,
    /// Reading stops here.
    end: u64,
    ahead: VecDeque<Pending<AlignedBuf>>,
    /// Position of the first chunk's first byte, and the chunks that may be needed still.
    start: u64,
    chunks: VecDeque<AlignedBuf>,
}

impl<'a> Reader<'a> {
    /// Reads `from..end`, both whole blocks.
    pub(crate) fn new(file: &'a RingFile, from: u64, end: u64) -> Self {
        let end = end.min(file.length());
        Self { file, next: from, end, ahead: VecDeque::new(), start: from, chunks: VecDeque::new() }
    }

    /// The block at `position`. Never goes back.
    pub(crate) async fn block(&mut self, position: u64) -> Result<&[u8], DiskError> {
        self.fetch(position, BLOCK).await?;
        let offset = usize::try_from(position - self.start).expect("chunks are in memory");
        Ok(&self.chunks[offset / CHUNK][offset % CHUNK..][..BLOCK])
    }

    /// A copy of `position..position + length`. Never goes back.
    pub(crate) async fn copy(&mut self, position: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        self.fetch(position, length).await?;
        let mut bytes = Vec::with_capacity(length);
        let mut offset = usize::try_from(position - self.start).expect("chunks are in memory");
        while bytes.len() < length {
            let chunk = &self.chunks[offset / CHUNK][offset % CHUNK..];
            let part = chunk.len().min(length - bytes.len());
            bytes.extend_from_slice(&chunk[..part]);
            offset += part;
        }
        Ok(bytes)
    }

    /// Whether so many bytes are there to be read.
    pub(crate) fn has(&self, position: u64, length: usize) -> bool {
        position + length as u64 <= self.end
    }

    async fn fetch(&mut self, position: u64, length: usize) -> Result<(), DiskError> {
        assert!(self.has(position, length), "nothing lies beyond the end");
        while self.start + CHUNK as u64 <= position && !self.chunks.is_empty() {
            self.chunks.pop_front();
            self.start += CHUNK as u64;
        }
        let needed = position + length as u64 - self.start;
        while ((self.chunks.len() * CHUNK) as u64) < needed {
            while self.ahead.len() <= AHEAD && self.next < self.end {
                let chunk = (self.end - self.next).min(CHUNK as u64);
                let chunk = usize::try_from(chunk).expect("at most a chunk");
                self.ahead.push_back(self.file.file.read(self.next, chunk));
                self.next += chunk as u64;
            }
            let chunk = self.ahead.pop_front().expect("the end was checked").await?;
            self.chunks.push_back(chunk);
        }
        Ok(())
    }
}
