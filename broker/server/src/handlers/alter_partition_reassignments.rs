//! AlterPartitionReassignments (KIP-455): other replicas for partitions, or an end to what is going on.
//!
//! Replicas are nominal here: copies are the storage's business, and no history is copied. As in Kafka a leader that
//! is among the new replicas stays, and the first of them becomes the preferred one; otherwise that one takes over.

use std::collections::BTreeSet;

use aquifer_image::{Broker, Image, MovePartition};
use aquifer_types::NodeId;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, BrokerId,
};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::Failure;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 45, advertised: 0..=1, served_from: 0, shape: &shapes::ALTER_PARTITION_REASSIGNMENTS, handle };

fn handle(call: Call) -> Answer {
    call.later(|call, request: AlterPartitionReassignmentsRequest| async move {
        let factor_may_change = request.allow_replication_factor_change;
        let image = call.context.image();
        let mut moves = Vec::new();
        let checked: Vec<_> = request
            .topics
            .into_iter()
            .map(|topic| {
                let partitions = topic.partitions.iter().map(|asked| {
                    let planned = plan(&image, &topic.name, asked, factor_may_change);
                    (asked.partition_index, planned.map(|asked| moves.push(asked)))
                });
                let partitions: Vec<_> = partitions.collect();
                (topic.name, partitions)
            })
            .collect();
        // One entry for all: it takes hold of a thousand partitions at once.
        let done = super::move_partitions(&call, moves).await;
        let topics = checked.into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(index, planned)| {
                let result = ReassignablePartitionResponse::default().with_partition_index(index);
                match planned.and_then(|()| done.clone()) {
                    Ok(()) => result.with_error_message(None),
                    Err(failure) => result.with_error_code(failure.code).with_error_message(failure.text()),
                }
            });
            ReassignableTopicResponse::default().with_name(name).with_partitions(partitions.collect())
        });
        AlterPartitionReassignmentsResponse::default()
            .with_allow_replication_factor_change(factor_may_change)
            .with_error_message(None)
            .with_responses(topics.collect())
    })
}

/// What a wish means, or why it makes no sense.
fn plan(
    image: &Image,
    name: &str,
    asked: &ReassignablePartition,
    factor_may_change: bool,
) -> Result<MovePartition, Failure> {
    let index = asked.partition_index;
    let (topic, partition) = super::find_partition(image, name, index)?;
    let (to, replicas) = match &asked.replicas {
        None if partition.moving.is_none() => {
            return Err(Failure::new(
                Code::NoReassignmentInProgress,
                "No partition reassignment is in progress.",
            ));
        }
        None => (None, None),
        Some(replicas) => {
            let replicas = registered(image, replicas)?;
            let present = usize::try_from(topic.replication_factor).unwrap_or(1);
            let present = image.assigned_replicas(topic.id, index).map_or(present, <[NodeId]>::len);
            if !factor_may_change && replicas.len() != present {
                let message = format!(
                    "The replication factor would change from {present} to {}, which was not allowed.",
                    replicas.len()
                );
                return Err(Failure::new(Code::InvalidReplicationFactor, message));
            }
            let stays = partition.leader.filter(|leader| replicas.contains(leader));
            let able = |node: &NodeId| image.broker(*node).is_some_and(Broker::takes_more);
            let next = stays.or_else(|| replicas.iter().copied().find(able)).ok_or_else(|| {
                let message =
                    "None of the replicas is a broker that is alive and not being drained or stopped.";
                Failure::new(Code::InvalidReplicaAssignment, message)
            })?;
            (Some(next), Some(replicas))
        }
    };
    Ok(MovePartition { topic: topic.id, index, to, replicas })
}

fn registered(image: &Image, replicas: &[BrokerId]) -> Result<Vec<NodeId>, Failure> {
    let wrong = |message: String| Failure::new(Code::InvalidReplicaAssignment, message);
    if replicas.is_empty() {
        return Err(wrong("The replicas of a partition cannot be an empty list.".to_owned()));
    }
    let distinct: BTreeSet<_> = replicas.iter().collect();
    if distinct.len() != replicas.len() {
        return Err(wrong("The replicas name a broker twice.".to_owned()));
    }
    let known = |id: &BrokerId| {
        let node = NodeId::from_kafka(id.0).filter(|node| image.broker(*node).is_some());
        node.ok_or_else(|| wrong(format!("Broker {} is not registered.", id.0)))
    };
    replicas.iter().map(known).collect()
}
