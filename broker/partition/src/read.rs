//! Reading batches for Fetch, and for coordinators that load their state.

use aquifer_stream::{Batch, ReadError as StreamReadError, ReadRequest as StreamRead};
use bytes::Bytes;

use crate::error::ReadError;
use crate::partition::{Partition, kafka_offset, stream_offset};

/// What a fetch asks of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The first batch returned contains this offset.
    pub offset: i64,
    /// Bytes wanted at most.
    pub max_bytes: usize,
    /// Return the first batch even when it is larger than `max_bytes` (KIP-74), so that a consumer always gets on.
    pub min_one_batch: bool,
    /// Stop at the last stable offset.
    pub read_committed: bool,
    /// The leader epoch that the client believes in, if it told one.
    pub current_leader_epoch: Option<i32>,
    /// The epoch of the last batch that the client fetched, to find out whether its log diverged.
    pub last_fetched_epoch: Option<i32>,
}

impl ReadRequest {
    /// Up to `max_bytes` from `offset`, at least one batch, with no epochs to check.
    pub fn new(offset: i64, max_bytes: usize) -> Self {
        Self {
            offset,
            max_bytes,
            min_one_batch: true,
            read_committed: false,
            current_leader_epoch: None,
            last_fetched_epoch: None,
        }
    }
}

/// Where the client's log and this one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DivergingEpoch {
    /// The largest epoch up to the client's that is known here.
    pub epoch: i32,
    /// Where it ended.
    pub end_offset: i64,
}

/// What a fetch gets of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadResult {
    /// What consumers may read up to.
    pub high_watermark: i64,
    /// What read_committed consumers may read up to.
    pub last_stable_offset: i64,
    /// First offset of the log.
    pub log_start_offset: i64,
    /// Set when the client's log diverged; there are no records then.
    pub diverging_epoch: Option<DivergingEpoch>,
    /// Whole batches in order, the first one containing the offset asked for.
    pub records: Vec<Bytes>,
    /// Bytes of all records.
    pub bytes: usize,
}

impl Partition {
    /// Reads what memory holds, without waiting; `None` when the object store has to be asked.
    pub fn read_cached(&self, request: &ReadRequest) -> Option<Result<ReadResult, ReadError>> {
        let (result, read) = match self.prepare_read(request) {
            Ok((result, Some(read))) => (result, read),
            Ok((result, None)) => return Some(Ok(result)),
            Err(error) => return Some(Err(error)),
        };
        let answer = self.stream().read_cached(&read)?;
        Some(self.finish_read(result, request, answer))
    }

    /// Reads batches, from memory without waiting or from the object store.
    ///
    /// # Errors
    /// See [`ReadError`]; never wrong records.
    pub async fn read(&self, request: &ReadRequest) -> Result<ReadResult, ReadError> {
        let (result, read) = match self.prepare_read(request)? {
            (result, Some(read)) => (result, read),
            (result, None) => return Ok(result),
        };
        let answer = match self.stream().read_cached(&read) {
            Some(answer) => answer,
            None => self.stream().read(&read).await,
        };
        self.finish_read(result, request, answer)
    }

    /// All that is decided before the stream is asked; no read when there is nothing to ask for.
    fn prepare_read(&self, request: &ReadRequest) -> Result<(ReadResult, Option<StreamRead>), ReadError> {
        if self.is_closed() {
            return Err(ReadError::NotLeader);
        }
        self.check_leader_epoch(request.current_leader_epoch)?;
        let high_watermark = self.high_watermark();
        let mut result = ReadResult {
            high_watermark,
            last_stable_offset: self.last_stable_offset().min(high_watermark),
            log_start_offset: self.log_start_offset(),
            ..ReadResult::default()
        };
        if let Some(diverging) = self.diverging(request) {
            result.diverging_epoch = Some(diverging);
            return Ok((result, None));
        }
        let limit = if request.read_committed { result.last_stable_offset } else { high_watermark };
        if request.offset < result.log_start_offset || request.offset > high_watermark {
            // Appended but not durable yet: it is there, only not to be read.
            if request.offset > high_watermark && request.offset <= self.log_end_offset() {
                return Ok((result, None));
            }
            return Err(self.out_of_range(request.offset));
        }
        if request.offset >= limit {
            return Ok((result, None));
        }
        let read = StreamRead {
            offset: stream_offset(request.offset),
            limit: stream_offset(limit),
            max_bytes: request.max_bytes,
            min_one_batch: request.min_one_batch,
        };
        Ok((result, Some(read)))
    }

    fn finish_read(
        &self,
        mut result: ReadResult,
        request: &ReadRequest,
        answer: Result<Vec<Batch>, StreamReadError>,
    ) -> Result<ReadResult, ReadError> {
        let batches = answer.map_err(|error| self.read_error(error, request.offset))?;
        result.bytes = batches.iter().map(|batch| batch.payload.len()).sum();
        result.records = batches.into_iter().map(|batch| batch.payload).collect();
        Ok(result)
    }

    fn diverging(&self, request: &ReadRequest) -> Option<DivergingEpoch> {
        let last = request.last_fetched_epoch.filter(|epoch| *epoch >= 0)?;
        let (epoch, end_offset) = self.epoch_end_offset(last)?;
        (epoch < last || end_offset < request.offset).then_some(DivergingEpoch { epoch, end_offset })
    }

    pub(crate) fn out_of_range(&self, offset: i64) -> ReadError {
        ReadError::OutOfRange {
            offset,
            log_start_offset: self.log_start_offset(),
            end: self.log_end_offset(),
            high_watermark: self.high_watermark(),
        }
    }

    pub(crate) fn read_error(&self, error: StreamReadError, offset: i64) -> ReadError {
        match error {
            // The start moved on between the check and the read.
            StreamReadError::OutOfRange { .. } => self.out_of_range(offset),
            StreamReadError::Closed(_) => ReadError::NotLeader,
            StreamReadError::Damaged(_) | StreamReadError::Missing { .. } | StreamReadError::Hole { .. } => {
                ReadError::Damaged(error.to_string())
            }
            StreamReadError::Store { .. } => ReadError::Storage(error.to_string()),
        }
    }

    /// Where `epoch` ended, for OffsetForLeaderEpoch: the largest known epoch up to it, and the offset behind its last
    /// record. `None` when the epoch is newer than all known.
    pub fn epoch_end_offset(&self, epoch: i32) -> Option<(i32, i64)> {
        let high_watermark = kafka_offset(self.stream().committed_end());
        self.state().epochs().end_of(epoch, high_watermark)
    }
}
