//! OffsetDelete: forgets offsets of topics that the group is not subscribed to.

use aquifer_coordinator::{DeleteOffsetsRequest, TopicPartition};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::{self, NONE};
use crate::guard::shapes;
use crate::view;

pub(crate) const API: Api =
    Api { key: 47, advertised: 0..=0, served_from: 0, shape: &shapes::OFFSET_DELETE, handle };

fn handle(call: Call) -> Answer {
    call.later(|call, request: OffsetDeleteRequest| async move {
        let image = call.context.image();
        // As in OffsetCommit: what exists is filled in from the coordinator's results.
        let mut topics = Vec::with_capacity(request.topics.len());
        let mut asked = Vec::new();
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in topic.partitions {
                let index = partition.partition_index;
                let known = view::has_partition(&image, &topic.name, index);
                let code = if known { NONE } else { Code::UnknownTopicOrPartition.code() };
                partitions.push(
                    OffsetDeleteResponsePartition::default()
                        .with_partition_index(index)
                        .with_error_code(code),
                );
                if known {
                    asked.push(TopicPartition { topic: topic.name.to_string(), partition: index });
                }
            }
            topics
                .push(OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(partitions));
        }
        // Asked even if nothing is left to delete: an unknown group is an error of its own.
        let request = DeleteOffsetsRequest { group_id: request.group_id.to_string(), partitions: asked };
        match call.context.services.groups.delete_offsets(request).await {
            Ok(results) => {
                let open = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
                open.filter(|partition| partition.error_code == NONE)
                    .zip(results)
                    .for_each(|(partition, (_, result))| partition.error_code = errors::group_result(result));
                OffsetDeleteResponse::default().with_topics(topics)
            }
            Err(error) => OffsetDeleteResponse::default().with_error_code(errors::group_code(error)),
        }
    })
}
