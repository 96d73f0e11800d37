//! Reading the records of a batch.

use bytes::Bytes;

use crate::error::BatchError;
use crate::header::{BatchHeader, HEADER_BYTES, TimestampType};
use crate::{Compression, decompress, walk};

/// What a batch may hold decompressed when it has to be read here. Batches of 1 MiB that shrink a hundredfold pass;
/// a bomb does not.
pub const MAX_DECOMPRESSED_BYTES: usize = 128 * 1024 * 1024;

/// A record header, as the user set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// UTF-8 by Kafka's convention, not checked.
    pub key: Bytes,
    /// May be null.
    pub value: Option<Bytes>,
}

/// One record; the bytes are shared with its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its own offset.
    pub offset: i64,
    /// Its timestamp: the append time for batches that say so.
    pub timestamp_ms: i64,
    /// May be null.
    pub key: Option<Bytes>,
    /// Null makes it a tombstone.
    pub value: Option<Bytes>,
    /// In the order they were added.
    pub headers: Vec<Header>,
}

/// Iterates over the records of one batch, decompressed if need be. Ends after the first error.
#[derive(Debug)]
pub struct Records {
    header: BatchHeader,
    section: Bytes,
    at: usize,
    index: i32,
}

impl Records {
    /// The records of `batch`, which starts with its header; at most [`MAX_DECOMPRESSED_BYTES`] of them.
    pub fn new(batch: &Bytes) -> Result<Self, BatchError> {
        Self::with_limit(batch, MAX_DECOMPRESSED_BYTES)
    }

    /// The same with the caller's own bound.
    pub fn with_limit(batch: &Bytes, limit: usize) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(batch)?;
        if batch.len() < header.size() {
            return Err(BatchError::Truncated { have: batch.len(), need: header.size() });
        }
        let section = batch.slice(HEADER_BYTES..header.size());
        let section = match header.compression() {
            Ok(Compression::None) => section,
            Ok(compression) => Bytes::from(decompress(compression, &section, limit)?),
            Err(code) => return Err(BatchError::UnsupportedCompression { code }),
        };
        Ok(Self { header, section, at: 0, index: 0 })
    }

    /// The header of the batch.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    fn read(&mut self) -> Result<Record, BatchError> {
        let malformed = |what| BatchError::Malformed { index: self.index, what };
        let layout = walk::record(&self.section, self.at).map_err(malformed)?;
        let mut headers = Vec::new();
        let part = |range| self.section.slice(range);
        if layout.headers.0 > 0 {
            walk::walk_headers(&self.section, &layout, |key, value| {
                headers.push(Header { key: part(key), value: value.map(part) });
            })
            .map_err(malformed)?;
        }
        let record = Record {
            offset: self.header.base_offset.saturating_add(i64::from(layout.offset_delta)),
            timestamp_ms: record_timestamp(&self.header, layout.timestamp_delta),
            key: layout.key.clone().map(part),
            value: layout.value.clone().map(part),
            headers,
        };
        self.at = layout.end;
        self.index += 1;
        Ok(record)
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.header.records_count {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.index = i32::MAX;
        }
        Some(read)
    }
}

/// The timestamp of a record, by the batch's timestamp type.
pub(crate) fn record_timestamp(header: &BatchHeader, delta: i64) -> i64 {
    match header.timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp.wrapping_add(delta),
        TimestampType::LogAppendTime => header.max_timestamp,
    }
}
