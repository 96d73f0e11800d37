//! Partitions that go from one broker to another: what admin clients and producers see.

use aquifer_image::{Endpoint, RegisterBroker, SecurityProtocol};
use aquifer_types::NodeId;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, ElectLeadersRequest, ListPartitionReassignmentsRequest,
    MetadataRequest,
};
use uuid::Uuid;

use crate::client::{Client, batch, produce, topic};
use crate::node::{LISTENER, Node};

/// Registers a second broker, which is not there.
pub(crate) async fn second(node: &Node) {
    let endpoint = Endpoint {
        listener: LISTENER.to_owned(),
        host: "127.0.0.1".to_owned(),
        port: 9093,
        security: SecurityProtocol::Plaintext,
    };
    let incarnation = Uuid::from_u128(2);
    let command = RegisterBroker { node: NodeId(2), incarnation, endpoints: vec![endpoint], rack: None };
    node.metadata.propose(command).await.expect("registers");
}

pub(crate) async fn reassign(client: &mut Client, name: &str, index: i32, replicas: Option<&[i32]>) -> i16 {
    let replicas = replicas.map(|ids| ids.iter().map(|id| BrokerId(*id)).collect());
    let partition = ReassignablePartition::default().with_partition_index(index).with_replicas(replicas);
    let asked = ReassignableTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![asked]);
    let response = client.call(1, &request).await;
    assert_eq!(response.error_code, 0);
    response.responses[0].partitions[0].error_code
}

/// Leader and replicas of partition 0.
async fn shown(client: &mut Client, name: &str) -> (i32, Vec<i32>) {
    let asked = MetadataRequestTopic::default().with_name(Some(topic(name)));
    let response = client.call(9, &MetadataRequest::default().with_topics(Some(vec![asked]))).await;
    let partition = &response.topics[0].partitions[0];
    (partition.leader_id.0, partition.replica_nodes.iter().map(|id| id.0).collect())
}

#[tokio::test(start_paused = true)]
async fn a_partition_is_led_by_its_new_first_replica_and_its_producer_told_at_once() {
    let node = Node::start().await;
    second(&node).await;
    let mut client = node.client();
    let id = client.create("t", 1).await;
    client.produce("t", batch(&["a"])).await;
    assert_eq!(reassign(&mut client, "t", 0, Some(&[2])).await, 0);
    let request = produce(13, "t", id, 0, -1, batch(&["b"]));
    let mut codes = Vec::new();
    while codes.last() != Some(&Code::NotLeaderOrFollower.code()) {
        let response = client.call(13, &request).await;
        let partition = &response.responses[0].partition_responses[0];
        codes.push(partition.error_code);
        if partition.error_code != 0 {
            assert_eq!(partition.current_leader.leader_id, 2, "the hint saves a look-up");
        }
    }
    assert!(codes[..codes.len() - 1].iter().all(|code| *code == 0), "{codes:?}");
    assert_eq!(shown(&mut client, "t").await, (2, vec![2]));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_among_the_new_replicas_stays_until_the_preferred_one_is_elected() {
    let node = Node::start().await;
    second(&node).await;
    let mut client = node.client();
    client.create("t", 1).await;
    assert_eq!(reassign(&mut client, "t", 0, Some(&[2, 1])).await, 0);
    assert_eq!(shown(&mut client, "t").await, (1, vec![2, 1]));
    let response = client.call(0, &ListPartitionReassignmentsRequest::default()).await;
    assert!(response.topics.is_empty(), "nothing moves");
    let all = ElectLeadersRequest::default().with_topic_partitions(None);
    let response = client.call(2, &all).await;
    let results = &response.replica_election_results;
    assert_eq!((results.len(), results[0].partition_result[0].error_code), (1, 0));
    while shown(&mut client, "t").await.0 != 2 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let named = TopicPartitions::default().with_topic(topic("t")).with_partitions(vec![0, 7]);
    let again = ElectLeadersRequest::default().with_topic_partitions(Some(vec![named]));
    let response = client.call(2, &again).await;
    let codes: Vec<_> =
        response.replica_election_results[0].partition_result.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [Code::ElectionNotNeeded.code(), Code::UnknownTopicOrPartition.code()]);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn reassignments_that_make_no_sense_are_refused_as_kafka_does() {
    let node = Node::start().await;
    let mut client = node.client();
    client.create("t", 1).await;
    for (index, replicas, code) in [
        (0, None, Code::NoReassignmentInProgress),
        (0, Some(&[][..]), Code::InvalidReplicaAssignment),
        (0, Some(&[1, 1][..]), Code::InvalidReplicaAssignment),
        (0, Some(&[1, 9][..]), Code::InvalidReplicaAssignment),
        (0, Some(&[-1][..]), Code::InvalidReplicaAssignment),
        (5, Some(&[1][..]), Code::UnknownTopicOrPartition),
    ] {
        assert_eq!(reassign(&mut client, "t", index, replicas).await, code.code(), "{replicas:?}");
    }
    assert_eq!(reassign(&mut client, "none", 0, Some(&[1])).await, Code::UnknownTopicOrPartition.code());
    assert_eq!(shown(&mut client, "t").await, (1, vec![1]));
    node.stop().await;
}
