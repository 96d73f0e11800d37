//! DescribeLogDirs: the bytes of each partition, in the WAL and in the object store together.

use std::collections::BTreeMap;

use aquifer_image::{Image, Topic};
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::view;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 35, advertised: 1..=4, served_from: 1, shape: &shapes::DESCRIBE_LOG_DIRS, handle };

fn handle(call: Call) -> Answer {
    call.now(|call, request: DescribeLogDirsRequest| {
        let image = call.context.image();
        let topics = match request.topics {
            None => {
                image.topics().map(|topic| sizes(call, &image, topic, 0..topic.partition_count)).collect()
            }
            Some(asked) => {
                let mut by_name = BTreeMap::<_, Vec<i32>>::new();
                for topic in asked {
                    by_name.entry(topic.topic).or_default().extend(topic.partitions);
                }
                let known = by_name.into_iter().filter_map(|(name, mut indexes)| {
                    indexes.sort_unstable();
                    indexes.dedup();
                    Some((image.topic_by_name(&name)?, indexes))
                });
                known.map(|(topic, indexes)| sizes(call, &image, topic, indexes)).collect::<Vec<_>>()
            }
        };
        let topics = topics.into_iter().filter(|topic| !topic.partitions.is_empty()).collect();
        let dir = DescribeLogDirsResult::default()
            .with_log_dir(view::text(&*call.context.config.log_dir))
            .with_topics(topics)
            .with_total_bytes(-1)
            .with_usable_bytes(-1);
        DescribeLogDirsResponse::default().with_results(vec![dir])
    })
}

fn sizes(
    call: &Call,
    image: &Image,
    topic: &Topic,
    indexes: impl IntoIterator<Item = i32>,
) -> DescribeLogDirsTopic {
    let node = call.context.config.node;
    let led = indexes.into_iter().filter_map(|index| {
        let partition = image.partition(topic.id, index)?;
        (partition.leader == Some(node)).then_some((index, partition))
    });
    let partitions = led
        .map(|(index, partition)| {
            let offloaded = image.stream(partition.data).map_or(0, |stream| stream.bytes);
            let open = call.context.services.partitions.get(topic.id, index).ok();
            let waiting = open.map_or(0, |partition| partition.tail_bytes());
            let bytes = i64::try_from(offloaded.saturating_add(waiting)).unwrap_or(i64::MAX);
            DescribeLogDirsPartition::default().with_partition_index(index).with_partition_size(bytes)
        })
        .collect();
    DescribeLogDirsTopic::default().with_name(view::topic_name(&topic.name)).with_partitions(partitions)
}
