//! CreatePartitions: more partitions for existing topics, one result per topic.

use std::collections::BTreeMap;

use aquifer_controller::place;
use aquifer_image::CreatePartitions;
use aquifer_types::NodeId;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::{Failure, invalid, unknown_partition};
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 37, advertised: 0..=3, served_from: 0, shape: &shapes::CREATE_PARTITIONS, handle };

fn handle(call: Call) -> Answer {
    call.later(|call, request: CreatePartitionsRequest| async move {
        let mut named = BTreeMap::<_, usize>::new();
        for topic in &request.topics {
            *named.entry(topic.name.clone()).or_default() += 1;
        }
        let mut results = Vec::with_capacity(named.len());
        for topic in request.topics {
            let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
            let done = match named.get_mut(&topic.name) {
                Some(count) if *count > 1 => {
                    *count = 0;
                    Err(invalid("Duplicate topic name."))
                }
                Some(0) => continue,
                _ => one(&call, &topic, request.validate_only).await,
            };
            results.push(match done {
                Ok(()) => result,
                Err(failure) => result.with_error_code(failure.code).with_error_message(failure.text()),
            });
        }
        CreatePartitionsResponse::default().with_results(results)
    })
}

async fn one(call: &Call, asked: &CreatePartitionsTopic, validate_only: bool) -> Result<(), Failure> {
    let image = call.context.image();
    let topic = image.topic_by_name(&asked.name).ok_or_else(unknown_partition)?;
    let present = topic.partition_count;
    let wrong = |message: String| Err(Failure::new(Code::InvalidPartitions, message));
    if asked.count == present {
        return wrong(format!("Topic already has {present} partition(s)."));
    }
    if asked.count < present {
        return wrong(format!(
            "The topic {} currently has {present} partition(s); {} would not be an increase.",
            topic.name, asked.count
        ));
    }
    let more = usize::try_from(asked.count - present).unwrap_or(0);
    let leaders = match &asked.assignments {
        None => place(&image, more)?,
        Some(assignments) => {
            let assigned = |message: &str| Failure::new(Code::InvalidReplicaAssignment, message);
            if assignments.len() != more {
                return Err(assigned(&format!(
                    "Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.",
                    assignments.len()
                )));
            }
            let leader = |ids: &[kafka_protocol::messages::BrokerId]| {
                let first = ids.first().and_then(|id| NodeId::from_kafka(id.0));
                first.filter(|node| image.broker(*node).is_some())
            };
            assignments
                .iter()
                .map(|assignment| leader(&assignment.broker_ids))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| assigned("An assignment begins with a broker that is not registered."))?
        }
    };
    if !validate_only {
        let command = CreatePartitions { id: topic.id, total: asked.count, leaders };
        call.context.services.metadata.propose(command).await?;
    }
    Ok(())
}
