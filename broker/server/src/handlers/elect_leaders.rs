//! ElectLeaders (KIP-460): partitions go back to their preferred leaders, the first of their replicas.
//!
//! An unclean election has nothing to elect: no replica here lacks what another one has.

use aquifer_image::{Image, MovePartition, Partition, Topic};
use aquifer_types::NodeId;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::{Failure, NONE};
use crate::guard::shapes;
use crate::view;

pub(crate) const API: Api =
    Api { key: 43, advertised: 0..=2, served_from: 0, shape: &shapes::ELECT_LEADERS, handle };

const PREFERRED: i8 = 0;

fn handle(call: Call) -> Answer {
    call.later(|call, request: ElectLeadersRequest| async move {
        let image = call.context.image();
        let preferred = request.election_type == PREFERRED;
        let mut results = Vec::new();
        match request.topic_partitions {
            Some(topics) => {
                for asked in topics {
                    let mut partitions = Vec::with_capacity(asked.partitions.len());
                    for index in asked.partitions {
                        partitions
                            .push(result(index, elect(&call, &image, &asked.topic, index, preferred).await));
                    }
                    results.push(of_topic(asked.topic, partitions));
                }
            }
            // All that need it; those that do not are not mentioned.
            None => {
                for topic in image.topics() {
                    let mut partitions = Vec::new();
                    for (index, partition) in image.partitions_of(topic.id) {
                        if preferred && partition.leader != preferred_leader(&image, topic, index, partition)
                        {
                            let elected = elect(&call, &image, &topic.name, index, preferred).await;
                            partitions.push(result(index, elected));
                        }
                    }
                    if !partitions.is_empty() {
                        results.push(of_topic(view::topic_name(&topic.name), partitions));
                    }
                }
            }
        }
        ElectLeadersResponse::default().with_error_code(NONE).with_replica_election_results(results)
    })
}

async fn elect(call: &Call, image: &Image, name: &str, index: i32, preferred: bool) -> Result<(), Failure> {
    let topic = image.topic_by_name(name);
    let found = topic.and_then(|topic| Some((topic, image.partition(topic.id, index)?)));
    let (topic, partition) = found.ok_or_else(|| {
        Failure::new(Code::UnknownTopicOrPartition, "This server does not host this topic-partition.")
    })?;
    let to = preferred_leader(image, topic, index, partition);
    if !preferred || partition.leader == to {
        return Err(Failure::new(Code::ElectionNotNeeded, "Leader election not needed for topic partition."));
    }
    let command = MovePartition { topic: topic.id, index, to, replicas: None };
    call.context.services.metadata.propose(command).await?;
    Ok(())
}

/// The first replica; without an assignment that is whoever leads.
fn preferred_leader(image: &Image, topic: &Topic, index: i32, partition: &Partition) -> Option<NodeId> {
    let assigned = image.assigned_replicas(topic.id, index).and_then(|replicas| replicas.first());
    assigned.copied().or(partition.leader)
}

fn result(index: i32, elected: Result<(), Failure>) -> PartitionResult {
    let result = PartitionResult::default().with_partition_id(index);
    match elected {
        Ok(()) => result.with_error_message(None),
        Err(failure) => result.with_error_code(failure.code).with_error_message(failure.text()),
    }
}

fn of_topic(topic: TopicName, partitions: Vec<PartitionResult>) -> ReplicaElectionResult {
    ReplicaElectionResult::default().with_topic(topic).with_partition_result(partitions)
}
