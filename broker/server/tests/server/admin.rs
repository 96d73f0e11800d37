//! Topics, partitions and configs.

use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, FindCoordinatorRequest, IncrementalAlterConfigsRequest, MetadataRequest,
};
use uuid::Uuid;

use crate::client::{Client, text, topic};
use crate::node::Node;

fn creatable(name: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(partitions)
        .with_replication_factor(factor)
}

fn with_config(creatable: CreatableTopic, name: &str, value: &str) -> CreatableTopic {
    let config = CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)));
    creatable.with_configs(vec![config])
}

#[tokio::test(start_paused = true)]
async fn valid_and_invalid_topics_of_one_request_are_each_answered() {
    let node = Node::start().await;
    let mut client = node.client();
    client.create("there", 1).await;
    let assigned = |index, brokers: &[i32]| {
        let broker_ids = brokers.iter().map(|id| BrokerId(*id)).collect();
        let assignment =
            CreatableReplicaAssignment::default().with_partition_index(index).with_broker_ids(broker_ids);
        creatable("assigned", -1, -1).with_assignments(vec![assignment])
    };
    let topics = vec![
        creatable("good", 3, 3),
        creatable("defaults", -1, -1),
        creatable("there", 1, 1),
        creatable("bad name", 1, 1),
        creatable("no-partitions", 0, 1),
        creatable("no-copies", 1, 0),
        with_config(creatable("odd", 1, 1), "retention.ms", "soon"),
        with_config(creatable("unknown-config", 1, 1), "retention.msec", "1"),
        creatable("twice", 1, 1),
        creatable("twice", 2, 1),
    ];
    let response = client.call(7, &CreateTopicsRequest::default().with_topics(topics)).await;
    let codes: Vec<_> =
        response.topics.iter().map(|topic| (topic.name.to_string(), topic.error_code)).collect();
    let expected = [
        ("good", 0),
        ("defaults", 0),
        ("there", Code::TopicAlreadyExists.code()),
        ("bad name", Code::InvalidTopicException.code()),
        ("no-partitions", Code::InvalidPartitions.code()),
        ("no-copies", Code::InvalidReplicationFactor.code()),
        ("odd", Code::InvalidConfig.code()),
        ("unknown-config", Code::InvalidConfig.code()),
        ("twice", Code::InvalidRequest.code()),
    ];
    assert_eq!(codes, expected.map(|(name, code)| (name.to_owned(), code)));
    let good = &response.topics[0];
    assert_eq!((good.num_partitions, good.replication_factor), (3, 3));
    assert!(good.configs.as_ref().is_some_and(|configs| configs.len() > 30));
    for (topics, code) in [
        (assigned(1, &[1]), Code::InvalidReplicaAssignment),
        (assigned(0, &[7]), Code::InvalidReplicaAssignment),
        (assigned(0, &[]), Code::InvalidReplicaAssignment),
        (assigned(0, &[1]).with_num_partitions(1), Code::InvalidRequest),
    ] {
        let response = client.call(7, &CreateTopicsRequest::default().with_topics(vec![topics])).await;
        assert_eq!(response.topics[0].error_code, code.code());
    }
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn validate_only_creates_nothing() {
    let node = Node::start().await;
    let mut client = node.client();
    let request =
        CreateTopicsRequest::default().with_topics(vec![creatable("t", 1, 1)]).with_validate_only(true);
    for _ in 0..2 {
        assert_eq!(client.call(7, &request).await.topics[0].error_code, 0);
    }
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn partitions_are_added_and_each_topic_has_a_result() {
    let node = Node::start().await;
    let mut client = node.client();
    client.create("t", 2).await;
    for (count, code) in [(2, Code::InvalidPartitions.code()), (1, Code::InvalidPartitions.code()), (5, 0)] {
        let asked =
            CreatePartitionsTopic::default().with_name(topic("t")).with_count(count).with_assignments(None);
        let response = client.call(3, &CreatePartitionsRequest::default().with_topics(vec![asked])).await;
        assert_eq!((response.results.len(), response.results[0].error_code), (1, code));
    }
    let asked = MetadataRequestTopic::default().with_name(Some(topic("t")));
    let metadata = client.call(12, &MetadataRequest::default().with_topics(Some(vec![asked]))).await;
    assert_eq!(metadata.topics[0].partitions.len(), 5);
    for partition in &metadata.topics[0].partitions {
        assert_eq!((partition.error_code, partition.leader_id), (0, BrokerId(1)));
        assert_eq!(partition.replica_nodes, partition.isr_nodes);
        assert_eq!(partition.replica_nodes, [BrokerId(1)]);
    }
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn topics_are_deleted_by_name_and_by_id_and_come_back_with_a_new_id() {
    let node = Node::start().await;
    let mut client = node.client();
    let first = client.create("t", 1).await;
    let by_id = DeleteTopicState::default().with_name(None).with_topic_id(first);
    let unknown = DeleteTopicState::default().with_name(None).with_topic_id(Uuid::from_u128(5));
    let response = client.call(6, &DeleteTopicsRequest::default().with_topics(vec![by_id, unknown])).await;
    assert_eq!((response.responses[0].error_code, response.responses[0].name.clone()), (0, Some(topic("t"))));
    assert_eq!(response.responses[1].error_code, Code::UnknownTopicId.code());
    let second = client.create("t", 1).await;
    assert_ne!(first, second);
    let by_name = DeleteTopicsRequest::default().with_topic_names(vec![topic("t")]);
    assert_eq!(client.call(5, &by_name).await.responses[0].error_code, 0);
    let gone = client.call(5, &by_name).await;
    assert_eq!(gone.responses[0].error_code, Code::UnknownTopicOrPartition.code());
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn metadata_creates_topics_only_where_both_sides_want_it() {
    let node = Node::start().await;
    let mut client = node.client();
    let asked = |name| Some(vec![MetadataRequestTopic::default().with_name(Some(topic(name)))]);
    let request = MetadataRequest::default().with_topics(asked("auto"));
    let refused = client.call(9, &request.clone().with_allow_auto_topic_creation(false)).await;
    assert_eq!(refused.topics[0].error_code, Code::UnknownTopicOrPartition.code());
    let created = client.call(9, &request).await;
    assert_eq!((created.topics[0].error_code, created.topics[0].partitions.len()), (0, 1));
    assert_eq!(created.controller_id, BrokerId(1));
    assert_eq!((&*created.brokers[0].host, created.brokers[0].port), ("127.0.0.1", 9092));
    let all = client.call(0, &MetadataRequest::default().with_topics(Some(Vec::new()))).await;
    assert_eq!(all.topics.len(), 1);
    let none = client.call(1, &MetadataRequest::default().with_topics(Some(Vec::new()))).await;
    assert!(none.topics.is_empty());
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn topics_are_described_in_pages() {
    let node = Node::start().await;
    let mut client = node.client();
    for (name, partitions) in [("a", 2), ("b", 3), ("c", 1)] {
        client.create(name, partitions).await;
    }
    let mut seen = Vec::new();
    let mut cursor: Option<Cursor> = None;
    let mut pages = 0;
    loop {
        pages += 1;
        let request = DescribeTopicPartitionsRequest::default()
            .with_topics(["c", "b", "a"].map(|name| TopicRequest::default().with_name(topic(name))).to_vec())
            .with_response_partition_limit(2)
            .with_cursor(cursor.take());
        let page = client.call(0, &request).await;
        for described in page.topics {
            let name = described.name.expect("named").to_string();
            seen.extend(
                described.partitions.iter().map(|partition| (name.clone(), partition.partition_index)),
            );
        }
        let Some(next) = page.next_cursor else { break };
        cursor = Some(
            Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index),
        );
    }
    let expected = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2), ("c", 0)];
    assert_eq!(seen, expected.map(|(name, index)| (name.to_owned(), index)));
    assert_eq!(pages, 3, "a full last page names no next one");
    node.stop().await;
}

async fn config(client: &mut Client, name: &str) -> DescribeConfigsResourceResult {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("t"))
        .with_configuration_keys(Some(vec![text(name)]));
    let request =
        DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true);
    let mut result = client.call(4, &request).await.results.remove(0);
    assert_eq!(result.error_code, 0);
    result.configs.remove(0)
}

async fn alter(
    client: &mut Client,
    resource: (i8, &str),
    name: &str,
    operation: i8,
    value: Option<&str>,
) -> i16 {
    let change = AlterableConfig::default()
        .with_name(text(name))
        .with_config_operation(operation)
        .with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(resource.0)
        .with_resource_name(text(resource.1))
        .with_configs(vec![change]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    client.call(1, &request).await.responses[0].error_code
}

#[tokio::test(start_paused = true)]
async fn configs_are_set_appended_subtracted_deleted_and_described_with_their_source() {
    const TOPIC: (i8, &str) = (2, "t");
    let node = Node::start().await;
    let mut client = node.client();
    client.create("t", 1).await;
    let before = config(&mut client, "cleanup.policy").await;
    assert_eq!((before.value, before.config_source), (Some(text("delete")), 5));
    assert_eq!(alter(&mut client, TOPIC, "cleanup.policy", 2, Some("compact")).await, 0);
    assert_eq!(config(&mut client, "cleanup.policy").await.value, Some(text("delete,compact")));
    assert_eq!(alter(&mut client, TOPIC, "cleanup.policy", 3, Some("delete")).await, 0);
    let compacted = config(&mut client, "cleanup.policy").await;
    assert_eq!((compacted.value, compacted.config_source), (Some(text("compact")), 1));
    assert_eq!(alter(&mut client, TOPIC, "cleanup.policy", 1, None).await, 0);
    assert_eq!(config(&mut client, "cleanup.policy").await.config_source, 5);
    for (name, operation, value, code) in [
        ("retention.ms", 0, Some("-5"), Code::InvalidConfig),
        ("retention.ms", 2, Some("5"), Code::InvalidConfig),
        ("retention.ms", 0, None, Code::InvalidRequest),
        ("retention.msec", 0, Some("5"), Code::InvalidConfig),
    ] {
        assert_eq!(alter(&mut client, TOPIC, name, operation, value).await, code.code(), "{name}");
    }
    assert_eq!(alter(&mut client, (4, ""), "log.retention.hours", 0, Some("1")).await, 0);
    let inherited = config(&mut client, "retention.ms").await;
    assert_eq!((inherited.value, inherited.config_source), (Some(text("3600000")), 3));
    assert_eq!(alter(&mut client, (4, "1"), "node.id", 0, Some("2")).await, Code::InvalidRequest.code());
    let unknown = (2, "gone");
    let code = alter(&mut client, unknown, "retention.ms", 0, Some("1")).await;
    assert_eq!(code, Code::UnknownTopicOrPartition.code());
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_first_question_for_a_coordinator_creates_the_offsets_topic() {
    let node = Node::start().await;
    let mut client = node.client();
    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("a"), text("b")]);
    let response = client.call(4, &request).await;
    for coordinator in &response.coordinators {
        assert_eq!((coordinator.error_code, coordinator.node_id), (0, BrokerId(1)));
    }
    let asked = MetadataRequestTopic::default().with_name(Some(topic("__consumer_offsets")));
    let metadata = client.call(12, &MetadataRequest::default().with_topics(Some(vec![asked]))).await;
    assert_eq!((metadata.topics[0].is_internal, metadata.topics[0].partitions.len()), (true, 50));
    let transactional = client.call(4, &request.with_key_type(1)).await;
    assert_eq!(transactional.coordinators[0].error_code, Code::TransactionalIdAuthorizationFailed.code());
    node.stop().await;
}
