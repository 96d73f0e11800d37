//! OffsetCommit: answers when the offsets are durable.

use aquifer_coordinator::{CommitRequest, OffsetToCommit};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, TopicName};

use super::partition_codes::{PartitionCode, PartitionCodes};
use crate::dispatch::{Answer, Api, Call};
use crate::view::owned;
use aquifer_guard::shapes;

/// Version 10 names topics by id; the wire crate cannot decode it yet.
pub(crate) const API: Api =
    Api { key: 8, advertised: 2..=9, served_from: 2, shape: &shapes::OFFSET_COMMIT, handle };

/// From here on clients know GROUP_ID_NOT_FOUND as an answer to a commit.
const GROUP_ID_NOT_FOUND_FROM: i16 = 9;
/// `retention_time_ms` of a client that leaves it to the broker.
const DEFAULT_RETENTION: i64 = -1;

fn handle(call: Call) -> Answer {
    call.later(|call, request: OffsetCommitRequest| async move {
        let asked = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(|partition| {
                let offset = OffsetToCommit {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: owned(partition.committed_metadata),
                };
                (partition.partition_index, offset)
            });
            (topic.name, partitions)
        });
        let (mut codes, offsets) = PartitionCodes::new(&call.context.image(), asked);
        if !offsets.is_empty() {
            let request = CommitRequest {
                group_id: request.group_id.to_string(),
                generation_id: request.generation_id_or_member_epoch,
                member_id: request.member_id.to_string(),
                instance_id: owned(request.group_instance_id),
                retention_ms: Some(request.retention_time_ms).filter(|ms| *ms != DEFAULT_RETENTION),
                understands_group_id_not_found: call.version >= GROUP_ID_NOT_FOUND_FROM,
                offsets,
            };
            match call.context.services.groups.commit_offsets(request).await {
                Ok(results) => codes.fill(results.into_iter().map(|one| one.result)),
                Err(error) => codes.refuse(error),
            }
        }
        OffsetCommitResponse::default().with_topics(codes.into_topics(topic))
    })
}

fn topic(name: TopicName, partitions: Vec<PartitionCode>) -> OffsetCommitResponseTopic {
    let partitions = partitions.into_iter().map(|(index, code)| {
        OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code)
    });
    OffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions.collect())
}
