//! Topics and partitions.

use std::sync::Arc;

use aquifer_types::{LeaderEpoch, NodeId, StreamId, TopicId};

use super::check_count;
use super::objects::release_all;
use super::registry::check_config;
use crate::command::{CreatePartitions, CreateTopic, DeleteTopic, Outcome};
use crate::entities::{Partition, Stream, StreamKind, Topic};
use crate::image::Image;
use crate::limits::{MAX_CONFIGS_PER_RESOURCE, MAX_PARTITIONS_PER_TOPIC};
use crate::names::{canonical, check_topic_name};
use crate::rejection::Rejection;

pub(super) fn create(image: &mut Image, command: &CreateTopic) -> Result<Outcome, Rejection> {
    let (name, id) = (&command.name, command.id);
    check_topic_name(name)?;
    if let Some(existing) = image.topic_by_name(name) {
        return if existing.id == id {
            Ok(Outcome::TopicCreated { id })
        } else {
            Err(Rejection::TopicExists { name: name.clone(), id: existing.id })
        };
    }
    let canonical_name = canonical(name);
    if let Some(existing) = image.canonical_names.get(&canonical_name) {
        let existing = image.topics[existing].name.to_string();
        return Err(Rejection::TopicNameCollides { name: name.clone(), existing });
    }
    if let Some(existing) = image.topic(id) {
        return Err(Rejection::TopicIdExists { id, name: existing.name.to_string() });
    }
    if command.replication_factor < 1 {
        let given = command.replication_factor;
        return Err(Rejection::InvalidReplicationFactor { topic: name.clone(), given });
    }
    check_partition_count(name, command.leaders.len())?;
    check_leaders(image, &command.leaders)?;
    check_count("configs of a topic", command.configs.len(), 0, MAX_CONFIGS_PER_RESOURCE)?;
    for (name, value) in &command.configs {
        check_config(name, Some(value))?;
    }

    let name: Arc<str> = name.as_str().into();
    let topic = Topic {
        id,
        name: Arc::clone(&name),
        partition_count: 0,
        replication_factor: command.replication_factor,
        configs: command.configs.iter().cloned().collect(),
    };
    image.topics.insert(id, Arc::new(topic));
    image.topic_names.insert(name, id);
    image.canonical_names.insert(canonical_name, id);
    add_partitions(image, id, &command.leaders);
    Ok(Outcome::TopicCreated { id })
}

pub(super) fn create_partitions(image: &mut Image, command: &CreatePartitions) -> Result<Outcome, Rejection> {
    let Some(topic) = image.topic(command.id) else {
        return Err(Rejection::UnknownTopicId { id: command.id });
    };
    let (present, added) = (topic.partition_count, command.leaders.len());
    let invalid = |reason| Rejection::InvalidPartitions { topic: topic.name.to_string(), reason };
    if command.total <= present {
        let total = command.total;
        return Err(invalid(format!("it has {present} partitions, which cannot become {total}")));
    }
    if usize::try_from(command.total - present) != Ok(added) {
        let total = command.total;
        let reason = format!("{added} leaders were given to grow from {present} to {total} partitions");
        return Err(invalid(reason));
    }
    check_partition_count(&topic.name, added.saturating_add(usize::try_from(present).unwrap_or(usize::MAX)))?;
    check_leaders(image, &command.leaders)?;
    add_partitions(image, command.id, &command.leaders);
    Ok(Outcome::Done)
}

fn check_partition_count(topic: &str, count: usize) -> Result<(), Rejection> {
    if (1..=MAX_PARTITIONS_PER_TOPIC).contains(&count) {
        return Ok(());
    }
    let reason = format!("{count} partitions were asked for, 1 to {MAX_PARTITIONS_PER_TOPIC} can be had");
    Err(Rejection::InvalidPartitions { topic: topic.to_owned(), reason })
}

fn check_leaders(image: &Image, leaders: &[NodeId]) -> Result<(), Rejection> {
    match leaders.iter().find(|leader| image.broker(**leader).is_none()) {
        Some(&node) => Err(Rejection::UnknownBroker { node }),
        None => Ok(()),
    }
}

/// Appends one partition per leader, with its two streams.
fn add_partitions(image: &mut Image, id: TopicId, leaders: &[NodeId]) {
    let topic = Arc::make_mut(image.topics.get_mut(&id).expect("the caller looked it up or inserted it"));
    let first = topic.partition_count;
    topic.partition_count += i32::try_from(leaders.len()).expect("at most MAX_PARTITIONS_PER_TOPIC");
    for (index, &leader) in (first..).zip(leaders) {
        let mut stream = |kind| {
            let stream = StreamId(image.next_stream);
            image.next_stream += 1;
            image.streams.insert(stream, Stream::new(stream, kind, id, index));
            stream
        };
        let (data, meta) = (stream(StreamKind::Data), stream(StreamKind::Meta));
        let (leader_epoch, moving) = (LeaderEpoch(0), None);
        let partition = Partition { data, meta, leader: Some(leader), leader_epoch, moving };
        image.partitions.insert((id, index), partition);
        image.led.entry(leader).or_default().insert((id, index));
    }
    image.changed.topics = image.applied;
}

pub(super) fn delete(image: &mut Image, command: &DeleteTopic) -> Result<Outcome, Rejection> {
    let Some(topic) = image.topics.remove(&command.id) else {
        return Err(Rejection::UnknownTopicId { id: command.id });
    };
    image.topic_names.remove(&topic.name);
    image.canonical_names.remove(&canonical(&topic.name));
    for index in 0..topic.partition_count {
        let key = (topic.id, index);
        let partition = image.partitions.remove(&key).expect("a topic has all partitions below its count");
        image.assigned.remove(&key);
        if let Some(leader) = partition.leader {
            let led = image.led.get_mut(&leader).expect("the led index knows each leader");
            led.remove(&key);
            if led.is_empty() {
                image.led.remove(&leader);
            }
        }
        for stream in [partition.data, partition.meta] {
            release_all(image, stream, command.now_ms);
            image.streams.remove(&stream);
        }
    }
    image.changed.topics = image.applied;
    Ok(Outcome::Done)
}

impl Stream {
    fn new(id: StreamId, kind: StreamKind, topic: TopicId, partition: i32) -> Self {
        Self { id, kind, topic, partition, start: 0, end: 0, bytes: 0, records: 0, ranges: 0 }
    }
}
