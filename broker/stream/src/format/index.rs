//! The index block and the footer: where each block lies, and whose object this is.

use bytes::{BufMut, Bytes, BytesMut};

use super::cursor::Cursor;
use super::writer::Origin;
use super::{FORMAT_VERSION, StreamKind};

/// Bytes of the footer, the last of every object.
pub const FOOTER_BYTES: usize = 64;

const INDEX_MAGIC: u32 = u32::from_le_bytes(*b"AQIX");
const FOOTER_MAGIC: u32 = u32::from_le_bytes(*b"AQFT");
const INDEX_HEADER_BYTES: usize = 64;
const SECTION_HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 64;
const CRC_BYTES: usize = 4;
/// Section of block entries. Readers skip sections they do not know; aborted transactions
/// will travel in one of their own.
const SECTION_BLOCKS: u64 = 1;

/// Where one block lies and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// The stream of the block.
    pub stream: u64,
    /// Records or checkpoints.
    pub kind: StreamKind,
    /// First offset in the block.
    pub first: u64,
    /// Offset after the last one.
    pub end: u64,
    /// Records in the block.
    pub records: u64,
    /// Byte position in the object.
    pub position: u64,
    /// Bytes of the block.
    pub size: u64,
    /// Largest timestamp of the block's batches.
    pub max_timestamp_ms: i64,
}

impl IndexEntry {
    fn key(&self) -> (StreamKind, u64, u64) {
        (self.kind, self.stream, self.first)
    }
}

/// The last bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// The object's number: a store that answers with another object is found out.
    pub object: u64,
    /// The cluster that wrote it.
    pub cluster: [u8; 16],
    /// Byte position of the index block.
    pub index_position: u64,
    /// Bytes of the index block.
    pub index_bytes: u64,
    /// Bytes of the whole object.
    pub object_bytes: u64,
}

/// The decoded index block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectIndex {
    /// Who wrote the object, and when.
    pub origin: Origin,
    /// One entry a block, in the order of the file: by kind, stream and offset.
    pub entries: Vec<IndexEntry>,
}

/// Why bytes are not the index or footer they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexDamage {
    /// Too few bytes.
    #[error("{found} bytes where at least {expected} are needed")]
    Length {
        /// Bytes needed.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// The magic number is not there: the object is truncated, or not ours.
    #[error("the {part} is not there (magic {found:#010x})")]
    Magic {
        /// Which part.
        part: &'static str,
        /// What is there instead.
        found: u32,
    },
    /// Written by another release.
    #[error("object format version {0}; this release reads {FORMAT_VERSION}")]
    Version(u16),
    /// The checksum differs.
    #[error("CRC32C of the {part} is {found:#010x}, it says {expected:#010x}")]
    Checksum {
        /// Which part.
        part: &'static str,
        /// What it says.
        expected: u32,
        /// What the bytes give.
        found: u32,
    },
    /// The object has another length than its footer says.
    #[error("the object has {found} bytes, its footer says {expected}")]
    ObjectLength {
        /// What the footer says.
        expected: u64,
        /// What the store has.
        found: u64,
    },
    /// The content contradicts itself or what was asked for.
    #[error("inconsistent: {0}")]
    Inconsistent(&'static str),
}

impl Footer {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(FOOTER_BYTES);
        out.put_u32_le(FOOTER_MAGIC);
        out.put_u16_le(FORMAT_VERSION);
        out.put_u16_le(0);
        out.put_u64_le(self.object);
        out.put_slice(&self.cluster);
        out.put_u64_le(self.index_position);
        out.put_u64_le(self.index_bytes);
        out.put_u64_le(self.object_bytes);
        out.put_u32_le(crc32c::crc32c(&out));
        out.put_u32_le(FOOTER_MAGIC);
        debug_assert_eq!(out.len(), FOOTER_BYTES);
        out.freeze()
    }

    /// Decodes the footer from the last bytes of an object of `object_bytes` bytes.
    pub fn decode(tail: &[u8], object_bytes: u64) -> Result<Footer, IndexDamage> {
        let short = IndexDamage::Length { expected: FOOTER_BYTES as u64, found: tail.len() as u64 };
        let start = tail.len().checked_sub(FOOTER_BYTES).ok_or_else(|| short.clone())?;
        let bytes = &tail[start..];
        let mut cursor = Cursor(bytes);
        let magic = cursor.u32().ok_or_else(|| short.clone())?;
        if magic != FOOTER_MAGIC {
            return Err(IndexDamage::Magic { part: "footer", found: magic });
        }
        let version = cursor.u16().ok_or_else(|| short.clone())?;
        if version != FORMAT_VERSION {
            return Err(IndexDamage::Version(version));
        }
        let parsed = (|| {
            cursor.u16()?;
            let footer = Footer {
                object: cursor.u64()?,
                cluster: cursor.bytes16()?,
                index_position: cursor.u64()?,
                index_bytes: cursor.u64()?,
                object_bytes: cursor.u64()?,
            };
            Some((footer, cursor.u32()?, cursor.u32()?))
        })();
        let (footer, expected, last) = parsed.ok_or(short)?;
        if last != FOOTER_MAGIC {
            return Err(IndexDamage::Magic { part: "end of the footer", found: last });
        }
        let found = crc32c::crc32c(&bytes[..FOOTER_BYTES - 8]);
        if expected != found {
            return Err(IndexDamage::Checksum { part: "footer", expected, found });
        }
        if footer.object_bytes != object_bytes {
            return Err(IndexDamage::ObjectLength { expected: footer.object_bytes, found: object_bytes });
        }
        let end = footer.index_position.checked_add(footer.index_bytes);
        if end != object_bytes.checked_sub(FOOTER_BYTES as u64) {
            return Err(IndexDamage::Inconsistent("the index does not lie before the footer"));
        }
        Ok(footer)
    }
}

impl ObjectIndex {
    pub(super) fn encode(&self) -> Bytes {
        let section = 8 + self.entries.len() * ENTRY_BYTES;
        let mut out =
            BytesMut::with_capacity(INDEX_HEADER_BYTES + SECTION_HEADER_BYTES + section + CRC_BYTES);
        out.put_u32_le(INDEX_MAGIC);
        out.put_u16_le(FORMAT_VERSION);
        out.put_u16_le(0);
        out.put_u64_le(self.origin.object);
        out.put_slice(&self.origin.cluster);
        out.put_u64_le(self.origin.node);
        out.put_u64_le(self.origin.broker_epoch);
        out.put_i64_le(self.origin.created_ms);
        out.put_u64_le(1);
        debug_assert_eq!(out.len(), INDEX_HEADER_BYTES);
        out.put_u64_le(SECTION_BLOCKS);
        out.put_u64_le(section as u64);
        out.put_u64_le(self.entries.len() as u64);
        for entry in &self.entries {
            out.put_u64_le(entry.stream);
            out.put_u64_le(u64::from(entry.kind.code()));
            out.put_u64_le(entry.first);
            out.put_u64_le(entry.end);
            out.put_u64_le(entry.records);
            out.put_u64_le(entry.position);
            out.put_u64_le(entry.size);
            out.put_i64_le(entry.max_timestamp_ms);
        }
        out.put_u32_le(crc32c::crc32c(&out));
        out.freeze()
    }

    /// Decodes an index block from exactly its bytes and checks it against the footer.
    pub fn decode(bytes: &[u8], footer: &Footer) -> Result<ObjectIndex, IndexDamage> {
        let short = IndexDamage::Length {
            expected: (INDEX_HEADER_BYTES + CRC_BYTES) as u64,
            found: bytes.len() as u64,
        };
        let body = bytes.len().checked_sub(CRC_BYTES).ok_or_else(|| short.clone())?;
        let (body, mut crc) = (&bytes[..body], Cursor(&bytes[body..]));
        let mut cursor = Cursor(body);
        let magic = cursor.u32().ok_or_else(|| short.clone())?;
        if magic != INDEX_MAGIC {
            return Err(IndexDamage::Magic { part: "index", found: magic });
        }
        let version = cursor.u16().ok_or_else(|| short.clone())?;
        if version != FORMAT_VERSION {
            return Err(IndexDamage::Version(version));
        }
        let expected = crc.u32().ok_or_else(|| short.clone())?;
        let found = crc32c::crc32c(body);
        if expected != found {
            return Err(IndexDamage::Checksum { part: "index", expected, found });
        }
        let parsed = (|| {
            cursor.u16()?;
            let origin = Origin {
                object: cursor.u64()?,
                cluster: cursor.bytes16()?,
                node: cursor.u64()?,
                broker_epoch: cursor.u64()?,
                created_ms: cursor.i64()?,
            };
            Some((origin, cursor.u64()?))
        })();
        let (origin, sections) = parsed.ok_or_else(|| short.clone())?;
        if (origin.object, origin.cluster) != (footer.object, footer.cluster) {
            return Err(IndexDamage::Inconsistent("index and footer name different objects"));
        }
        let mut entries = Vec::new();
        for _ in 0..sections {
            let head = (|| Some((cursor.u64()?, cursor.u64()?)))();
            let (kind, length) = head.ok_or_else(|| short.clone())?;
            let section = usize::try_from(length).ok().and_then(|length| cursor.take(length));
            let section = section.ok_or_else(|| short.clone())?;
            if kind == SECTION_BLOCKS {
                entries = block_entries(section)?;
            }
        }
        check_entries(&entries, footer)?;
        Ok(ObjectIndex { origin, entries })
    }

    /// Positions in `entries` of the blocks of a stream, in offset order.
    pub fn blocks_of(&self, stream: u64) -> std::ops::Range<usize> {
        for kind in [StreamKind::Data, StreamKind::Meta] {
            let low = self.entries.partition_point(|e| (e.kind, e.stream) < (kind, stream));
            let high = self.entries.partition_point(|e| (e.kind, e.stream) <= (kind, stream));
            if low < high {
                return low..high;
            }
        }
        0..0
    }

    /// Position in `entries` of the block of `stream` that holds `offset`.
    pub fn block_at(&self, stream: u64, offset: u64) -> Option<usize> {
        let blocks = self.blocks_of(stream);
        let ahead = self.entries[blocks.clone()].partition_point(|e| e.end <= offset);
        let position = blocks.start + ahead;
        (position < blocks.end && self.entries[position].first <= offset).then_some(position)
    }
}

fn block_entries(section: &[u8]) -> Result<Vec<IndexEntry>, IndexDamage> {
    let wrong = IndexDamage::Inconsistent;
    let mut cursor = Cursor(section);
    let count = cursor.u64().ok_or(wrong("the section of blocks is short"))?;
    if count.checked_mul(ENTRY_BYTES as u64) != Some(section.len() as u64 - 8) {
        return Err(wrong("the section of blocks has another length"));
    }
    let mut entries = Vec::with_capacity(section.len() / ENTRY_BYTES);
    for _ in 0..count {
        let entry = (|| {
            let (stream, kind) = (cursor.u64()?, cursor.u64()?);
            let entry = IndexEntry {
                stream,
                kind: StreamKind::Data,
                first: cursor.u64()?,
                end: cursor.u64()?,
                records: cursor.u64()?,
                position: cursor.u64()?,
                size: cursor.u64()?,
                max_timestamp_ms: cursor.i64()?,
            };
            Some((kind, entry))
        })();
        let (kind, entry) = entry.ok_or(wrong("the section of blocks is short"))?;
        let kind = u8::try_from(kind).ok().and_then(StreamKind::from_code);
        entries.push(IndexEntry { kind: kind.ok_or(wrong("unknown stream kind"))?, ..entry });
    }
    Ok(entries)
}

fn check_entries(entries: &[IndexEntry], footer: &Footer) -> Result<(), IndexDamage> {
    let wrong = IndexDamage::Inconsistent;
    let mut position = 0_u64;
    for (at, entry) in entries.iter().enumerate() {
        if entry.position != position || entry.first >= entry.end {
            return Err(wrong("blocks do not follow one another"));
        }
        position = position.checked_add(entry.size).ok_or(wrong("a block is too large"))?;
        let Some(before) = at.checked_sub(1).map(|at| &entries[at]) else { continue };
        if before.key() >= entry.key() {
            return Err(wrong("blocks are out of order"));
        }
        if before.stream == entry.stream && before.end != entry.first {
            return Err(wrong("offsets of a stream do not follow one another"));
        }
    }
    if position != footer.index_position {
        return Err(wrong("the blocks do not end where the index begins"));
    }
    Ok(())
}
