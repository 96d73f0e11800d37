//! The object format: what one upload looks like, byte by byte.
//!
//! ```text
//!   0 ┌────────────────────────────┐
//!     │ data block  stream 7       │  whole batches of one stream, about 512 KiB:
//!     │ data block  stream 7       │    header 72 B │ directory 32 B a batch │ batches
//!     │ data block  stream 9       │
//!     │ …                          │  data streams first, in stream order,
//!     │ meta block  stream 8       │  then the meta streams, so that one ranged read
//!     │ meta block  stream 10      │  at start brings the checkpoints of many
//!     ├────────────────────────────┤
//!     │ index block                │  who wrote it, one entry a block, sections
//!     ├────────────────────────────┤
//!     │ footer 64 B                │  where the index is; object and cluster id
//!     └────────────────────────────┘
//! ```
//!
//! All integers are little-endian and 64-bit, so that no size or offset of a later release
//! needs another layout. Every block, the index and the footer carry a CRC32C and say which
//! stream, object and cluster they belong to: a cluster can be rebuilt by scanning objects alone.

mod block;
mod cursor;
mod index;
mod writer;

#[cfg(test)]
mod tests;

pub use block::{Block, BlockDamage};
pub use index::{FOOTER_BYTES, Footer, IndexDamage, IndexEntry, ObjectIndex};
pub use writer::{Finished, ObjectWriter, Origin, WrittenRange};

/// A block is closed once it holds this many bytes of batches: large enough that its header
/// and its request cost nothing, small enough that a random read does not fetch much more
/// than it needs.
pub const BLOCK_TARGET_BYTES: usize = 512 * 1024;

/// The version that this release writes, and the only one that it reads.
pub const FORMAT_VERSION: u16 = 1;

/// Whether a stream holds a partition's records or its checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    /// Records: stream offset = Kafka offset.
    Data,
    /// Checkpoints: one batch each, only the newest counts.
    Meta,
}

impl StreamKind {
    fn code(self) -> u8 {
        match self {
            StreamKind::Data => 0,
            StreamKind::Meta => 1,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(StreamKind::Data),
            1 => Some(StreamKind::Meta),
            _ => None,
        }
    }
}
