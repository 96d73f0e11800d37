//! One data block: whole batches of one stream, with a directory of where each lies.

use bytes::{BufMut, Bytes, BytesMut};

use super::cursor::Cursor;
use super::{FORMAT_VERSION, StreamKind};
use crate::Batch;

pub(super) const BLOCK_HEADER_BYTES: usize = 72;
pub(super) const DIRECTORY_ENTRY_BYTES: usize = 32;
const MAGIC: u32 = u32::from_le_bytes(*b"AQBK");
/// The CRC covers the header before this position, the directory and the batches.
const CRC_POSITION: usize = 64;

/// A decoded block. Its batches are slices of the bytes that it was decoded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The stream that all batches belong to.
    pub stream: u64,
    /// Records or checkpoints.
    pub kind: StreamKind,
    /// The batches, in offset order, without a gap. Never empty.
    pub batches: Vec<Batch>,
}

/// Why bytes are not the block they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockDamage {
    /// Fewer bytes than the header promises, or no whole header.
    #[error("{found} bytes where the block has {expected}")]
    Length {
        /// Bytes that the block should have.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// The magic number is not there.
    #[error("no block starts here (magic {0:#010x})")]
    Magic(u32),
    /// Written by another release.
    #[error("block format version {0}; this release reads {FORMAT_VERSION}")]
    Version(u16),
    /// The checksum differs.
    #[error("CRC32C is {found:#010x}, the block says {expected:#010x}")]
    Checksum {
        /// What the block says.
        expected: u32,
        /// What the bytes give.
        found: u32,
    },
    /// The checksum holds but the content contradicts itself: a writer's fault, not the store's.
    #[error("inconsistent block: {0}")]
    Inconsistent(&'static str),
}

/// Batches collected for one block, not yet laid out.
#[derive(Debug)]
pub(super) struct OpenBlock {
    pub(super) stream: u64,
    pub(super) kind: StreamKind,
    pub(super) batches: Vec<Batch>,
    pub(super) payload_bytes: u64,
}

/// What the index says of a block, known once the block is laid out.
pub(super) struct Sealed {
    /// Header and directory; the payloads of the batches follow it in order.
    pub(super) head: Bytes,
    pub(super) batches: Vec<Batch>,
    pub(super) records: u64,
    pub(super) max_timestamp_ms: i64,
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) size: u64,
}

impl OpenBlock {
    pub(super) fn new(stream: u64, kind: StreamKind) -> Self {
        OpenBlock { stream, kind, batches: Vec::new(), payload_bytes: 0 }
    }

    pub(super) fn push(&mut self, batch: Batch) {
        self.payload_bytes += batch.payload.len() as u64;
        self.batches.push(batch);
    }

    /// Lays out header and directory. The block must hold at least one batch.
    pub(super) fn seal(self) -> Sealed {
        let (Some(front), Some(back)) = (self.batches.first(), self.batches.last()) else {
            panic!("a block is sealed only with batches in it");
        };
        let (first, end) = (front.first, back.end);
        let records = self.batches.iter().map(|b| u64::from(b.records)).sum();
        let max_timestamp_ms = self.batches.iter().map(|b| b.max_timestamp_ms).max().unwrap_or(i64::MIN);
        let head_bytes = BLOCK_HEADER_BYTES + self.batches.len() * DIRECTORY_ENTRY_BYTES;
        let mut head = BytesMut::with_capacity(head_bytes);
        head.put_u32_le(MAGIC);
        head.put_u16_le(FORMAT_VERSION);
        head.put_u8(self.kind.code());
        head.put_u8(0);
        head.put_u64_le(self.stream);
        head.put_u64_le(first);
        head.put_u64_le(end);
        head.put_u64_le(records);
        head.put_i64_le(max_timestamp_ms);
        head.put_u64_le(self.batches.len() as u64);
        head.put_u64_le(self.payload_bytes);
        debug_assert_eq!(head.len(), CRC_POSITION);
        head.put_u64_le(0);
        for batch in &self.batches {
            head.put_u64_le(batch.end);
            head.put_u64_le(u64::from(batch.records));
            head.put_i64_le(batch.max_timestamp_ms);
            head.put_u64_le(batch.payload.len() as u64);
        }
        let mut crc = crc32c::crc32c(&head[..CRC_POSITION]);
        crc = crc32c::crc32c_append(crc, &head[BLOCK_HEADER_BYTES..]);
        for batch in &self.batches {
            crc = crc32c::crc32c_append(crc, &batch.payload);
        }
        head[CRC_POSITION..CRC_POSITION + 4].copy_from_slice(&crc.to_le_bytes());
        Sealed {
            size: head_bytes as u64 + self.payload_bytes,
            head: head.freeze(),
            batches: self.batches,
            records,
            max_timestamp_ms,
            first,
            end,
        }
    }
}

struct Header {
    kind: StreamKind,
    stream: u64,
    first: u64,
    end: u64,
    records: u64,
    max_timestamp_ms: i64,
    batch_count: u64,
    payload_bytes: u64,
    crc: u32,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, BlockDamage> {
        let short = BlockDamage::Length { expected: BLOCK_HEADER_BYTES as u64, found: bytes.len() as u64 };
        let mut cursor = Cursor(bytes);
        let magic = cursor.u32().ok_or_else(|| short.clone())?;
        if magic != MAGIC {
            return Err(BlockDamage::Magic(magic));
        }
        let version = cursor.u16().ok_or_else(|| short.clone())?;
        if version != FORMAT_VERSION {
            return Err(BlockDamage::Version(version));
        }
        let parsed = (|| {
            let kind = cursor.u8()?;
            cursor.u8()?;
            let (stream, first, end) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
            let (records, max_timestamp_ms) = (cursor.u64()?, cursor.i64()?);
            let (batch_count, payload_bytes) = (cursor.u64()?, cursor.u64()?);
            let crc = cursor.u32()?;
            let reserved = cursor.u32()?;
            Some((
                kind,
                reserved,
                Header {
                    kind: StreamKind::Data,
                    stream,
                    first,
                    end,
                    records,
                    max_timestamp_ms,
                    batch_count,
                    payload_bytes,
                    crc,
                },
            ))
        })();
        let (kind, reserved, header) = parsed.ok_or(short)?;
        if reserved != 0 {
            return Err(BlockDamage::Inconsistent("reserved bytes are not zero"));
        }
        let kind = StreamKind::from_code(kind).ok_or(BlockDamage::Inconsistent("unknown stream kind"))?;
        Ok(Header { kind, ..header })
    }
}

impl Block {
    /// Decodes a block from exactly its bytes, checking its CRC and that its directory agrees
    /// with its header. Nothing is allocated before the sizes were checked against `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Block, BlockDamage> {
        let header = Header::parse(bytes)?;
        let found = bytes.len() as u64;
        let expected = header
            .batch_count
            .checked_mul(DIRECTORY_ENTRY_BYTES as u64)
            .and_then(|directory| directory.checked_add(header.payload_bytes))
            .and_then(|body| body.checked_add(BLOCK_HEADER_BYTES as u64))
            .unwrap_or(u64::MAX);
        if expected != found {
            return Err(BlockDamage::Length { expected, found });
        }
        let mut crc = crc32c::crc32c(&bytes[..CRC_POSITION]);
        crc = crc32c::crc32c_append(crc, &bytes[BLOCK_HEADER_BYTES..]);
        if crc != header.crc {
            return Err(BlockDamage::Checksum { expected: header.crc, found: crc });
        }
        let batches = directory(bytes, &header)?;
        Ok(Block { stream: header.stream, kind: header.kind, batches })
    }

    /// Offset of the first record.
    pub fn first(&self) -> u64 {
        self.batches[0].first
    }

    /// Offset after the last record.
    pub fn end(&self) -> u64 {
        self.batches[self.batches.len() - 1].end
    }
}

fn directory(bytes: &Bytes, header: &Header) -> Result<Vec<Batch>, BlockDamage> {
    let wrong = BlockDamage::Inconsistent;
    // The block's length was checked to hold `batch_count` entries, so it fits a usize.
    let count = header.batch_count as usize;
    if count == 0 {
        return Err(wrong("it has no batches"));
    }
    let mut cursor = Cursor(&bytes[BLOCK_HEADER_BYTES..]);
    let mut position = BLOCK_HEADER_BYTES + count * DIRECTORY_ENTRY_BYTES;
    let mut batches = Vec::with_capacity(count);
    let mut first = header.first;
    let (mut records, mut newest) = (0_u64, i64::MIN);
    for _ in 0..count {
        let entry = (|| Some((cursor.u64()?, cursor.u64()?, cursor.i64()?, cursor.u64()?)))();
        let (end, batch_records, max_timestamp_ms, length) = entry.ok_or(wrong("the directory is short"))?;
        if end <= first {
            return Err(wrong("a batch ends before it begins"));
        }
        let length = usize::try_from(length).map_err(|_| wrong("a batch is too long"))?;
        let until = position
            .checked_add(length)
            .filter(|until| *until <= bytes.len())
            .ok_or(wrong("the batches are longer than the block"))?;
        let batch_records = u32::try_from(batch_records).map_err(|_| wrong("too many records in a batch"))?;
        batches.push(Batch {
            first,
            end,
            records: batch_records,
            max_timestamp_ms,
            payload: bytes.slice(position..until),
        });
        records += u64::from(batch_records);
        newest = newest.max(max_timestamp_ms);
        (first, position) = (end, until);
    }
    if first != header.end || position != bytes.len() {
        return Err(wrong("header and directory disagree about the end"));
    }
    if records != header.records || newest != header.max_timestamp_ms {
        return Err(wrong("header and directory disagree about the records"));
    }
    Ok(batches)
}
