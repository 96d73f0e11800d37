//! OffsetCommit: answers when the offsets are durable.

use aquifer_coordinator::{CommitRequest, OffsetToCommit, TopicPartition};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::{self, NONE};
use crate::guard::shapes;
use crate::view::{self, owned};

/// Version 10 names topics by id; the wire crate cannot decode it yet.
pub(crate) const API: Api =
    Api { key: 8, advertised: 2..=9, served_from: 2, shape: &shapes::OFFSET_COMMIT, handle };

/// From here on clients know GROUP_ID_NOT_FOUND as an answer to a commit.
const GROUP_ID_NOT_FOUND_FROM: i16 = 9;
/// `retention_time_ms` of a client that leaves it to the broker.
const DEFAULT_RETENTION: i64 = -1;

fn handle(call: Call) -> Answer {
    call.later(|call, request: OffsetCommitRequest| async move {
        let image = call.context.image();
        // The answer with the partitions that exist still open: they are filled in from the coordinator's results.
        let mut topics = Vec::with_capacity(request.topics.len());
        let mut offsets = Vec::new();
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in topic.partitions {
                let index = partition.partition_index;
                let known = view::has_partition(&image, &topic.name, index);
                let code = if known { NONE } else { Code::UnknownTopicOrPartition.code() };
                partitions.push(
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(index)
                        .with_error_code(code),
                );
                if known {
                    let offset = OffsetToCommit {
                        offset: partition.committed_offset,
                        leader_epoch: partition.committed_leader_epoch,
                        metadata: owned(partition.committed_metadata),
                    };
                    offsets
                        .push((TopicPartition { topic: topic.name.to_string(), partition: index }, offset));
                }
            }
            topics
                .push(OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions));
        }
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
            let committed = call.context.services.groups.commit_offsets(request).await;
            let open = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            let open = open.filter(|partition| partition.error_code == NONE);
            match committed {
                // In the order of the request, so in the order of what is open.
                Ok(results) => open
                    .zip(results)
                    .for_each(|(partition, one)| partition.error_code = errors::group_result(one.result)),
                Err(error) => open.for_each(|partition| partition.error_code = errors::group_code(error)),
            }
        }
        OffsetCommitResponse::default().with_topics(topics)
    })
}
