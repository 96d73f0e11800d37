//! The 61-byte header of a record batch.

use crate::Compression;
use crate::error::BatchError;

/// Bytes of a batch before its first record.
pub const HEADER_BYTES: usize = 61;
/// Bytes before the part that the header's length field counts: base offset and the length itself.
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// "This batch has no producer id": neither idempotent nor transactional.
pub const NO_PRODUCER_ID: i64 = -1;
/// "This batch has no sequence number".
pub const NO_SEQUENCE: i32 = -1;
/// "This record has no timestamp".
pub const NO_TIMESTAMP: i64 = -1;

const CRC_FROM: usize = 21;
const TIMESTAMP_TYPE_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// Who chose the timestamps of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer.
    CreateTime,
    /// The broker, when it appended the batch.
    LogAppendTime,
}

/// The header of one batch, decoded. Copying it is cheap; it does not hold on to the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (0 in what a producer sends).
    pub base_offset: i64,
    /// Bytes behind this field, so the whole batch has [`BatchHeader::size`] bytes.
    pub batch_length: i32,
    /// Leader epoch under which the batch was appended.
    pub partition_leader_epoch: i32,
    /// CRC32C of everything from the attributes on.
    pub crc: u32,
    /// Compression, timestamp type and flags.
    pub attributes: i16,
    /// Offset of the last record, less the base offset. Stays when compaction removes records.
    pub last_offset_delta: i32,
    /// Timestamp that the records' deltas count from; the delete horizon where that flag is set.
    pub base_timestamp: i64,
    /// Largest timestamp of the batch, or the append time.
    pub max_timestamp: i64,
    /// Producer id, or [`NO_PRODUCER_ID`].
    pub producer_id: i64,
    /// Producer epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or [`NO_SEQUENCE`].
    pub base_sequence: i32,
    /// Number of records.
    pub records_count: i32,
}

impl BatchHeader {
    /// Decodes the header at the start of `bytes`, which may go on after the batch or end within it; the length
    /// field is checked against the smallest batch, not against `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            // The magic is known from byte 17 on: an old client deserves to hear about its format, not its length.
            return match bytes.get(16) {
                Some(&magic) if magic != 2 => Err(BatchError::UnsupportedMagic { magic: magic as i8 }),
                _ => Err(BatchError::Truncated { have: bytes.len(), need: HEADER_BYTES }),
            };
        };
        if head[16] != 2 {
            return Err(BatchError::UnsupportedMagic { magic: head[16] as i8 });
        }
        let batch_length = i32::from_be_bytes(at(head, 8));
        if batch_length < (HEADER_BYTES - LOG_OVERHEAD_BYTES) as i32 {
            return Err(BatchError::BadLength { length: batch_length });
        }
        Ok(Self {
            base_offset: i64::from_be_bytes(at(head, 0)),
            batch_length,
            partition_leader_epoch: i32::from_be_bytes(at(head, 12)),
            crc: u32::from_be_bytes(at(head, 17)),
            attributes: i16::from_be_bytes(at(head, 21)),
            last_offset_delta: i32::from_be_bytes(at(head, 23)),
            base_timestamp: i64::from_be_bytes(at(head, 27)),
            max_timestamp: i64::from_be_bytes(at(head, 35)),
            producer_id: i64::from_be_bytes(at(head, 43)),
            producer_epoch: i16::from_be_bytes(at(head, 51)),
            base_sequence: i32::from_be_bytes(at(head, 53)),
            records_count: i32::from_be_bytes(at(head, 57)),
        })
    }

    /// Bytes of the whole batch, header included.
    pub fn size(&self) -> usize {
        // Not negative: `parse` refuses such a length.
        self.batch_length as usize + LOG_OVERHEAD_BYTES
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Offset behind the last record.
    pub fn end_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Sequence number of the last record; wraps from 2^31-1 to 0. [`NO_SEQUENCE`] without a sequence.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        // Kafka's wrap: after i32::MAX comes 0, so the ring has 2^31 places.
        ((i64::from(self.base_sequence) + i64::from(self.last_offset_delta)) & i64::from(i32::MAX)) as i32
    }

    /// Whether the batch comes from an idempotent or transactional producer.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// How the records are compressed; the raw code when Kafka knows none such.
    pub fn compression(&self) -> Result<Compression, i16> {
        Compression::from_code(self.attributes & 0x07)
    }

    /// Who chose the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & TIMESTAMP_TYPE_BIT != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch holds a transaction marker rather than records of a user.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Time from which compaction may drop tombstones and markers of this batch, if it was set.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON_BIT != 0).then_some(self.base_timestamp)
    }

    /// Writes all 61 bytes; the inverse of [`BatchHeader::parse`].
    pub fn write(&self, out: &mut [u8; HEADER_BYTES]) {
        out[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        out[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        out[12..16].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        out[16] = 2;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.records_count.to_be_bytes());
    }

    /// Sets who chose the timestamps and the largest of them, in this view and in `batch`, and renews the CRC.
    /// Does nothing, and costs no CRC, when both are so already.
    pub(crate) fn patch_timestamp(&mut self, batch: &mut [u8], kind: TimestampType, max_timestamp_ms: i64) {
        if self.timestamp_type() == kind && self.max_timestamp == max_timestamp_ms {
            return;
        }
        match kind {
            TimestampType::CreateTime => self.attributes &= !TIMESTAMP_TYPE_BIT,
            TimestampType::LogAppendTime => self.attributes |= TIMESTAMP_TYPE_BIT,
        }
        self.max_timestamp = max_timestamp_ms;
        batch[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        batch[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        self.crc = batch_crc(batch);
        batch[17..21].copy_from_slice(&self.crc.to_be_bytes());
    }

    /// The attribute bits for a batch to be made.
    pub(crate) fn attributes_of(
        compression: Compression,
        kind: TimestampType,
        transactional: bool,
        control: bool,
    ) -> i16 {
        let mut attributes = compression.code();
        if kind == TimestampType::LogAppendTime {
            attributes |= TIMESTAMP_TYPE_BIT;
        }
        if transactional {
            attributes |= TRANSACTIONAL_BIT;
        }
        if control {
            attributes |= CONTROL_BIT;
        }
        attributes
    }
}

/// Writes base offset and leader epoch into `batch`. Both lie outside the CRC, so nothing else changes.
pub fn patch_offset_and_epoch(batch: &mut [u8], base_offset: i64, partition_leader_epoch: i32) {
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&partition_leader_epoch.to_be_bytes());
}

/// CRC32C over the part of a whole batch that its CRC field covers.
pub(crate) fn batch_crc(batch: &[u8]) -> u32 {
    crc32c::crc32c(&batch[CRC_FROM..])
}

fn at<const N: usize>(head: &[u8; HEADER_BYTES], position: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&head[position..position + N]);
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> BatchHeader {
        BatchHeader {
            base_offset: 7,
            batch_length: 100,
            partition_leader_epoch: 3,
            crc: 0xdead_beef,
            attributes: 0,
            last_offset_delta: 4,
            base_timestamp: 1000,
            max_timestamp: 2000,
            producer_id: 9,
            producer_epoch: 1,
            base_sequence: 5,
            records_count: 5,
        }
    }

    #[test]
    fn a_header_reads_back_as_written() {
        let mut bytes = [0; HEADER_BYTES];
        header().write(&mut bytes);
        assert_eq!(BatchHeader::parse(&bytes).unwrap(), header());
        assert_eq!((header().end_offset(), header().size()), (12, 112));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let last = |base, delta| {
            BatchHeader { base_sequence: base, last_offset_delta: delta, ..header() }.last_sequence()
        };
        assert_eq!(last(i32::MAX, 0), i32::MAX);
        assert_eq!(last(i32::MAX, 1), 0);
        assert_eq!(last(i32::MAX - 1, 4), 2);
        assert_eq!(last(NO_SEQUENCE, 4), NO_SEQUENCE);
    }

    #[test]
    fn an_old_magic_is_named_even_in_a_short_message() {
        let mut bytes = [0; 40];
        bytes[16] = 1;
        assert_eq!(BatchHeader::parse(&bytes), Err(BatchError::UnsupportedMagic { magic: 1 }));
        assert!(matches!(BatchHeader::parse(&[]), Err(BatchError::Truncated { have: 0, .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic(bytes: Vec<u8>) {
            if let Ok(header) = BatchHeader::parse(&bytes) {
                let _ = (header.size(), header.end_offset(), header.last_sequence(), header.compression());
            }
        }
    }
}
