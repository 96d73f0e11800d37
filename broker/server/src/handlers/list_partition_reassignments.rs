//! ListPartitionReassignments: the partitions that are to move. It takes well under a second, so that there is rarely
//! one to see.

use std::collections::BTreeMap;

use aquifer_image::{Image, Partition, Topic};
use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::view;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 46, advertised: 0..=0, served_from: 0, shape: &shapes::LIST_PARTITION_REASSIGNMENTS, handle };

fn handle(call: Call) -> Answer {
    call.now(|call, request: ListPartitionReassignmentsRequest| {
        let image = call.context.image();
        let mut topics = BTreeMap::<&str, Vec<OngoingPartitionReassignment>>::new();
        for ((id, index), _) in image.moving() {
            let found = image.topic(id).and_then(|topic| Some((topic, image.partition(id, index)?)));
            let Some((topic, partition)) = found else { continue };
            let wanted = request.topics.as_ref().is_none_or(|asked| {
                asked
                    .iter()
                    .any(|asked| *asked.name == *topic.name && asked.partition_indexes.contains(&index))
            });
            if wanted {
                topics.entry(&topic.name).or_default().push(ongoing(&image, topic, index, partition));
            }
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            OngoingTopicReassignment::default().with_name(view::topic_name(name)).with_partitions(partitions)
        });
        ListPartitionReassignmentsResponse::default().with_error_message(None).with_topics(topics.collect())
    })
}

fn ongoing(image: &Image, topic: &Topic, index: i32, partition: &Partition) -> OngoingPartitionReassignment {
    let added = partition.moving.map(|moving| view::broker_id(moving.to));
    let leader = partition.leader.map(view::broker_id);
    let mut replicas = view::replicas(image, topic, partition);
    replicas.extend(added.filter(|added| !replicas.contains(added)));
    let stays = image
        .assigned_replicas(topic.id, index)
        .is_some_and(|assigned| partition.leader.is_some_and(|leader| assigned.contains(&leader)));
    OngoingPartitionReassignment::default()
        .with_partition_index(index)
        .with_replicas(replicas)
        .with_adding_replicas(added.into_iter().collect())
        .with_removing_replicas(leader.filter(|_| !stays).into_iter().collect())
}
