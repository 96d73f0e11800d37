//! The tail of one stream in memory: everything not offloaded, and before it what was offloaded lately.
//!
//! ```text
//!      evicted │ recently offloaded │ being uploaded │ appended since
//!   …──────────┼────────────────────┼────────────────┼───────────────┐
//!            first()            offloaded           cut             end
//!              └────────────── entries ──────────────────────────────┘
//! ```
//!
//! Pure: [`crate::Stream`] puts it behind one short lock. A read copies references, never bytes.

use std::collections::VecDeque;

use crate::{Batch, ReadRequest};

/// What an entry costs beside its payload, rounded up.
const ENTRY_BYTES: u64 = std::mem::size_of::<Entry>() as u64 + 16;

#[derive(Debug)]
struct Entry {
    batch: Batch,
    /// Where the WAL has it; nothing at or after it may be trimmed while it is not offloaded.
    lsn: u64,
}

impl Entry {
    fn charge(&self) -> u64 {
        self.batch.payload.len() as u64 + ENTRY_BYTES
    }
}

/// The cached tail of one stream.
#[derive(Debug)]
pub(crate) struct LogCache {
    entries: VecDeque<Entry>,
    end: u64,
    offloaded: u64,
    cut: u64,
    /// Memory of all entries.
    cached_bytes: u64,
    /// Payload bytes at or after `offloaded`.
    unoffloaded_bytes: u64,
}

/// What the cache has for a read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The batches asked for; none if the offset is at the end, or the first does not fit.
    Here(Vec<Batch>),
    /// The offset lies before the cache.
    Before,
}

impl LogCache {
    /// The empty cache of a stream of which everything before `end` is offloaded.
    pub(crate) fn new(end: u64) -> Self {
        LogCache {
            entries: VecDeque::new(),
            end,
            offloaded: end,
            cut: end,
            cached_bytes: 0,
            unoffloaded_bytes: 0,
        }
    }

    /// Offset after the last batch.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Everything before this offset is in committed objects.
    pub(crate) fn offloaded(&self) -> u64 {
        self.offloaded
    }

    /// Everything before this offset is in objects or belongs to an upload in flight.
    pub(crate) fn cut_end(&self) -> u64 {
        self.cut
    }

    /// Payload bytes that only the WAL and this cache hold.
    pub(crate) fn unoffloaded_bytes(&self) -> u64 {
        self.unoffloaded_bytes
    }

    /// Appends a batch, which must continue the stream. Returns the memory it takes.
    pub(crate) fn push(&mut self, batch: Batch, lsn: u64) -> u64 {
        assert!(batch.first == self.end && batch.first < batch.end, "appends are contiguous");
        self.end = batch.end;
        self.unoffloaded_bytes += batch.payload.len() as u64;
        let entry = Entry { batch, lsn };
        let charge = entry.charge();
        self.cached_bytes += charge;
        self.entries.push_back(entry);
        charge
    }

    fn position(&self, offset: u64) -> usize {
        self.entries.partition_point(|entry| entry.batch.end <= offset)
    }

    /// The batches from the one that contains `request.offset` on, as far as they end at or before `limit`.
    pub(crate) fn read(&self, request: &ReadRequest, limit: u64) -> Lookup {
        let cached_from = self.entries.front().map_or(self.end, |entry| entry.batch.first);
        if request.offset < cached_from {
            return Lookup::Before;
        }
        let mut found = Vec::new();
        let mut room = request.max_bytes;
        for entry in self.entries.range(self.position(request.offset)..) {
            let size = entry.batch.payload.len();
            let forced = found.is_empty() && request.min_one_batch;
            if entry.batch.end > limit || (size > room && !forced) {
                break;
            }
            room = room.saturating_sub(size);
            found.push(entry.batch.clone());
            if room == 0 {
                break;
            }
        }
        Lookup::Here(found)
    }

    /// The cached batches from the one that contains `offset` on; `None` if it lies before the cache.
    pub(crate) fn batches_from(&self, offset: u64) -> Option<impl Iterator<Item = &Batch>> {
        let cached_from = self.entries.front().map_or(self.end, |entry| entry.batch.first);
        (offset >= cached_from).then(|| self.entries.range(self.position(offset)..).map(|entry| &entry.batch))
    }

    /// All batches that are not offloaded, with those of uploads in flight.
    pub(crate) fn unoffloaded(&self) -> Vec<Batch> {
        self.entries.range(self.position(self.offloaded)..).map(|entry| entry.batch.clone()).collect()
    }

    /// Takes the batches up to `to` for an upload; the cache keeps them. `to` must be a batch's end.
    pub(crate) fn cut(&mut self, to: u64) -> Vec<Batch> {
        assert!(self.cut <= to && to <= self.end, "a cut lies between the last one and the end");
        let span = self.position(self.cut)..self.position(to);
        let taken: Vec<Batch> = self.entries.range(span).map(|entry| entry.batch.clone()).collect();
        let reached = taken.last().map_or(self.cut, |batch| batch.end);
        assert_eq!(reached, to, "a checkpoint lies between two batches");
        self.cut = to;
        taken
    }

    /// Everything before `to` is in a committed object now. Returns the payload bytes that this frees for the WAL.
    pub(crate) fn offload(&mut self, to: u64) -> u64 {
        assert!(self.offloaded <= to && to <= self.cut, "only what was cut is offloaded");
        let span = self.position(self.offloaded)..self.position(to);
        let bytes = self.entries.range(span).map(|entry| entry.batch.payload.len() as u64).sum();
        self.offloaded = to;
        self.unoffloaded_bytes -= bytes;
        bytes
    }

    /// Drops offloaded batches from the front that end at or before `to`, until `wanted` bytes of memory are free.
    /// Returns how many were freed.
    pub(crate) fn evict(&mut self, to: u64, wanted: u64) -> u64 {
        let to = to.min(self.offloaded);
        let mut freed = 0;
        while freed < wanted && self.entries.front().is_some_and(|entry| entry.batch.end <= to) {
            let entry = self.entries.pop_front().expect("looked at");
            freed += entry.charge();
        }
        self.cached_bytes -= freed;
        if self.entries.capacity() > 32 && self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        freed
    }

    /// Where the oldest batch that is not offloaded lies in the WAL.
    pub(crate) fn oldest_unoffloaded_lsn(&self) -> Option<u64> {
        self.entries.get(self.position(self.offloaded)).map(|entry| entry.lsn)
    }

    /// Forgets everything, as the stream was deleted. Returns (memory, un-offloaded bytes, bytes not cut) freed.
    pub(crate) fn clear(&mut self) -> (u64, u64, u64) {
        let uncut =
            self.entries.range(self.position(self.cut)..).map(|entry| entry.batch.payload.len() as u64).sum();
        let freed = (self.cached_bytes, self.unoffloaded_bytes, uncut);
        self.entries = VecDeque::new();
        (self.cached_bytes, self.unoffloaded_bytes) = (0, 0);
        (self.offloaded, self.cut) = (self.end, self.end);
        freed
    }
}
