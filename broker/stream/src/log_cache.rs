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

    /// The first cached offset, or the end if nothing is cached.
    pub(crate) fn first(&self) -> u64 {
        self.entries.front().map_or(self.end, |entry| entry.batch.first)
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
        if request.offset < self.first() {
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
        (offset >= self.first())
            .then(|| self.entries.range(self.position(offset)..).map(|entry| &entry.batch))
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn batch(first: u64, records: u64, size: usize) -> Batch {
        let payload = Bytes::from(vec![first as u8; size]);
        Batch { first, end: first + records, records: records as u32, max_timestamp_ms: 0, payload }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(u64, usize),
        Cut,
        Offload,
        Evict(u64),
        Read { share: u64, max_bytes: usize, limit_share: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1_u64..20, 0_usize..500).prop_map(|(records, size)| Step::Push(records, size)),
            1 => Just(Step::Cut),
            1 => Just(Step::Offload),
            1 => (0_u64..2_000).prop_map(Step::Evict),
            3 => (0_u64..=100, 0_usize..1_500, 0_u64..=100)
                .prop_map(|(share, max_bytes, limit_share)| Step::Read { share, max_bytes, limit_share }),
        ]
    }

    proptest! {
        #[test]
        fn a_cache_is_the_end_of_a_list(from in 0_u64..1_000, steps in prop::collection::vec(step(), 1..60)) {
            let mut cache = LogCache::new(from);
            let mut list: Vec<Batch> = Vec::new();
            let (mut cut, mut offloaded) = (from, from);
            for (lsn, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(records, size) => {
                        let batch = batch(cache.end(), records, size);
                        list.push(batch.clone());
                        cache.push(batch, lsn as u64);
                    }
                    Step::Cut => {
                        let taken = cache.cut(cache.end());
                        let expected: Vec<_> = list.iter().filter(|b| b.first >= cut).cloned().collect();
                        prop_assert_eq!(taken, expected);
                        cut = cache.end();
                    }
                    Step::Offload => {
                        let bytes = cache.offload(cut);
                        let moved = list.iter().filter(|b| b.first >= offloaded && b.end <= cut);
                        prop_assert_eq!(bytes, moved.map(|b| b.payload.len() as u64).sum::<u64>());
                        offloaded = cut;
                    }
                    Step::Evict(wanted) => {
                        let before = cache.cached_bytes;
                        let freed = cache.evict(u64::MAX, wanted);
                        prop_assert_eq!(cache.cached_bytes, before - freed);
                        prop_assert!(cache.first() <= offloaded, "only what is offloaded is evicted");
                        prop_assert!(freed >= wanted || cache.first() == offloaded);
                    }
                    Step::Read { share, max_bytes, limit_share } => {
                        let at = |share: u64| from + (cache.end() - from) * share / 100;
                        let (offset, limit) = (at(share), at(limit_share));
                        let request = ReadRequest { max_bytes, ..ReadRequest::new(offset, 0) };
                        if offset < cache.first() {
                            prop_assert_eq!(cache.read(&request, limit), Lookup::Before);
                            continue;
                        }
                        let mut expected: Vec<Batch> = Vec::new();
                        let mut bytes = 0;
                        for batch in list.iter().filter(|b| b.end > offset) {
                            bytes += batch.payload.len();
                            if batch.end > limit || (bytes > max_bytes && !expected.is_empty()) {
                                break;
                            }
                            expected.push(batch.clone());
                        }
                        let Lookup::Here(found) = cache.read(&request, limit) else { panic!("cached") };
                        prop_assert!(expected.starts_with(&found), "{:?} of {:?}", found, expected);
                        prop_assert_eq!(found.is_empty(), expected.is_empty());
                    }
                }
                let tail: Vec<_> = list.iter().filter(|b| b.first >= offloaded).cloned().collect();
                let bytes: u64 = tail.iter().map(|b| b.payload.len() as u64).sum();
                prop_assert_eq!(cache.unoffloaded(), tail);
                prop_assert_eq!(cache.unoffloaded_bytes(), bytes);
            }
        }
    }
}
