//! One pass over the partitions of a fetch: what memory holds at once, the rest from the object store.

use std::sync::Arc;

use aquifer_partition::{LongPoll, LookupError, Partition, ReadError, ReadRequest, ReadResult};
use aquifer_types::{NodeId, TopicId};
use futures::{StreamExt, stream};
use kafka_protocol::messages::FetchRequest;

use crate::budget::Claim;
use crate::dispatch::Call;
use crate::errors::Failure;
use crate::sessions::{TopicKey, Wanted};

/// Reads from the object store that one fetch has in flight.
const COLD_READS: usize = 8;

/// What a fetch may get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) min_bytes: usize,
    pub(super) max_bytes: usize,
    pub(super) read_committed: bool,
}

impl Limits {
    pub(super) fn new(request: &FetchRequest, server_max_bytes: usize) -> Self {
        let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(server_max_bytes);
        let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes);
        Self { min_bytes, max_bytes, read_committed: request.isolation_level == 1 }
    }
}

/// A partition that is not served, and who leads it if that is why.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) failure: Failure,
    pub(super) leader: Option<(NodeId, i32)>,
    /// The high watermark, which an offset out of range is told with.
    pub(super) high_watermark: i64,
    pub(super) log_start_offset: i64,
}

/// What one partition gives.
pub(super) type Outcome = Result<ReadResult, Refused>;

/// The outcome of all partitions, in the order in which they were wanted.
pub(super) struct Pass {
    pub(super) outcomes: Vec<Outcome>,
    /// Bytes of records.
    pub(super) bytes: usize,
    /// There is something that must be told without waiting for more bytes.
    pub(super) settled: bool,
    /// Memory that the records hold until they are sent: those from caches, and those from the store.
    pub(super) claims: [Claim; 2],
    partitions: Vec<Option<Arc<Partition>>>,
}

impl Pass {
    pub(super) async fn read(call: &Call, wanted: &[Wanted], limits: Limits) -> Self {
        let asked = wanted.iter().map(|wanted| usize::try_from(wanted.max_bytes).unwrap_or(0));
        let most = asked.fold(0usize, usize::saturating_add).min(limits.max_bytes);
        let memory = &call.context.fetches;
        let mut cached = memory.cached.claim_some(most).await;
        let mut reading = Reading {
            read_committed: limits.read_committed,
            left: most.min(cached.bytes().max(1)),
            nothing_yet: true,
            outcomes: Vec::with_capacity(wanted.len()),
            cold: Vec::new(),
        };
        let mut partitions = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let found = find(call, wanted);
            partitions.push(found.as_ref().ok().cloned());
            reading.warm(wanted, found);
        }
        let cached_bytes = bytes_of(reading.outcomes.iter().flatten());
        // Before anything waits for the store.
        cached.shrink(cached_bytes);
        let mut cold = Claim::default();
        if !reading.cold.is_empty() {
            cold = memory.cold.claim_some(reading.cold_bytes()).await;
            reading.limit_cold(cold.bytes());
        }
        let outcomes = reading.finish().await;
        let bytes = bytes_of(outcomes.iter());
        let settled = outcomes.iter().any(|outcome| match outcome {
            Ok(result) => result.diverging_epoch.is_some(),
            Err(_) => true,
        });
        cold.shrink(bytes - cached_bytes);
        Self { outcomes, bytes, settled, claims: [cached, cold], partitions }
    }

    /// Waits for more than this pass has read.
    pub(super) fn into_poll(self, min_bytes: usize) -> LongPoll {
        let mut poll = LongPoll::new(min_bytes.saturating_sub(self.bytes));
        for (partition, outcome) in self.partitions.iter().zip(&self.outcomes) {
            if let (Some(partition), Ok(result)) = (partition, outcome) {
                poll.watch(partition, result.high_watermark);
            }
        }
        poll
    }
}

fn bytes_of<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> usize {
    outcomes.flatten().map(|result| result.bytes).sum()
}

struct Reading {
    read_committed: bool,
    left: usize,
    /// The first batch of the whole answer comes even if it is larger than any limit (KIP-74).
    nothing_yet: bool,
    outcomes: Vec<Option<Outcome>>,
    /// What memory does not hold: position in `outcomes`, partition and what to read.
    cold: Vec<(usize, Arc<Partition>, ReadRequest)>,
}

impl Reading {
    fn warm(&mut self, wanted: &Wanted, found: Result<Arc<Partition>, Refused>) {
        let partition = match found {
            Ok(partition) => partition,
            Err(refused) => return self.outcomes.push(Some(Err(refused))),
        };
        let max_bytes = usize::try_from(wanted.max_bytes).unwrap_or(0).min(self.left);
        let request = ReadRequest {
            offset: wanted.offset,
            max_bytes,
            min_one_batch: self.nothing_yet,
            read_committed: self.read_committed,
            current_leader_epoch: (wanted.current_leader_epoch >= 0).then_some(wanted.current_leader_epoch),
            last_fetched_epoch: (wanted.last_fetched_epoch >= 0).then_some(wanted.last_fetched_epoch),
        };
        if let Some(result) = partition.read_cached(&request) {
            if let Ok(result) = &result {
                self.left = self.left.saturating_sub(result.bytes);
                self.nothing_yet &= result.bytes == 0;
            }
            self.outcomes.push(Some(result.map_err(|error| refused(&error))));
            return;
        }
        // It has records: what they may take is set aside, for all cold reads go on at once.
        self.left -= max_bytes;
        self.nothing_yet = false;
        self.cold.push((self.outcomes.len(), partition, request));
        self.outcomes.push(None);
    }

    /// What the cold reads may take.
    fn cold_bytes(&self) -> usize {
        self.cold.iter().map(|(_, _, request)| request.max_bytes).sum()
    }

    /// Cuts the cold reads down to what was claimed for them, the first ones first.
    fn limit_cold(&mut self, mut left: usize) {
        for (_, _, request) in &mut self.cold {
            request.max_bytes = request.max_bytes.min(left);
            left -= request.max_bytes;
        }
    }

    async fn finish(mut self) -> Vec<Outcome> {
        let reads = self.cold.into_iter().map(|(position, partition, request)| async move {
            if request.max_bytes == 0 && !request.min_one_batch {
                return (position, Ok(nothing(&partition)));
            }
            let result = partition.read(&request).await;
            (position, result.map_err(|error| refused(&error)))
        });
        let mut reads = stream::iter(reads).buffer_unordered(COLD_READS);
        while let Some((position, outcome)) = reads.next().await {
            self.outcomes[position] = Some(outcome);
        }
        self.outcomes.into_iter().flatten().collect()
    }
}

/// The answer's room is used up before this partition's turn.
fn nothing(partition: &Partition) -> ReadResult {
    ReadResult {
        high_watermark: partition.high_watermark(),
        last_stable_offset: partition.last_stable_offset(),
        log_start_offset: partition.log_start_offset(),
        ..ReadResult::default()
    }
}

fn find(call: &Call, wanted: &Wanted) -> Result<Arc<Partition>, Refused> {
    let partitions = &call.context.services.partitions;
    let found = match &wanted.topic {
        TopicKey::Name(name) => partitions.get_by_name(name, wanted.index),
        TopicKey::Id(id) => partitions.get(TopicId(*id), wanted.index),
    };
    found.map_err(|error| {
        let leader = match &error {
            LookupError::NotLeader { leader: Some(leader), leader_epoch } => Some((*leader, leader_epoch.0)),
            _ => None,
        };
        Refused { failure: error.into(), leader, high_watermark: -1, log_start_offset: -1 }
    })
}

fn refused(error: &ReadError) -> Refused {
    let failure = Failure::from(error);
    match error {
        ReadError::OutOfRange { high_watermark, log_start_offset, .. } => Refused {
            failure,
            leader: None,
            high_watermark: *high_watermark,
            log_start_offset: *log_start_offset,
        },
        _ => Refused { failure, leader: None, high_watermark: -1, log_start_offset: -1 },
    }
}
