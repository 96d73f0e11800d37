//! The response, with what each version has room for.

use std::collections::BTreeSet;
use std::time::Duration;

use aquifer_types::NodeId;
use kafka_protocol::messages::ProduceResponse;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};

use super::{PartitionOutcome, Refused};
use crate::dispatch::{Call, Refusal};
use crate::errors::Failure;
use crate::reply::Reply;
use crate::view;
use aquifer_guard::produce::TopicKey;

const LOG_START_FROM: i16 = 5;
const MESSAGES_FROM: i16 = 8;
const LEADERS_FROM: i16 = 10;

/// `late` overrules the outcome of every batch that was appended and whose durability is not known: others of the request may be
/// durable all the same, as those of partitions that stayed where one moved away. The client is asked to send nothing for `pause`.
pub(super) fn respond(
    call: &Call,
    topics: Vec<(TopicKey, Vec<PartitionOutcome>)>,
    late: Option<&Failure>,
    pause: Duration,
) -> Result<Reply, Refusal> {
    let mut leaders = BTreeSet::new();
    let responses = topics
        .into_iter()
        .map(|(key, outcomes)| {
            let partitions =
                outcomes.into_iter().map(|outcome| partition(call, outcome, late, &mut leaders)).collect();
            let topic = TopicProduceResponse::default().with_partition_responses(partitions);
            match key {
                TopicKey::Name(name) => topic.with_name(TopicName(name)),
                TopicKey::Id(id) => topic.with_topic_id(id),
            }
        })
        .collect();
    let throttle_ms = i32::try_from(pause.as_millis()).unwrap_or(i32::MAX);
    let mut response =
        ProduceResponse::default().with_responses(responses).with_throttle_time_ms(throttle_ms);
    if !leaders.is_empty() && call.version >= LEADERS_FROM {
        response = response.with_node_endpoints(endpoints(call, leaders.into_iter()));
    }
    call.reply(&response)
}

fn partition(
    call: &Call,
    outcome: PartitionOutcome,
    late: Option<&Failure>,
    leaders: &mut BTreeSet<NodeId>,
) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(outcome.index);
    let result = match (outcome.result, late) {
        (Ok(appended), Some(late)) if !appended.ticket.is_met() => Err(late.clone().into()),
        (result, _) => result,
    };
    match result {
        Ok(appended) => {
            let response = response
                .with_base_offset(appended.base_offset)
                .with_log_append_time_ms(appended.log_append_time_ms);
            if call.version >= LOG_START_FROM {
                response.with_log_start_offset(appended.log_start_offset)
            } else {
                response
            }
        }
        Err(refused) => failed(call, response, refused, leaders),
    }
}

fn failed(
    call: &Call,
    response: PartitionProduceResponse,
    Refused { failure, records, leader }: Refused,
    leaders: &mut BTreeSet<NodeId>,
) -> PartitionProduceResponse {
    let mut response = response.with_error_code(failure.code).with_base_offset(-1);
    if call.version >= LOG_START_FROM {
        response = response.with_log_start_offset(-1);
    }
    if call.version >= MESSAGES_FROM {
        let records = records.into_iter().map(|record| {
            BatchIndexAndErrorMessage::default()
                .with_batch_index(record.index)
                .with_batch_index_error_message(Some(view::text(record.message)))
        });
        response = response.with_record_errors(records.collect()).with_error_message(failure.text());
    }
    if let (Some((node, epoch)), true) = (leader, call.version >= LEADERS_FROM) {
        leaders.insert(node);
        let hint = LeaderIdAndEpoch::default().with_leader_id(view::broker_id(node)).with_leader_epoch(epoch);
        response = response.with_current_leader(hint);
    }
    response
}

fn endpoints(call: &Call, nodes: impl Iterator<Item = NodeId>) -> Vec<NodeEndpoint> {
    let image = call.context.image();
    let found = nodes.filter_map(|node| {
        let broker = image.broker(node)?;
        let endpoint = broker.endpoint(&call.peer.listener)?;
        Some(
            NodeEndpoint::default()
                .with_node_id(view::broker_id(node))
                .with_host(view::text(&*endpoint.host))
                .with_port(i32::from(endpoint.port))
                .with_rack(broker.rack.as_deref().map(view::text)),
        )
    });
    found.collect()
}
