//! Writes an object as a sequence of byte parts, holding one open block and the index.

use bytes::{Bytes, BytesMut};

use super::block::OpenBlock;
use super::index::{Footer, IndexEntry, ObjectIndex};
use super::{BLOCK_TARGET_BYTES, FOOTER_BYTES, StreamKind};
use crate::Batch;

/// Payloads below this are copied together, so that a request does not consist of thousands
/// of slivers; larger ones travel by reference.
const COPY_BELOW_BYTES: usize = 8 * 1024;
/// A part of copied payloads is closed at this size.
const COPIED_PART_BYTES: usize = 256 * 1024;

/// Who writes an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The object's number.
    pub object: u64,
    /// The cluster's id.
    pub cluster: [u8; 16],
    /// The broker.
    pub node: u64,
    /// The broker's epoch.
    pub broker_epoch: u64,
    /// When the upload began, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// What an object holds of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenRange {
    /// The stream.
    pub stream: u64,
    /// Records or checkpoints.
    pub kind: StreamKind,
    /// First offset.
    pub first: u64,
    /// Offset after the last one.
    pub end: u64,
    /// Records.
    pub records: u64,
    /// Bytes of the batches, without what the format adds.
    pub bytes: u64,
    /// Largest timestamp.
    pub max_timestamp_ms: i64,
}

/// The end of a written object.
#[derive(Debug)]
pub struct Finished {
    /// The parts that were not taken yet, with index and footer.
    pub parts: Vec<Bytes>,
    /// Bytes of the whole object.
    pub object_bytes: u64,
    /// What it holds, one range a stream, in the order written.
    pub ranges: Vec<WrittenRange>,
}

/// Lays out an object. Memory: the open block's references, the parts not yet taken, and 64
/// bytes of index a block.
#[derive(Debug)]
pub struct ObjectWriter {
    origin: Origin,
    position: u64,
    open: Option<OpenBlock>,
    entries: Vec<IndexEntry>,
    ranges: Vec<WrittenRange>,
    parts: Parts,
}

impl ObjectWriter {
    /// An empty object.
    pub fn new(origin: Origin) -> Self {
        ObjectWriter {
            origin,
            position: 0,
            open: None,
            entries: Vec::new(),
            ranges: Vec::new(),
            parts: Parts::default(),
        }
    }

    /// Adds a batch. Streams come in the order of (kind, stream); batches of a stream follow
    /// one another without a gap.
    ///
    /// # Panics
    /// When the order is broken: that would be an object that nobody can read.
    pub fn add(&mut self, kind: StreamKind, stream: u64, batch: Batch) {
        assert!(batch.first < batch.end, "a batch holds at least one offset");
        match self.ranges.last_mut() {
            Some(range) if range.stream == stream => {
                assert!(range.kind == kind && range.end == batch.first, "batches are contiguous");
                range.end = batch.end;
                range.records += u64::from(batch.records);
                range.bytes += batch.payload.len() as u64;
                range.max_timestamp_ms = range.max_timestamp_ms.max(batch.max_timestamp_ms);
            }
            before => {
                let ordered = before.is_none_or(|r| (r.kind, r.stream) < (kind, stream));
                assert!(ordered, "streams are written in order");
                self.close_block();
                self.ranges.push(WrittenRange {
                    stream,
                    kind,
                    first: batch.first,
                    end: batch.end,
                    records: u64::from(batch.records),
                    bytes: batch.payload.len() as u64,
                    max_timestamp_ms: batch.max_timestamp_ms,
                });
            }
        }
        let open = self.open.get_or_insert_with(|| OpenBlock::new(stream, kind));
        open.push(batch);
        if open.payload_bytes >= BLOCK_TARGET_BYTES as u64 {
            self.close_block();
        }
    }

    /// Bytes laid out and not yet taken.
    pub fn ready_bytes(&self) -> usize {
        self.parts.bytes
    }

    /// Takes what was laid out so far, in order.
    pub fn take_parts(&mut self) -> Vec<Bytes> {
        self.parts.take()
    }

    /// Ends the object with its index and footer.
    pub fn finish(mut self) -> Finished {
        self.close_block();
        let index = ObjectIndex { origin: self.origin, entries: self.entries };
        let encoded = index.encode();
        let index_bytes = encoded.len() as u64;
        let object_bytes = self.position + index_bytes + FOOTER_BYTES as u64;
        let footer = Footer {
            object: self.origin.object,
            cluster: self.origin.cluster,
            index_position: self.position,
            index_bytes,
            object_bytes,
        };
        self.parts.push(encoded);
        self.parts.push(footer.encode());
        Finished { parts: self.parts.take(), object_bytes, ranges: self.ranges }
    }

    fn close_block(&mut self) {
        let Some(open) = self.open.take() else { return };
        let (stream, kind) = (open.stream, open.kind);
        let sealed = open.seal();
        self.entries.push(IndexEntry {
            stream,
            kind,
            first: sealed.first,
            end: sealed.end,
            records: sealed.records,
            position: self.position,
            size: sealed.size,
            max_timestamp_ms: sealed.max_timestamp_ms,
        });
        self.position += sealed.size;
        self.parts.push(sealed.head);
        for batch in sealed.batches {
            self.parts.push(batch.payload);
        }
    }
}

/// Finished bytes: large payloads by reference, small ones copied together.
#[derive(Debug, Default)]
struct Parts {
    done: Vec<Bytes>,
    copied: BytesMut,
    bytes: usize,
}

impl Parts {
    fn push(&mut self, part: Bytes) {
        self.bytes += part.len();
        if part.len() >= COPY_BELOW_BYTES {
            self.close_copied();
            self.done.push(part);
            return;
        }
        self.copied.extend_from_slice(&part);
        if self.copied.len() >= COPIED_PART_BYTES {
            self.close_copied();
        }
    }

    fn close_copied(&mut self) {
        if !self.copied.is_empty() {
            self.done.push(self.copied.split().freeze());
        }
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.close_copied();
        self.bytes = 0;
        std::mem::take(&mut self.done)
    }
}
