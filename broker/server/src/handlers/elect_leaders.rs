//! ElectLeaders (KIP-460): partitions go back to their preferred leaders, the first of their replicas.
//!
//! An unclean election has nothing to elect: no replica here lacks what another one has.

use aquifer_image::{Broker, Image, MovePartition, Partition, Topic};
use aquifer_types::NodeId;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::{Failure, NONE};
use crate::view;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 43, advertised: 0..=2, served_from: 0, shape: &shapes::ELECT_LEADERS, handle };

const PREFERRED: i8 = 0;

fn handle(call: Call) -> Answer {
    call.later(|call, request: ElectLeadersRequest| async move {
        let image = call.context.image();
        let preferred = request.election_type == PREFERRED;
        let mut moves = Vec::new();
        let mut planned = Vec::new();
        match request.topic_partitions {
            Some(topics) => {
                for asked in topics {
                    let of_one = asked.partitions.iter().map(|index| {
                        let wish = plan(&image, &asked.topic, *index, preferred);
                        (*index, wish.map(|wish| moves.push(wish)))
                    });
                    let of_one: Vec<_> = of_one.collect();
                    planned.push((asked.topic, of_one));
                }
            }
            // All that need it; those that do not are not mentioned.
            None => {
                for topic in image.topics().filter(|_| preferred) {
                    let of_one = image.partitions_of(topic.id).filter_map(|(index, _)| {
                        match plan(&image, &topic.name, index, preferred) {
                            Err(failure) if failure.code == Code::ElectionNotNeeded.code() => None,
                            wish => Some((index, wish.map(|wish| moves.push(wish)))),
                        }
                    });
                    let of_one: Vec<_> = of_one.collect();
                    if !of_one.is_empty() {
                        planned.push((view::topic_name(&topic.name), of_one));
                    }
                }
            }
        }
        let done = super::move_partitions(&call, moves).await;
        let results = planned.into_iter().map(|(topic, partitions)| {
            let partitions =
                partitions.into_iter().map(|(index, wish)| result(index, wish.and_then(|()| done.clone())));
            ReplicaElectionResult::default().with_topic(topic).with_partition_result(partitions.collect())
        });
        ElectLeadersResponse::default().with_error_code(NONE).with_replica_election_results(results.collect())
    })
}

fn plan(image: &Image, name: &str, index: i32, preferred: bool) -> Result<MovePartition, Failure> {
    let (topic, partition) = super::find_partition(image, name, index)?;
    let to = preferred_leader(image, topic, index, partition);
    if !preferred || partition.leader == to {
        return Err(Failure::new(Code::ElectionNotNeeded, "Leader election not needed for topic partition."));
    }
    if !to.and_then(|to| image.broker(to)).is_some_and(Broker::takes_more) {
        let message = "The preferred leader is not alive, or it is being drained or stopped.";
        return Err(Failure::new(Code::PreferredLeaderNotAvailable, message));
    }
    Ok(MovePartition { topic: topic.id, index, to, replicas: None })
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
