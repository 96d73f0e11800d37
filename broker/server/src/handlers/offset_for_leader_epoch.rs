//! OffsetForLeaderEpoch: where a leader epoch ended, so that a client finds out what it must read again.

use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::Failure;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 23, advertised: 2..=4, served_from: 2, shape: &shapes::OFFSET_FOR_LEADER_EPOCH, handle };

/// Kafka's "no epoch" and "no offset".
const UNDEFINED: (i32, i64) = (-1, -1);

fn handle(call: Call) -> Answer {
    call.now(|call, request: OffsetForLeaderEpochRequest| {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let end = EpochEndOffset::default().with_partition(asked.partition);
                match find(call, &topic.topic, asked) {
                    Ok((epoch, offset)) => end.with_leader_epoch(epoch).with_end_offset(offset),
                    Err(failure) => end.with_error_code(failure.code),
                }
            });
            let partitions = partitions.collect();
            OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    })
}

fn find(call: &Call, topic: &str, asked: &OffsetForLeaderPartition) -> Result<(i32, i64), Failure> {
    let partition = call.context.services.partitions.get_by_name(topic, asked.partition)?;
    partition.check_leader_epoch(Some(asked.current_leader_epoch))?;
    Ok(partition.epoch_end_offset(asked.leader_epoch).unwrap_or(UNDEFINED))
}
