//! Record batches, version 2: the bytes that a Kafka producer sends, that the log keeps and that consumers get.
//!
//! A batch is never re-encoded on the hot path. Its 61-byte header is read ([`BatchHeader`]), the batch is checked
//! against the topic's rules ([`validate`]), and what only the broker knows (base offset, leader epoch, append time)
//! is patched in place. Records are walked or decompressed only where a rule asks for it; decompression is bounded
//! by a limit that the caller states.
//!
//! ```text
//!   0         8      12      16  17   21    23     27     35     43     51    53     57     61
//!   | base    | len  | epoch |ma | crc| attr| last | base | max  | prod | prod| base | rec  | records …
//!   | offset  |      | leader|gic|    |     | delta| time | time | id   | ep. | seq. | count|
//!   '---- patched in place ----'     '------------------ covered by the CRC -------------------------'
//! ```
//!
//! Way in: [`validate`] for what producers send, [`Records`] to read records, [`BatchBuilder`] to make a batch,
//! [`Batches`] to split a run of batches.
//!
//! It does not know: topics, offsets' meaning, I/O, clocks (times are arguments), Kafka's error codes.

mod batches;
mod builder;
mod codec;
mod compression;
mod control;
mod error;
mod header;
mod record;
mod validate;
mod varint;
mod walk;

pub use batches::{Batches, time_lookup};
pub use builder::{BatchBuilder, NewRecord};
pub use compression::{Compression, CompressionError, compress, decompress};
pub use control::{ControlRecord, ControlType};
pub use error::{BatchError, RecordError};
pub use header::{BatchHeader, HEADER_BYTES, LOG_OVERHEAD_BYTES, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP};
pub use header::{TimestampType, patch_offset_and_epoch};
pub use record::{Header, MAX_DECOMPRESSED_BYTES, Record, Records};
pub use validate::{
    CreateTimeBounds, MAX_RECORD_ERRORS, Origin, Rules, TargetCompression, Validated, validate,
};
