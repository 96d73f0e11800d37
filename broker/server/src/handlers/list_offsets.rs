//! ListOffsets: special offsets and offsets by time.

use std::collections::BTreeSet;

use aquifer_partition::{FoundOffset, OffsetSpec};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::{Failure, invalid};
use aquifer_guard::shapes;

/// Version 11 (KIP-1023) has the layout of version 10 and one more special timestamp.
pub(crate) const API: Api =
    Api { key: 2, advertised: 1..=11, served_from: 1, shape: &shapes::LIST_OFFSETS, handle };

/// The last version that the wire crate knows.
const LAST_IN_CRATE: i16 = 10;
/// From here on the answer tells the leader epoch.
const EPOCHS_FROM: i16 = 4;

fn handle(mut call: Call) -> Answer {
    let asked_version = call.version;
    call.version = call.version.min(LAST_IN_CRATE);
    call.later(move |call, request: ListOffsetsRequest| async move {
        let read_committed = request.isolation_level == 1;
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut seen = BTreeSet::new();
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in topic.partitions {
                let found = if asked_version < special_since(asked.timestamp) {
                    let message = format!("{} has no meaning in version {asked_version}", asked.timestamp);
                    Err(Failure::new(Code::UnsupportedVersion, message))
                } else if seen.insert(asked.partition_index) {
                    find(&call, &topic.name, &asked, read_committed).await
                } else {
                    Err(invalid("The partition is named more than once."))
                };
                partitions.push(respond(asked.partition_index, found, call.version));
            }
            topics
                .push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        ListOffsetsResponse::default().with_topics(topics)
    })
}

/// The version that brought a special timestamp (KIP-734, 405, 1005, 1023).
fn special_since(timestamp: i64) -> i16 {
    match timestamp {
        -3 => 7,
        -4 => 8,
        -5 => 9,
        -6 => 11,
        _ => 1,
    }
}

async fn find(
    call: &Call,
    topic: &str,
    asked: &ListOffsetsPartition,
    read_committed: bool,
) -> Result<FoundOffset, Failure> {
    let spec = OffsetSpec::from_kafka(asked.timestamp)
        .ok_or_else(|| invalid(format!("{} is no timestamp", asked.timestamp)))?;
    let partition = call.context.services.partitions.get_by_name(topic, asked.partition_index)?;
    let epoch = (asked.current_leader_epoch >= 0).then_some(asked.current_leader_epoch);
    partition.list_offset(spec, read_committed, epoch).await.map_err(|error| (&error).into())
}

fn respond(index: i32, found: Result<FoundOffset, Failure>, version: i16) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
    match found {
        Ok(found) => {
            let response = response.with_offset(found.offset).with_timestamp(found.timestamp_ms);
            if version >= EPOCHS_FROM {
                response.with_leader_epoch(found.leader_epoch.unwrap_or(-1))
            } else {
                response
            }
        }
        Err(failure) => response.with_error_code(failure.code).with_offset(-1).with_timestamp(-1),
    }
}
