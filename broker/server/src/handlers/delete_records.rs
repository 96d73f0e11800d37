//! DeleteRecords: raises the start of partitions.

use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::Failure;
use crate::view;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 21, advertised: 0..=2, served_from: 0, shape: &shapes::DELETE_RECORDS, handle };

fn handle(call: Call) -> Answer {
    call.later(|call, request: DeleteRecordsRequest| async move {
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in topic.partitions {
                let result =
                    DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
                partitions.push(
                    match delete(&call, &topic.name, asked.partition_index, asked.offset).await {
                        Ok(start) => result.with_low_watermark(start),
                        Err(failure) => result.with_error_code(failure.code).with_low_watermark(-1),
                    },
                );
            }
            topics
                .push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions));
        }
        DeleteRecordsResponse::default().with_topics(topics)
    })
}

async fn delete(call: &Call, topic: &str, index: i32, offset: i64) -> Result<i64, Failure> {
    if view::is_internal(topic) {
        let message = format!("records of the internal topic {topic} are not deleted by clients");
        return Err(Failure::new(Code::InvalidTopicException, message));
    }
    let partition = call.context.services.partitions.get_by_name(topic, index)?;
    Ok(partition.delete_records(offset).await?)
}
