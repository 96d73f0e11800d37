//! Produce: offsets are assigned before the next request is read, the reply waits for durability.

mod respond;

use std::time::Duration;

use aquifer_guard::produce::{self, ProduceRequest, TopicKey};
use aquifer_guard::shapes;
use aquifer_partition::{Acks, AppendError, AppendRequest, Appended, CommitTicket, LookupError, Partition};
use aquifer_record::{BatchHeader, Origin, RecordError};
use aquifer_types::{NodeId, TopicId};
use bytes::BytesMut;
use kafka_protocol::ResponseError as Code;
use std::sync::Arc;

use crate::dispatch::{Answer, Api, Call, Refusal};
use crate::errors::Failure;
use crate::frame::SMALL_FRAME_BYTES;
use crate::view;

/// Versions 0 to 2 are advertised because older librdkafka decides about compression from it
/// (KAFKA-18659); nobody sends them.
pub(crate) const API: Api =
    Api { key: 0, advertised: 0..=13, served_from: 3, shape: &shapes::PRODUCE, handle };

/// From here on batches may be compressed with zstd.
const ZSTD_FROM: i16 = 7;

/// How long a producer is muted at least whose batch was refused because the WAL is full.
const FULL_PAUSE: Duration = Duration::from_millis(250);

/// How long a full WAL, or a partition that is being opened or handed over, may hold a request before its producer is told.
/// Meanwhile nothing more is read from its connection: producers go as fast as the store takes their records, and
/// hear at once who leads next, instead of sending their records over and over; and what was sent behind a batch never
/// overtakes it.
const HOLD_LIMIT: Duration = Duration::from_secs(1);

/// How long acks=1 waits at least, whatever the request's timeout says: Kafka answers it from the leader's log, without one. Who
/// is told of a timeout sends a record again that is there.
const LEADER_LIMIT: Duration = Duration::from_secs(30);

/// Client id of Kafka's own admin tools, which may write to internal topics.
const ADMIN_CLIENT: &str = "__admin_client";

/// What became of one partition's batch.
pub(super) struct PartitionOutcome {
    index: i32,
    result: Result<Appended, Refused>,
}

impl PartitionOutcome {
    /// The WAL takes no more until some of it is in the object store.
    fn is_full(&self) -> bool {
        self.result.as_ref().is_err_and(|refused| refused.failure.code == Code::RequestTimedOut.code())
    }
}

/// Why a batch was refused, with what the response tells beside the code.
pub(super) struct Refused {
    failure: Failure,
    records: Vec<RecordError>,
    leader: Option<(NodeId, i32)>,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { failure, records: Vec::new(), leader: None }
    }
}

fn handle(mut call: Call) -> Answer {
    let buffer_bytes = if call.alone { 0 } else { SMALL_FRAME_BYTES };
    let body = call.body.split();
    let request = match produce::parse(body, call.version, call.api.shape.flexible_from) {
        Ok(request) => request,
        Err(reason) => {
            let (api, version) = (call.api.shape.api, call.version);
            return Answer::Ready(Err(Refusal::Decode { api, version, reason: reason.to_owned() }));
        }
    };
    let partitions = &call.context.services.partitions;
    if partitions.has_room(request.record_bytes()) && !partitions.holds_any() {
        return append(call, request, buffer_bytes);
    }
    Answer::Held(Box::pin(async move {
        let limit = HOLD_LIMIT.min(time_limit(request.timeout_ms));
        // Without room, still on the move or not open yet, the appends themselves say so.
        let _ = tokio::time::timeout(limit, appendable(&call, &request)).await;
        append(call, request, buffer_bytes)
    }))
}

/// Waits until the WAL has room and none of the partitions is about to open or in the middle of a hand-over.
async fn appendable(call: &Call, request: &ProduceRequest) {
    let partitions = &call.context.services.partitions;
    for topic in &request.topics {
        let Ok(id) = find_topic(call, &topic.key) else { continue };
        for (index, _) in &topic.partitions {
            partitions.appendable(id, *index).await;
        }
    }
    partitions.room(request.record_bytes()).await;
}

fn append(call: Call, request: ProduceRequest, buffer_bytes: usize) -> Answer {
    let (acks, timeout_ms) = (request.acks, request.timeout_ms);
    let Outcomes { topics, ticket } = append_all(&call, request, buffer_bytes);
    let pause = pause(&call, &topics);
    if acks == 0 {
        // The client learns of an error only by the end of its connection; it then asks for metadata.
        let failed =
            topics.iter().flat_map(|(_, outcomes)| outcomes).find_map(|one| one.result.as_ref().err());
        return match failed {
            None => Answer::Nothing.muted(pause),
            Some(refused) => {
                let reason = format!("a Produce with acks=0 failed: {}", refused.failure.message);
                Answer::Ready(Err(Refusal::Close(reason)))
            }
        };
    }
    let answer = match ticket {
        None => Answer::Ready(respond::respond(&call, topics, None, pause)),
        Some(ticket) => Answer::Pipelined(Box::pin(async move {
            let least = if acks == 1 { LEADER_LIMIT } else { Duration::ZERO };
            let late = durable(ticket, time_limit(timeout_ms).max(least)).await;
            respond::respond(&call, topics, late.as_ref(), pause)
        })),
    };
    answer.muted(pause)
}

/// How long the producer should pause, as the filling of the WAL demands.
fn pause(call: &Call, topics: &[(TopicKey, Vec<PartitionOutcome>)]) -> Duration {
    let full = topics.iter().flat_map(|(_, outcomes)| outcomes).any(PartitionOutcome::is_full);
    let least = if full { FULL_PAUSE } else { Duration::ZERO };
    call.context.services.partitions.produce_pause().max(least)
}

fn time_limit(timeout_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0))
}

/// Waits until what was appended is durable; otherwise what to say instead.
async fn durable(ticket: CommitTicket, limit: Duration) -> Option<Failure> {
    match tokio::time::timeout(limit, ticket.wait()).await {
        Ok(Ok(())) => None,
        Ok(Err(unsettled)) => Some(unsettled.into()),
        Err(_) => Some(Failure::new(
            Code::RequestTimedOut,
            "The records were not durable within the request's timeout; they may be later.",
        )),
    }
}

struct Outcomes {
    topics: Vec<(TopicKey, Vec<PartitionOutcome>)>,
    /// For the largest of the appends, if there was one.
    ticket: Option<CommitTicket>,
}

fn append_all(call: &Call, request: ProduceRequest, buffer_bytes: usize) -> Outcomes {
    let refused = refused_whole(&request);
    let mut append = AppendRequest {
        origin: Origin::Client,
        acks: if request.acks == -1 { Acks::All } else { Acks::Leader },
        zstd_allowed: call.version >= ZSTD_FROM,
        buffer_bytes,
    };
    // A batch that is nearly its whole frame may keep the frame's allocation.
    let batches: usize = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    if call.alone && batches > 1 {
        append.buffer_bytes =
            request.topics.iter().flat_map(|topic| &topic.partitions).map(|(_, r)| r.len()).sum();
    }
    let mut ticket: Option<CommitTicket> = None;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let found = refused.clone().map_or_else(|| find_topic(call, &topic.key), Err);
        let mut outcomes = Vec::with_capacity(topic.partitions.len());
        for (index, records) in topic.partitions {
            let result = match &found {
                Ok(id) => append_one(call, &topic.key, *id, index, records, &append),
                Err(failure) => Err(failure.clone().into()),
            };
            if let Ok(appended) = &result {
                let more = appended.ticket.clone();
                ticket = Some(match ticket.take() {
                    Some(ticket) => ticket.join(more),
                    None => more,
                });
            }
            outcomes.push(PartitionOutcome { index, result });
        }
        topics.push((topic.key, outcomes));
    }
    Outcomes { topics, ticket }
}

/// What is wrong with the request as a whole.
fn refused_whole(request: &ProduceRequest) -> Option<Failure> {
    if !(-1..=1).contains(&request.acks) {
        return Some(Failure::new(
            Code::InvalidRequiredAcks,
            format!("acks={} is none of -1, 0, 1", request.acks),
        ));
    }
    let message = match &request.transactional_id {
        Some(transactional) => format!("{} (transactional.id {transactional})", super::NO_TRANSACTIONS),
        None if has_transactional_records(request) => super::NO_TRANSACTIONS.to_owned(),
        None => return None,
    };
    Some(Failure::new(Code::TransactionalIdAuthorizationFailed, message))
}

fn has_transactional_records(request: &ProduceRequest) -> bool {
    let mut batches = request.topics.iter().flat_map(|topic| &topic.partitions);
    batches.any(|(_, records)| BatchHeader::parse(records).is_ok_and(|header| header.is_transactional()))
}

fn find_topic(call: &Call, key: &TopicKey) -> Result<TopicId, Failure> {
    let image = call.context.image();
    let topic = match key {
        TopicKey::Name(name) => image.topic_by_name(name).ok_or(LookupError::UnknownTopic)?,
        TopicKey::Id(id) => image.topic(TopicId(*id)).ok_or(LookupError::UnknownTopicId)?,
    };
    if view::is_internal(&topic.name) && call.client_id.as_deref() != Some(ADMIN_CLIENT) {
        let message = format!("Cannot append to internal topic {}", topic.name);
        return Err(Failure::new(Code::InvalidTopicException, message));
    }
    Ok(topic.id)
}

fn append_one(
    call: &Call,
    key: &TopicKey,
    id: TopicId,
    index: i32,
    records: BytesMut,
    append: &AppendRequest,
) -> Result<Appended, Refused> {
    let partition = find_partition(call, key, id, index)?;
    let bytes = records.len();
    let appended = partition.append(records, append).map_err(|error| Refused {
        failure: (&error).into(),
        records: match &error {
            AppendError::Batch(error) => error.record_errors().to_vec(),
            _ => Vec::new(),
        },
        leader: None,
    })?;
    call.context.metrics.produced_bytes.add(bytes);
    Ok(appended)
}

fn find_partition(call: &Call, key: &TopicKey, id: TopicId, index: i32) -> Result<Arc<Partition>, Refused> {
    call.context.services.partitions.get_for_append(id, index).map_err(|error| {
        let leader = match &error {
            LookupError::NotLeader { leader: Some(leader), leader_epoch } => Some((*leader, leader_epoch.0)),
            _ => None,
        };
        let error = match (error, key) {
            // Deleted meanwhile, and asked for by name.
            (LookupError::UnknownTopicId, TopicKey::Name(_)) => LookupError::UnknownTopic,
            (error, _) => error,
        };
        Refused { failure: error.into(), records: Vec::new(), leader }
    })
}
