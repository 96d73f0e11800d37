//! Why a batch is refused.

use crate::compression::CompressionError;

/// One refused record of a batch, as Produce answers from version 8 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// Index of the record in its batch.
    pub index: i32,
    /// What is wrong with it, for the producer's user.
    pub message: String,
}

/// Why a batch cannot be accepted or read. Kafka's error codes are chosen by the server, by kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Nothing was sent for the partition. (INVALID_RECORD)
    #[error("a produce request must have exactly one record batch per partition, this one has none")]
    Empty,
    /// The bytes end before the batch does, so that there is no whole one. (INVALID_RECORD)
    #[error("the record batch is cut off: {have} bytes are there, {need} are needed")]
    Truncated {
        /// Bytes there.
        have: usize,
        /// Bytes that the length field, or the header, asks for.
        need: usize,
    },
    /// The length field is smaller than a header. (CORRUPT_MESSAGE)
    #[error("the record batch states a length of {length} bytes, less than its own header")]
    BadLength {
        /// The stated length.
        length: i32,
    },
    /// The CRC does not fit the bytes. (CORRUPT_MESSAGE)
    #[error("the record batch is corrupt: it states CRC32C {stated:#010x}, its bytes give {computed:#010x}")]
    BadChecksum {
        /// From the header.
        stated: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A message format before version 2 (INVALID_RECORD), or one unknown (CORRUPT_MESSAGE).
    #[error(
        "only record batches with magic version 2 are accepted, this one has {magic}; use a client of Kafka 0.11 or later"
    )]
    UnsupportedMagic {
        /// The magic sent.
        magic: i8,
    },
    /// More than one batch for a partition in a produce request. (INVALID_RECORD)
    #[error("a produce request must have exactly one record batch per partition, this one has more")]
    MoreThanOneBatch,
    /// The base offset of a client's batch is not 0. (INVALID_RECORD)
    #[error("the base offset of a produced record batch should be 0, but it is {base_offset}")]
    BaseOffset {
        /// The base offset sent.
        base_offset: i64,
    },
    /// Record count and last offset delta do not fit each other, or the records. (INVALID_RECORD)
    #[error("the record batch states {count} records and a last offset delta of {last_offset_delta}{}", .found.map(|found| format!(", but holds {found} records")).unwrap_or_default())]
    Count {
        /// Stated number of records.
        count: i32,
        /// Stated last offset delta.
        last_offset_delta: i32,
        /// Records found, where they were counted.
        found: Option<i32>,
    },
    /// A client sent a control batch. (INVALID_RECORD)
    #[error("clients are not allowed to write control records")]
    ControlBatch,
    /// A producer id with a negative sequence number. (INVALID_RECORD)
    #[error("invalid sequence number {sequence} in a record batch with producer id {producer_id}")]
    Sequence {
        /// The producer.
        producer_id: i64,
        /// The first sequence sent.
        sequence: i32,
    },
    /// The stored batch would be larger than `max.message.bytes`. (MESSAGE_TOO_LARGE)
    #[error("the record batch has {size} bytes, more than the topic's max.message.bytes of {max}")]
    TooLarge {
        /// Bytes of the batch as it would be stored.
        size: usize,
        /// The topic's limit.
        max: usize,
    },
    /// A compression code that Kafka does not know, or one that the request's version must not use.
    /// (UNSUPPORTED_COMPRESSION_TYPE)
    #[error("unsupported compression type {code}")]
    UnsupportedCompression {
        /// The code in the attributes.
        code: i16,
    },
    /// The compressed records cannot be read. (CORRUPT_MESSAGE)
    #[error("the records of the batch cannot be decompressed: {0}")]
    Decompression(#[from] CompressionError),
    /// A record's fields do not fit its bytes. (INVALID_RECORD)
    #[error("record {index} of the batch is malformed: {what}")]
    Malformed {
        /// Index of the record.
        index: i32,
        /// Which part is wrong.
        what: &'static str,
    },
    /// Records that the topic refuses, for example without a key on a compacted topic. (INVALID_RECORD, with the
    /// record errors)
    #[error("one or more records have been rejected: {}", .records.first().map_or("", |first| &first.message))]
    InvalidRecords {
        /// The first [`crate::MAX_RECORD_ERRORS`] of them.
        records: Vec<RecordError>,
    },
    /// Timestamps out of the topic's bounds. (INVALID_TIMESTAMP, with the record errors)
    #[error("one or more records have been rejected due to invalid timestamp")]
    InvalidTimestamps {
        /// The first [`crate::MAX_RECORD_ERRORS`] of them.
        records: Vec<RecordError>,
    },
}

impl BatchError {
    /// The refused records, where the batch was refused because of some of them.
    pub fn record_errors(&self) -> &[RecordError] {
        match self {
            Self::InvalidRecords { records } | Self::InvalidTimestamps { records } => records,
            _ => &[],
        }
    }
}
