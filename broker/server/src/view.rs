//! What clients are shown of the metadata.

use aquifer_image::{Broker, Endpoint, Image, Partition, Topic};
use aquifer_types::NodeId;
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;

/// Operations that a client is told it may do while there is no authorizer: Kafka's bits.
pub(crate) const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
/// READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
pub(crate) const TOPIC_OPERATIONS: i32 =
    1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
/// READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
pub(crate) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;
/// What stands for "not asked".
pub(crate) const NO_OPERATIONS: i32 = i32::MIN;

/// Topics that brokers write themselves.
const INTERNAL_TOPICS: [&str; 2] = ["__consumer_offsets", "__transaction_state"];

/// A node id as the wire has it.
pub(crate) fn broker_id(node: NodeId) -> BrokerId {
    BrokerId(i32::try_from(node.0).unwrap_or(i32::MAX))
}

/// A topic name as the wire has it.
pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A string as the wire has it.
pub(crate) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// A string of the wire, where there is one.
pub(crate) fn owned(text: Option<StrBytes>) -> Option<String> {
    text.map(|text| text.to_string())
}

/// Whether there is such a partition.
pub(crate) fn has_partition(image: &Image, topic: &str, index: i32) -> bool {
    image.topic_by_name(topic).is_some_and(|topic| (0..topic.partition_count).contains(&index))
}

/// Whether brokers write the topic themselves.
pub(crate) fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

/// The live brokers that can be reached through a listener of that name.
pub(crate) fn reachable<'a>(
    image: &'a Image,
    listener: &'a str,
) -> impl Iterator<Item = (&'a Broker, &'a Endpoint)> {
    live(image).filter_map(move |broker| Some((broker, broker.endpoint(listener)?)))
}

/// The brokers that are not fenced.
fn live(image: &Image) -> impl Iterator<Item = &Broker> {
    image.brokers().filter(|broker| broker.is_live())
}

/// The leader of a partition, if it is alive.
pub(crate) fn live_leader<'a>(image: &'a Image, partition: &Partition) -> Option<&'a Broker> {
    image.broker(partition.leader?).filter(|broker| broker.is_live())
}

/// Whom clients are told to be the controller: any broker takes what a controller would.
pub(crate) fn controller(image: &Image) -> BrokerId {
    live(image).next().map_or(BrokerId(-1), |broker| broker_id(broker.node))
}

/// The replicas that clients see: those that a user assigned, else the leader and as many others as the nominal
/// factor asks for and the cluster has alive. Copies are the storage's business, so all of them are in sync.
pub(crate) fn replicas(image: &Image, topic: &Topic, partition: &Partition) -> Vec<BrokerId> {
    let index = image.stream(partition.data).map(|stream| stream.partition);
    if let Some(assigned) = index.and_then(|index| image.assigned_replicas(topic.id, index)) {
        // Whoever leads beside the assignment, after a failure say, stands in for its last.
        let stands_in = partition.leader.filter(|leader| !assigned.contains(leader));
        let kept = assigned.len() - usize::from(stands_in.is_some());
        return stands_in.iter().chain(&assigned[..kept]).map(|node| broker_id(*node)).collect();
    }
    let Some(leader) = partition.leader else { return Vec::new() };
    let wanted = usize::try_from(topic.replication_factor).unwrap_or(1).max(1);
    let nodes = || live(image).map(|broker| broker.node);
    let after = nodes().filter(|node| *node > leader);
    let before = nodes().filter(|node| *node < leader);
    std::iter::once(leader).chain(after).chain(before).take(wanted).map(broker_id).collect()
}

/// A partition's leader epoch as the wire has it.
pub(crate) fn leader_epoch(partition: &Partition) -> i32 {
    partition.leader_epoch.0
}
