//! DescribeTopicPartitions: topics by name, in pages of partitions.

use std::collections::BTreeSet;

use aquifer_image::{Image, Topic};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::NONE;
use crate::view;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 75, advertised: 0..=0, served_from: 0, shape: &shapes::DESCRIBE_TOPIC_PARTITIONS, handle };

/// `max.request.partition.size.limit`: most partitions in one page.
const MAX_PARTITIONS: i32 = 2_000;

fn handle(call: Call) -> Answer {
    call.now(|call, request: DescribeTopicPartitionsRequest| {
        let image = call.context.image();
        let everything = request.topics.is_empty();
        let names: BTreeSet<String> = if everything {
            image.topics().map(|topic| topic.name.to_string()).collect()
        } else {
            request.topics.iter().map(|topic| topic.name.to_string()).collect()
        };
        let (from, mut index) = match &request.cursor {
            Some(cursor) => (cursor.topic_name.to_string(), cursor.partition_index.max(0)),
            None => (String::new(), 0),
        };
        let mut left = request.response_partition_limit.clamp(1, MAX_PARTITIONS);
        let mut response = DescribeTopicPartitionsResponse::default();
        let mut names = names.into_iter().filter(|name| *name >= from).peekable();
        while let Some(name) = names.next() {
            if name != from {
                index = 0;
            }
            let Some(topic) = image.topic_by_name(&name) else {
                response.topics.push(unknown(&name));
                continue;
            };
            let last = topic.partition_count.min(index.saturating_add(left));
            response.topics.push(describe(call, &image, topic, index..last));
            left -= (last - index).max(0);
            let next = if last < topic.partition_count {
                Some((name, last))
            } else if left <= 0 {
                // Exactly full: the next page, if there is one, begins with the next topic.
                names.next().map(|name| (name, 0))
            } else {
                continue;
            };
            response.next_cursor = next.map(|(name, index)| {
                Cursor::default().with_topic_name(view::topic_name(&name)).with_partition_index(index)
            });
            return response;
        }
        response
    })
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let code = if aquifer_image::check_topic_name(name).is_ok() {
        Code::UnknownTopicOrPartition
    } else {
        Code::InvalidTopicException
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(view::topic_name(name)))
}

fn describe(
    call: &Call,
    image: &Image,
    topic: &Topic,
    range: std::ops::Range<i32>,
) -> DescribeTopicPartitionsResponseTopic {
    let partitions = range
        .filter_map(|index| Some((index, image.partition(topic.id, index)?)))
        .map(|(index, partition)| {
            let replicas = view::replicas(image, topic, partition);
            let broker = view::live_leader(image, partition);
            let leader = broker.filter(|broker| broker.endpoint(&call.peer.listener).is_some());
            let (error, leader) = match leader {
                Some(broker) => (NONE, view::broker_id(broker.node)),
                None => (Code::LeaderNotAvailable.code(), BrokerId(-1)),
            };
            DescribeTopicPartitionsResponsePartition::default()
                .with_error_code(error)
                .with_partition_index(index)
                .with_leader_id(leader)
                .with_leader_epoch(view::leader_epoch(partition))
                .with_isr_nodes(replicas.clone())
                .with_replica_nodes(replicas)
                .with_eligible_leader_replicas(Some(Vec::new()))
                .with_last_known_elr(Some(Vec::new()))
        })
        .collect();
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(view::topic_name(&topic.name)))
        .with_topic_id(topic.id.0)
        .with_is_internal(view::is_internal(&topic.name))
        .with_partitions(partitions)
        .with_topic_authorized_operations(view::TOPIC_OPERATIONS)
}
