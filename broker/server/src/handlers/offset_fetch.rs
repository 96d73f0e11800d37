//! OffsetFetch: the committed offsets of one group, or of several since version 8.

use aquifer_coordinator::{FetchOffsetsRequest, FetchOffsetsResponse, FetchedOffset, TopicPartition};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::{self, NONE};
use crate::view::{text, topic_name};
use aquifer_guard::shapes;

/// Version 10 names topics by id; the wire crate cannot decode it yet.
pub(crate) const API: Api =
    Api { key: 9, advertised: 1..=9, served_from: 1, shape: &shapes::OFFSET_FETCH, handle };

/// From here on an error stands beside the topics, before it in each partition.
const ERROR_FROM: i16 = 2;
/// From here on a partition tells its leader epoch.
const LEADER_EPOCH_FROM: i16 = 5;
/// From here on several groups are asked for at once (KIP-709).
const GROUPS_FROM: i16 = 8;

/// Partitions asked for, by topic; `None` for all.
type Asked = Option<Vec<(TopicName, Vec<i32>)>>;

fn handle(call: Call) -> Answer {
    call.later(|call, request: OffsetFetchRequest| async move {
        if call.version < GROUPS_FROM {
            let asked: Asked = request.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
            });
            let fetched = fetch(&call, &request.group_id, asked.clone()).await;
            return single(call.version, asked, fetched);
        }
        let mut groups = Vec::with_capacity(request.groups.len());
        for group in request.groups {
            let asked: Asked = group.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
            });
            let response = OffsetFetchResponseGroup::default();
            let response = match fetch(&call, &group.group_id, asked).await {
                Ok(offsets) => response.with_error_code(NONE).with_topics(by_topic(offsets, group_topic)),
                Err(error) => response.with_error_code(errors::group_code(error)),
            };
            groups.push(response.with_group_id(group.group_id));
        }
        OffsetFetchResponse::default().with_groups(groups)
    })
}

async fn fetch(call: &Call, group_id: &str, asked: Asked) -> FetchOffsetsResponse {
    let partitions = asked.map(|topics| {
        let partitions = topics.into_iter().flat_map(|(topic, indexes)| {
            let topic = topic.to_string();
            indexes.into_iter().map(move |partition| TopicPartition { topic: topic.clone(), partition })
        });
        partitions.collect()
    });
    let request = FetchOffsetsRequest { group_id: group_id.to_owned(), partitions };
    call.context.services.groups.fetch_offsets(request).await
}

fn single(version: i16, asked: Asked, fetched: FetchOffsetsResponse) -> OffsetFetchResponse {
    let topic = |name: String, offsets: Vec<FetchedOffset>| {
        let partitions = offsets.into_iter().map(|fetched| {
            let partition = OffsetFetchResponsePartition::default()
                .with_partition_index(fetched.partition.partition)
                .with_committed_offset(fetched.offset)
                .with_metadata(Some(text(fetched.metadata)))
                .with_error_code(NONE);
            if version >= LEADER_EPOCH_FROM {
                partition.with_committed_leader_epoch(fetched.leader_epoch)
            } else {
                partition
            }
        });
        OffsetFetchResponseTopic::default().with_name(topic_name(&name)).with_partitions(partitions.collect())
    };
    match fetched {
        Ok(offsets) => OffsetFetchResponse::default().with_topics(by_topic(offsets, topic)),
        Err(error) if version >= ERROR_FROM => {
            OffsetFetchResponse::default().with_error_code(errors::group_code(error))
        }
        Err(error) => {
            let code = errors::group_code(error);
            let failed = |(name, indexes): (TopicName, Vec<i32>)| {
                let partitions = indexes.into_iter().map(|index| {
                    OffsetFetchResponsePartition::default()
                        .with_partition_index(index)
                        .with_committed_offset(-1)
                        .with_metadata(Some(text("")))
                        .with_error_code(code)
                });
                OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
            };
            OffsetFetchResponse::default().with_topics(asked.into_iter().flatten().map(failed).collect())
        }
    }
}

fn group_topic(name: String, offsets: Vec<FetchedOffset>) -> OffsetFetchResponseTopics {
    let partitions = offsets.into_iter().map(|fetched| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(fetched.partition.partition)
            .with_committed_offset(fetched.offset)
            .with_committed_leader_epoch(fetched.leader_epoch)
            .with_metadata(Some(text(fetched.metadata)))
            .with_error_code(NONE)
    });
    OffsetFetchResponseTopics::default().with_name(topic_name(&name)).with_partitions(partitions.collect())
}

/// Offsets come topic by topic, as they were asked for or sorted.
fn by_topic<T>(offsets: Vec<FetchedOffset>, topic: impl Fn(String, Vec<FetchedOffset>) -> T) -> Vec<T> {
    let mut topics = Vec::new();
    let mut offsets = offsets.into_iter().peekable();
    while let Some(first) = offsets.next() {
        let name = first.partition.topic.clone();
        let mut same = vec![first];
        while let Some(next) = offsets.next_if(|next| next.partition.topic == name) {
            same.push(next);
        }
        topics.push(topic(name, same));
    }
    topics
}

#[cfg(test)]
mod tests {
    use aquifer_coordinator::GroupError;
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;

    use super::*;

    fn offset(topic: &str, partition: i32) -> FetchedOffset {
        let partition = TopicPartition { topic: topic.into(), partition };
        FetchedOffset { partition, offset: 5, leader_epoch: 2, metadata: "note".into() }
    }

    #[test]
    fn every_old_version_can_say_everything() {
        for version in 1..GROUPS_FROM {
            let asked = Some(vec![(topic_name("t"), vec![0, 1])]);
            let fetched =
                single(version, asked.clone(), Ok(vec![offset("t", 0), offset("t", 1), offset("u", 0)]));
            assert_eq!((fetched.topics.len(), fetched.topics[0].partitions.len()), (2, 2));
            fetched.encode(&mut BytesMut::new(), version).expect("encodable");
            let failed = single(version, asked, Err(GroupError::NotCoordinator));
            assert_eq!(failed.topics.len(), if version < ERROR_FROM { 1 } else { 0 });
            failed.encode(&mut BytesMut::new(), version).expect("encodable");
        }
    }
}
