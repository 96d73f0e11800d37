//! OffsetDelete: forgets offsets of topics that the group is not subscribed to.

use aquifer_coordinator::DeleteOffsetsRequest;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse, TopicName};

use super::partition_codes::{PartitionCode, PartitionCodes};
use crate::dispatch::{Answer, Api, Call};
use crate::errors;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 47, advertised: 0..=0, served_from: 0, shape: &shapes::OFFSET_DELETE, handle };

fn handle(call: Call) -> Answer {
    call.later(|call, request: OffsetDeleteRequest| async move {
        let asked = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(|partition| (partition.partition_index, ()));
            (topic.name, partitions)
        });
        let (mut codes, existing) = PartitionCodes::new(&call.context.image(), asked);
        let partitions = existing.into_iter().map(|(partition, ())| partition).collect();
        // Asked even if nothing is left to delete: an unknown group is an error of its own.
        let request = DeleteOffsetsRequest { group_id: request.group_id.to_string(), partitions };
        match call.context.services.groups.delete_offsets(request).await {
            Ok(results) => {
                codes.fill(results.into_iter().map(|(_, result)| result));
                OffsetDeleteResponse::default().with_topics(codes.into_topics(topic))
            }
            Err(error) => OffsetDeleteResponse::default().with_error_code(errors::group_code(error)),
        }
    })
}

fn topic(name: TopicName, partitions: Vec<PartitionCode>) -> OffsetDeleteResponseTopic {
    let partitions = partitions.into_iter().map(|(index, code)| {
        OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(code)
    });
    OffsetDeleteResponseTopic::default().with_name(name).with_partitions(partitions.collect())
}
