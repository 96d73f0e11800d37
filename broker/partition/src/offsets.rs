//! ListOffsets: the special offsets, and offsets by time.

use aquifer_record::{BatchHeader, time_lookup};
use aquifer_stream::{Batch, ReadRequest as StreamRead, TimeQuery};

use crate::error::ReadError;
use crate::partition::{Partition, kafka_offset, stream_offset};

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// -1: the high watermark, or the last stable offset for read_committed.
    Latest,
    /// -2: the first of the log.
    Earliest,
    /// -3: of the record with the largest timestamp.
    MaxTimestamp,
    /// -4: the first on the local tier; without tiered storage, the first of the log.
    EarliestLocal,
    /// -5: the last on the remote tier; without tiered storage, none.
    LatestTiered,
    /// -6: the first not yet on the remote tier; without tiered storage, none.
    EarliestPendingUpload,
    /// The first record at or after this time.
    Timestamp(i64),
}

impl OffsetSpec {
    /// From the timestamp field of the request; `None` for negative values that Kafka does not know.
    pub fn from_kafka(timestamp: i64) -> Option<Self> {
        match timestamp {
            -1 => Some(Self::Latest),
            -2 => Some(Self::Earliest),
            -3 => Some(Self::MaxTimestamp),
            -4 => Some(Self::EarliestLocal),
            -5 => Some(Self::LatestTiered),
            -6 => Some(Self::EarliestPendingUpload),
            0.. => Some(Self::Timestamp(timestamp)),
            _ => None,
        }
    }
}

/// An answer. Kafka's "none" is offset -1, timestamp -1 and no epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset, or -1.
    pub offset: i64,
    /// Timestamp of the record; -1 for special offsets.
    pub timestamp_ms: i64,
    /// Leader epoch of that offset.
    pub leader_epoch: Option<i32>,
}

impl FoundOffset {
    /// There is no such record.
    pub const NONE: Self = Self { offset: -1, timestamp_ms: -1, leader_epoch: None };
}

/// How far a look-up by time goes on behind the batch that the stream found, when that batch has no fitting record in
/// the wanted part after all (its start was deleted, or a producer sent a wrong largest timestamp).
const LOOKUP_SCAN_BYTES: usize = 64 * 1024 * 1024;
const LOOKUP_READ_BYTES: usize = 1024 * 1024;

impl Partition {
    /// Finds an offset.
    ///
    /// # Errors
    /// Wrong leader epoch, or the store cannot be read.
    pub async fn list_offset(
        &self,
        spec: OffsetSpec,
        read_committed: bool,
        current_leader_epoch: Option<i32>,
    ) -> Result<FoundOffset, ReadError> {
        if self.is_closed() {
            return Err(ReadError::NotLeader);
        }
        self.check_leader_epoch(current_leader_epoch)?;
        let limit = if read_committed { self.last_stable_offset() } else { self.high_watermark() };
        match spec {
            OffsetSpec::Latest => {
                let leader_epoch = self.state().epochs().latest();
                Ok(FoundOffset { offset: limit, timestamp_ms: -1, leader_epoch })
            }
            OffsetSpec::Earliest | OffsetSpec::EarliestLocal => {
                let offset = self.log_start_offset();
                Ok(FoundOffset { offset, timestamp_ms: -1, leader_epoch: self.epoch_at(offset) })
            }
            OffsetSpec::LatestTiered | OffsetSpec::EarliestPendingUpload => Ok(FoundOffset::NONE),
            OffsetSpec::MaxTimestamp => self.by_largest_timestamp(limit).await,
            OffsetSpec::Timestamp(timestamp_ms) => self.by_timestamp(timestamp_ms, limit).await,
        }
    }

    async fn by_largest_timestamp(&self, limit: i64) -> Result<FoundOffset, ReadError> {
        let Some(batch) = self.find(TimeQuery::Largest).await? else { return Ok(FoundOffset::NONE) };
        let header = BatchHeader::parse(&batch.payload).map_err(|error| damaged(&batch, &error))?;
        self.in_batch(&batch, header.max_timestamp, limit).map(|found| found.unwrap_or(FoundOffset::NONE))
    }

    async fn by_timestamp(&self, timestamp_ms: i64, limit: i64) -> Result<FoundOffset, ReadError> {
        let Some(first) = self.find(TimeQuery::AtOrAfter(timestamp_ms)).await? else {
            return Ok(FoundOffset::NONE);
        };
        if let Some(found) = self.in_batch(&first, timestamp_ms, limit)? {
            return Ok(found);
        }
        let mut scanned = 0;
        let mut next = first.end;
        while kafka_offset(next) < limit && scanned < LOOKUP_SCAN_BYTES {
            let read = StreamRead { limit: stream_offset(limit), ..StreamRead::new(next, LOOKUP_READ_BYTES) };
            let batches = self.stream().read(&read).await;
            for batch in batches.map_err(|error| self.read_error(error, kafka_offset(next)))? {
                if let Some(found) = self.in_batch(&batch, timestamp_ms, limit)? {
                    return Ok(found);
                }
                scanned += batch.payload.len();
                next = batch.end;
            }
        }
        Ok(FoundOffset::NONE)
    }

    async fn find(&self, query: TimeQuery) -> Result<Option<Batch>, ReadError> {
        self.stream().find(query).await.map_err(|error| self.read_error(error, self.log_start_offset()))
    }

    /// The first record in `batch` at or after the time, within the log and below `limit`.
    fn in_batch(
        &self,
        batch: &Batch,
        timestamp_ms: i64,
        limit: i64,
    ) -> Result<Option<FoundOffset>, ReadError> {
        let found = time_lookup(&batch.payload, timestamp_ms, self.log_start_offset());
        let found = found.map_err(|error| damaged(batch, &error))?.filter(|(offset, _)| *offset < limit);
        Ok(found.map(|(offset, timestamp_ms)| FoundOffset {
            offset,
            timestamp_ms,
            leader_epoch: self.epoch_at(offset),
        }))
    }

    fn epoch_at(&self, offset: i64) -> Option<i32> {
        self.state().epochs().at(offset)
    }
}

fn damaged(batch: &Batch, error: &dyn std::fmt::Display) -> ReadError {
    ReadError::Damaged(format!("the batch at offset {} cannot be read: {error}", batch.first))
}
