//! Checking what a producer sends against a topic's rules.
//!
//! Always: the header's own consistency, size, CRC. Uncompressed records are walked (lengths, offsets, timestamps,
//! keys), which costs a few nanoseconds each. Compressed records are opened only when a rule cannot be decided from
//! the header: a compacted topic (keys), a lower bound on timestamps, an upper bound that the header's largest
//! timestamp breaks (to name the records), or a topic with a compression type of its own.

use std::ops::RangeInclusive;

use bytes::BytesMut;

use crate::builder::seal;
use crate::error::{BatchError, RecordError};
use crate::header::{BatchHeader, HEADER_BYTES, LOG_OVERHEAD_BYTES, NO_TIMESTAMP, TimestampType, batch_crc};
use crate::record::record_timestamp;
use crate::{Compression, compress, decompress, walk};

/// Record errors that one refusal names. Kafka names all of them; the rest here only count.
pub const MAX_RECORD_ERRORS: usize = 100;

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A producer: every rule applies.
    Client,
    /// A coordinator of this broker: may write control batches, and has no sequence numbers.
    Coordinator,
}

/// How a topic's batches are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetCompression {
    /// As the producer sent them.
    Producer,
    /// With this one, at this level (`None` is the codec's default).
    Codec(Compression, Option<i32>),
}

/// How far a record's own timestamp may lie from the broker's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateTimeBounds {
    /// Into the past; `i64::MAX` is no bound.
    pub before_max_ms: i64,
    /// Into the future.
    pub after_max_ms: i64,
}

/// The rules of a topic, taken from its configuration once per change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `max.message.bytes`, for the batch as it is stored.
    pub max_message_bytes: usize,
    /// Whether records need keys.
    pub compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// Bounds where producers choose the timestamps.
    pub create_time: CreateTimeBounds,
    /// `compression.type` and its level.
    pub compression: TargetCompression,
    /// What a batch may hold decompressed, when it has to be opened.
    pub decompress_limit: usize,
}

/// A batch that may be appended once it has its offset.
#[derive(Debug)]
pub struct Validated {
    /// Its header, as stored.
    pub header: BatchHeader,
    /// The batch, with timestamps and compression as the topic wants them.
    pub batch: BytesMut,
}

/// Checks the payload of one partition in a Produce request and brings it into the form that is stored, in place
/// where that is possible.
///
/// `zstd_allowed` says whether the request's version may carry zstd (Produce 7 and later).
pub fn validate(
    batch: BytesMut,
    rules: &Rules,
    origin: Origin,
    zstd_allowed: bool,
    now_ms: i64,
) -> Result<Validated, BatchError> {
    if batch.is_empty() {
        return Err(BatchError::Empty);
    }
    let header = BatchHeader::parse(&batch)?;
    let source = header.compression().map_err(|code| BatchError::UnsupportedCompression { code })?;
    if source == Compression::Zstd && !zstd_allowed {
        return Err(BatchError::UnsupportedCompression { code: source.code() });
    }
    if batch.len() < header.size() {
        return Err(BatchError::Truncated { have: batch.len(), need: header.size() });
    }
    if batch.len() > header.size() {
        return Err(BatchError::MoreThanOneBatch);
    }
    if origin == Origin::Client && header.base_offset != 0 {
        return Err(BatchError::BaseOffset { base_offset: header.base_offset });
    }
    check_size(batch.len(), rules)?;
    let computed = batch_crc(&batch);
    if computed != header.crc {
        return Err(BatchError::BadChecksum { stated: header.crc, computed });
    }
    if origin == Origin::Client {
        check_client_header(&header)?;
    }
    check_timestamp_type(&header, rules)?;
    match rules.compression {
        TargetCompression::Codec(target, level) if target != source && !header.is_control() => {
            recompress(header, &batch, source, target, level, rules, now_ms)
        }
        _ => in_place(header, batch, source, rules, now_ms),
    }
}

fn check_size(size: usize, rules: &Rules) -> Result<(), BatchError> {
    if size > rules.max_message_bytes {
        return Err(BatchError::TooLarge { size, max: rules.max_message_bytes });
    }
    Ok(())
}

fn check_client_header(header: &BatchHeader) -> Result<(), BatchError> {
    let (count, last_offset_delta) = (header.records_count, header.last_offset_delta);
    if count <= 0 || last_offset_delta != count - 1 {
        return Err(BatchError::Count { count, last_offset_delta, found: None });
    }
    if header.is_control() {
        return Err(BatchError::ControlBatch);
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        return Err(BatchError::Sequence { producer_id: header.producer_id, sequence: header.base_sequence });
    }
    Ok(())
}

fn check_timestamp_type(header: &BatchHeader, rules: &Rules) -> Result<(), BatchError> {
    if rules.timestamp_type == TimestampType::LogAppendTime
        && header.timestamp_type() == TimestampType::LogAppendTime
    {
        let message = "invalid timestamp type: a producer should not set it to LogAppendTime".to_owned();
        return Err(BatchError::InvalidTimestamps { records: vec![RecordError { index: 0, message }] });
    }
    Ok(())
}

/// The usual way: the bytes stay where they are.
fn in_place(
    mut header: BatchHeader,
    mut batch: BytesMut,
    source: Compression,
    rules: &Rules,
    now_ms: i64,
) -> Result<Validated, BatchError> {
    let walked = if source == Compression::None {
        walk_records(&header, &batch[HEADER_BYTES..], rules, now_ms)?
    } else if must_open(&header, rules, now_ms) {
        let plain = decompress(source, &batch[HEADER_BYTES..], rules.decompress_limit)?;
        walk_records(&header, &plain, rules, now_ms)?
    } else {
        Walked { max_timestamp: header.max_timestamp, in_order: true }
    };
    if !walked.in_order {
        return recompress(header, &batch, source, source, None, rules, now_ms);
    }
    store_timestamp(&mut header, &mut batch, rules, walked.max_timestamp, now_ms);
    Ok(Validated { header, batch })
}

/// The topic has a compression type of its own, or the records' offsets are not in order: the records move into
/// another batch, unchanged but for those offsets.
fn recompress(
    mut header: BatchHeader,
    batch: &[u8],
    source: Compression,
    target: Compression,
    level: Option<i32>,
    rules: &Rules,
    now_ms: i64,
) -> Result<Validated, BatchError> {
    let opened;
    let plain = match source {
        Compression::None => &batch[HEADER_BYTES..],
        source => {
            opened = decompress(source, &batch[HEADER_BYTES..], rules.decompress_limit)?;
            &opened
        }
    };
    let walked = walk_records(&header, plain, rules, now_ms)?;
    let numbered;
    let plain = if walked.in_order {
        plain
    } else {
        numbered = walk::numbered(plain);
        &numbered
    };
    let packed;
    let records = match target {
        Compression::None => plain,
        target => {
            packed = compress(target, level, plain)?;
            &packed
        }
    };
    // Before the length goes into 32 bits.
    check_size(HEADER_BYTES + records.len(), rules)?;
    header.batch_length = (HEADER_BYTES - LOG_OVERHEAD_BYTES + records.len()) as i32;
    header.attributes = (header.attributes & !0x07) | target.code();
    let mut batch = seal(&mut header, records);
    store_timestamp(&mut header, &mut batch, rules, walked.max_timestamp, now_ms);
    Ok(Validated { header, batch })
}

fn store_timestamp(
    header: &mut BatchHeader,
    batch: &mut [u8],
    rules: &Rules,
    max_timestamp: i64,
    now_ms: i64,
) {
    let max_timestamp = match rules.timestamp_type {
        TimestampType::CreateTime => max_timestamp,
        TimestampType::LogAppendTime => now_ms,
    };
    header.patch_timestamp(batch, rules.timestamp_type, max_timestamp);
}

/// Whether the header alone leaves a rule undecided.
fn must_open(header: &BatchHeader, rules: &Rules, now_ms: i64) -> bool {
    if rules.compacted {
        return true;
    }
    rules.timestamp_type == TimestampType::CreateTime
        && (rules.create_time.before_max_ms != i64::MAX
            || !time_bounds(rules.create_time, now_ms).contains(&header.max_timestamp))
}

/// The earliest and the latest timestamp that the topic takes now.
fn time_bounds(bounds: CreateTimeBounds, now_ms: i64) -> RangeInclusive<i64> {
    now_ms.saturating_sub(bounds.before_max_ms)..=now_ms.saturating_add(bounds.after_max_ms)
}

/// What the records of a batch say.
struct Walked {
    max_timestamp: i64,
    /// Their offsets count from 0, one by one.
    in_order: bool,
}

/// Checks every record of an uncompressed records section.
fn walk_records(
    header: &BatchHeader,
    section: &[u8],
    rules: &Rules,
    now_ms: i64,
) -> Result<Walked, BatchError> {
    let allowed = match rules.timestamp_type {
        TimestampType::CreateTime => time_bounds(rules.create_time, now_ms),
        TimestampType::LogAppendTime => i64::MIN..=i64::MAX,
    };
    let mut at = 0;
    let mut index = 0;
    let mut walked = Walked { max_timestamp: NO_TIMESTAMP, in_order: true };
    let mut refused = Refused::default();
    while at < section.len() {
        if index == header.records_count {
            return Err(count_error(header, index + 1));
        }
        let malformed = |what| BatchError::Malformed { index, what };
        let layout = walk::record(section, at).map_err(malformed)?;
        if layout.headers.0 > 0 {
            walk::walk_headers(section, &layout, |_, _| {}).map_err(malformed)?;
        }
        // Kafka assigns the offsets whatever a client put there.
        walked.in_order &= layout.offset_delta == index;
        let timestamp = record_timestamp(header, layout.timestamp_delta);
        walked.max_timestamp = walked.max_timestamp.max(timestamp);
        if rules.compacted && layout.key.is_none() && !header.is_control() {
            refused.key(index);
        } else if !allowed.contains(&timestamp) && timestamp != NO_TIMESTAMP {
            refused.time(index, timestamp, &allowed);
        }
        at = layout.end;
        index += 1;
    }
    if index != header.records_count {
        return Err(count_error(header, index));
    }
    refused.into_result()?;
    Ok(walked)
}

fn count_error(header: &BatchHeader, found: i32) -> BatchError {
    let (count, last_offset_delta) = (header.records_count, header.last_offset_delta);
    BatchError::Count { count, last_offset_delta, found: Some(found) }
}

/// The refused records of one batch.
#[derive(Default)]
struct Refused {
    records: Vec<RecordError>,
    any_time: bool,
}

impl Refused {
    fn key(&mut self, index: i32) {
        self.push(index, || "Compacted topic cannot accept message without key".to_owned());
    }

    fn time(&mut self, index: i32, timestamp_ms: i64, allowed: &RangeInclusive<i64>) {
        self.any_time = true;
        self.push(index, || {
            let (from, to) = (allowed.start(), allowed.end());
            format!("Timestamp {timestamp_ms} of the message is out of range. The timestamp should be within [{from}, {to}]")
        });
    }

    fn push(&mut self, index: i32, message: impl FnOnce() -> String) {
        if self.records.len() < MAX_RECORD_ERRORS {
            self.records.push(RecordError { index, message: message() });
        }
    }

    fn into_result(self) -> Result<(), BatchError> {
        if self.records.is_empty() {
            Ok(())
        } else if self.any_time {
            Err(BatchError::InvalidTimestamps { records: self.records })
        } else {
            Err(BatchError::InvalidRecords { records: self.records })
        }
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
