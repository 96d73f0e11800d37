//! Writing to the partition, and holding replies back until what they tell of is durable.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Arc,
};

use aquifer_partition::{AppendError, AppendRequest, CommitTicket, Partition, Unsettled};
use aquifer_record::{BatchBuilder, Compression, NewRecord};
use tokio::sync::oneshot;

use crate::{
    GroupError,
    event::{LogRecord, ReplyId, Response},
};

/// Batches are closed beyond this size, well below the smallest sensible `max.message.bytes`. A single record may be
/// larger.
pub(super) const BATCH_BYTES: usize = 256 * 1024;

/// An appended batch that is not known to be durable, and the replies that wait for it.
struct InFlight {
    end_offset: i64,
    ticket: CommitTicket,
    replies: Vec<(oneshot::Sender<Response>, Response)>,
}

pub(super) struct Log {
    partition: Arc<Partition>,
    in_flight: VecDeque<InFlight>,
    /// The clients whose answer the shard owes.
    waiting: HashMap<ReplyId, oneshot::Sender<Response>>,
}

impl Log {
    pub(super) fn new(partition: Arc<Partition>) -> Self {
        Self { partition, in_flight: VecDeque::new(), waiting: HashMap::new() }
    }

    pub(super) fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }

    /// For the log: `__consumer_offsets-7`.
    pub(super) fn name(&self) -> impl fmt::Display {
        format!("{}-{}", self.partition.id().topic, self.partition.id().index)
    }

    /// Appends the records, as several batches if they are many. An error may leave the first of them in the log: what
    /// was refused is then of unknown outcome, as an error answer says.
    pub(super) fn append(&mut self, records: &[LogRecord], now_ms: i64) -> Result<(), AppendError> {
        let mut batch = BatchBuilder::new(Compression::None);
        for record in records {
            if !batch.is_empty() && batch.plain_size() + record.size() > BATCH_BYTES {
                let full = std::mem::replace(&mut batch, BatchBuilder::new(Compression::None));
                self.append_batch(full)?;
            }
            batch.push(NewRecord {
                timestamp_ms: now_ms,
                key: Some(&record.key),
                value: record.value.as_deref(),
                headers: &[],
            });
        }
        if batch.is_empty() { Ok(()) } else { self.append_batch(batch) }
    }

    fn append_batch(&mut self, batch: BatchBuilder) -> Result<(), AppendError> {
        let appended = self.partition.append(batch.build(), &AppendRequest::coordinator())?;
        let end_offset = appended.last_offset + 1;
        self.in_flight.push_back(InFlight { end_offset, ticket: appended.ticket, replies: Vec::new() });
        Ok(())
    }

    /// Notes who waits for an answer.
    pub(super) fn expect(&mut self, id: ReplyId, reply: oneshot::Sender<Response>) {
        self.waiting.insert(id, reply);
    }

    /// Answers once everything that is in the log now is durable.
    pub(super) fn reply(&mut self, to: ReplyId, response: Response) {
        let Some(reply) = self.waiting.remove(&to) else { return };
        match self.in_flight.back_mut() {
            Some(last) => last.replies.push((reply, response)),
            None => send(reply, response),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Waits until the oldest batch in flight is durable. May be dropped and asked again.
    pub(super) async fn durable(&self) -> Result<(), Unsettled> {
        match self.in_flight.front() {
            Some(oldest) => oldest.ticket.clone().wait().await,
            None => Ok(()),
        }
    }

    /// Answers everything that the high watermark has passed.
    pub(super) fn release(&mut self) {
        let high_watermark = self.partition.high_watermark();
        while let Some(oldest) = self.in_flight.pop_front_if(|oldest| oldest.end_offset <= high_watermark) {
            oldest.replies.into_iter().for_each(|(reply, response)| send(reply, response));
        }
    }

    /// Whether what lies before `end_offset` is durable.
    pub(super) fn is_durable(&self, end_offset: i64) -> bool {
        self.partition.high_watermark() >= end_offset
    }

    /// What is in flight may or may not be durable: its replies become a refusal.
    pub(super) fn fail(&mut self, error: GroupError) {
        self.release();
        for lost in self.in_flight.drain(..) {
            lost.replies.into_iter().for_each(|(reply, _)| send(reply, Response::Refused(error)));
        }
    }
}

/// A client that is gone does not want its answer.
fn send(reply: oneshot::Sender<Response>, response: Response) {
    let _ = reply.send(response);
}
