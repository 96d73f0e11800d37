//! Everything that ApiVersions promises is kept: each API answers in each version, and each answer decodes.

use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::*;
use kafka_protocol::messages::{
    alter_configs_request as alter, create_partitions_request as partitions, create_topics_request as create,
    delete_topics_request as delete, describe_configs_request as configs, describe_log_dirs_request as dirs,
    describe_topic_partitions_request as describe, incremental_alter_configs_request as incremental,
    join_group_request as join, leave_group_request as leave, metadata_request as metadata,
    offset_commit_request as commit, offset_fetch_request as offsets,
    offset_for_leader_epoch_request as epochs,
};
use uuid::Uuid;

use crate::client::{Client, batch, fetch, produce, text, topic};
use crate::node::Node;

async fn api_versions(client: &mut Client) -> ApiVersionsResponse {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("test"))
        .with_client_software_version(text("1.0"));
    client.call(3, &request).await
}

#[tokio::test(start_paused = true)]
async fn the_table_holds_what_older_clients_look_for() {
    let node = Node::start().await;
    let mut client = node.client();
    let advertised = api_versions(&mut client).await.api_keys;
    let range = |key: ApiKey| {
        let line = advertised.iter().find(|line| line.api_key == key as i16).expect("advertised");
        (line.min_version, line.max_version)
    };
    // Debian's librdkafka 2.0.2, and librdkafka's decision about compression (KAFKA-18659).
    assert_eq!(range(ApiKey::Produce), (0, 13));
    assert_eq!(range(ApiKey::Fetch), (4, 18));
    assert_eq!(range(ApiKey::ListOffsets), (1, 11));
    assert_eq!(range(ApiKey::FindCoordinator), (0, 6));
    assert_eq!(range(ApiKey::InitProducerId), (0, 5));
    assert_eq!(range(ApiKey::Metadata), (0, 13));
    assert_eq!(range(ApiKey::ApiVersions), (0, 4));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn only_features_that_are_built_are_finalized() {
    let node = Node::start().await;
    let mut client = node.client();
    let versions = api_versions(&mut client).await;
    let finalized: Vec<_> = versions
        .finalized_features
        .iter()
        .map(|one| (one.name.as_str(), one.min_version_level, one.max_version_level))
        .collect();
    assert_eq!(finalized, [("metadata.version", 30, 30)]);
    let supported: Vec<_> = versions
        .supported_features
        .iter()
        .map(|one| (one.name.as_str(), one.min_version, one.max_version))
        .collect();
    assert_eq!(supported, finalized);
    assert_eq!(versions.finalized_features_epoch, 0);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let node = Node::start().await;
    let mut client = node.client();
    // Key 18, version 99, correlation id 5, and a body that nobody here can read.
    client.frame(&[0, 18, 0, 99, 0, 0, 0, 5, 0xff, 1, 2, 3]).await;
    let mut frame = client.reply().await.expect("answered");
    assert_eq!(frame.split_to(4), [0, 0, 0, 5][..]);
    let response =
        <ApiVersionsResponse as kafka_protocol::protocol::Decodable>::decode(&mut frame, 0).expect("v0");
    assert_eq!(response.error_code, Code::UnsupportedVersion.code());
    assert_eq!((response.api_keys[0].api_key, response.api_keys[0].max_version), (18, 4));
    assert_eq!(api_versions(&mut client).await.error_code, 0, "the connection goes on");
    let nameless = ApiVersionsRequest::default().with_client_software_name(text("-"));
    assert_eq!(client.call(3, &nameless).await.error_code, Code::InvalidRequest.code());
    node.stop().await;
}

/// Calls an API in each of its versions.
macro_rules! each_version {
    ($client:expr, $range:expr, $request:expr) => {
        for version in $range {
            let request = $request(version);
            $client.call(version, &request).await;
        }
    };
}

#[tokio::test(start_paused = true)]
async fn each_api_answers_in_each_version() {
    let node = Node::start().await;
    let mut client = node.client();
    let id = client.create("t", 2).await;
    each_version!(client, 3..=13, |v| produce(v, "t", id, 0, 1, batch(&["x"])));
    each_version!(client, 3..=13, |v| produce(v, "gone", Uuid::from_u128(1), 0, 1, batch(&["x"])));
    each_version!(client, 4..=18, |v| fetch(v, "t", id, 0));
    each_version!(client, 4..=18, |v| fetch(v, "gone", Uuid::from_u128(1), 0));
    each_version!(client, 0..=4, |v: i16| match v {
        0..=2 => ApiVersionsRequest::default(),
        _ => ApiVersionsRequest::default()
            .with_client_software_name(text("a"))
            .with_client_software_version(text("1")),
    });
    each_version!(client, 0..=13, |_| MetadataRequest::default().with_topics(Some(vec![
        metadata::MetadataRequestTopic::default().with_name(Some(topic("t"))),
        metadata::MetadataRequestTopic::default().with_name(Some(topic("bad name"))),
    ])));
    each_version!(client, 1..=13, |_| MetadataRequest::default().with_topics(None));
    each_version!(client, 0..=2, |_| DescribeClusterRequest::default());
    each_version!(client, 0..=0, |_| DescribeTopicPartitionsRequest::default().with_topics(vec![
        describe::TopicRequest::default().with_name(topic("t")),
        describe::TopicRequest::default().with_name(topic("gone")),
    ]));
    each_version!(client, 1..=4, |_| DescribeLogDirsRequest::default().with_topics(None));
    each_version!(client, 1..=4, |_| DescribeLogDirsRequest::default().with_topics(Some(vec![
        dirs::DescribableLogDirTopic::default().with_topic(topic("t")).with_partitions(vec![0, 0, 9]),
    ])));
    for key_type in [0, 1] {
        each_version!(client, 0..=6, |v: i16| {
            let request = FindCoordinatorRequest::default();
            let request = if v < 1 { request } else { request.with_key_type(key_type) };
            if v < 4 { request.with_key(text("g")) } else { request.with_coordinator_keys(vec![text("g")]) }
        });
    }
    each_version!(client, 0..=0, |_| ListPartitionReassignmentsRequest::default());
    each_version!(client, 1..=10, |_| ListOffsetsRequest::default());
    // The wire crate does not know version 11, whose layout is that of version 10.
    let newest = client.send_as(11, 10, &ListOffsetsRequest::default()).await;
    client.receive::<ListOffsetsRequest>(10, newest).await;
    each_version!(client, 2..=4, |_| OffsetForLeaderEpochRequest::default().with_topics(vec![
        epochs::OffsetForLeaderTopic::default()
            .with_topic(topic("t"))
            .with_partitions(vec![epochs::OffsetForLeaderPartition::default().with_current_leader_epoch(-1)]),
    ]));
    each_version!(client, 0..=2, |_| DeleteRecordsRequest::default());
    each_version!(client, 0..=5, |_| InitProducerIdRequest::default());
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_admin_api_answers_in_each_version() {
    let node = Node::start().await;
    let mut client = node.client();
    client.create("t", 1).await;
    each_version!(client, 2..=7, |v| CreateTopicsRequest::default().with_topics(vec![
        create::CreatableTopic::default()
            .with_name(topic(&format!("made-{v}")))
            .with_num_partitions(1)
            .with_replication_factor(1),
        create::CreatableTopic::default().with_name(topic("bad name")),
    ]));
    each_version!(client, 0..=3, |v| CreatePartitionsRequest::default().with_topics(vec![
        partitions::CreatePartitionsTopic::default()
            .with_name(topic("t"))
            .with_count(i32::from(v) + 2)
            .with_assignments(None),
        partitions::CreatePartitionsTopic::default().with_name(topic("gone")).with_assignments(None),
    ]));
    each_version!(client, 1..=6, |v: i16| {
        let names = vec![topic(&format!("made-{}", v + 1)), topic("gone")];
        let states =
            names.iter().map(|name| delete::DeleteTopicState::default().with_name(Some(name.clone())));
        match v {
            6 => DeleteTopicsRequest::default().with_topics(states.collect()),
            _ => DeleteTopicsRequest::default().with_topic_names(names),
        }
    });
    each_version!(client, 1..=4, |v: i16| DescribeConfigsRequest::default()
        .with_include_synonyms(true)
        .with_include_documentation(v >= 3)
        .with_resources(vec![
            resource(2, "t"),
            resource(2, "gone"),
            resource(4, "1"),
            resource(4, ""),
            resource(4, "9"),
            resource(77, "x"),
        ]));
    each_version!(client, 0..=2, |_| AlterConfigsRequest::default().with_resources(vec![
        alter::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("t"))
            .with_configs(vec![
                alter::AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text("1"))),
            ]),
    ]));
    each_version!(client, 0..=1, |_| IncrementalAlterConfigsRequest::default().with_resources(vec![
        incremental::AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("t"))
            .with_configs(vec![
                incremental::AlterableConfig::default()
                    .with_name(text("nonsense"))
                    .with_value(Some(text("1"))),
            ]),
    ]));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_group_api_answers_in_each_version() {
    let node = Node::start().await;
    let mut client = node.client();
    client.create("t", 1).await;
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]);
    client.call(4, &find).await;
    let group = || GroupId(text("g"));
    each_version!(client, 0..=9, |v: i16| {
        let protocol = join::JoinGroupRequestProtocol::default().with_name(text("range"));
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(text(&format!("joined-{v}"))))
            .with_session_timeout_ms(10_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        if v == 0 { request } else { request.with_rebalance_timeout_ms(10_000) }
    });
    each_version!(client, 0..=5, |_| SyncGroupRequest::default().with_group_id(group()));
    each_version!(client, 0..=4, |_| HeartbeatRequest::default().with_group_id(group()));
    each_version!(client, 0..=5, |v: i16| {
        let request = LeaveGroupRequest::default().with_group_id(group());
        let member = leave::MemberIdentity::default().with_member_id(text("m"));
        if v < 3 { request.with_member_id(text("m")) } else { request.with_members(vec![member]) }
    });
    each_version!(client, 2..=9, |_| OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![
            commit::OffsetCommitRequestTopic::default().with_name(topic("t")).with_partitions(vec![
                commit::OffsetCommitRequestPartition::default()
                    .with_committed_offset(7)
                    .with_committed_metadata(None),
            ])
        ]));
    each_version!(client, 1..=9, |v: i16| if v < 8 {
        let asked = offsets::OffsetFetchRequestTopic::default().with_name(topic("t"));
        OffsetFetchRequest::default()
            .with_group_id(group())
            .with_topics(Some(vec![asked.with_partition_indexes(vec![0])]))
    } else {
        let asked = offsets::OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(None);
        OffsetFetchRequest::default().with_groups(vec![asked])
    });
    each_version!(client, 0..=5, |_| ListGroupsRequest::default());
    each_version!(client, 0..=6, |_| DescribeGroupsRequest::default()
        .with_groups(vec![group(), GroupId(text("no"))]));
    each_version!(client, 0..=0, |_| OffsetDeleteRequest::default().with_group_id(group()));
    each_version!(client, 0..=2, |_| DeleteGroupsRequest::default().with_groups_names(vec![group()]));
    node.stop().await;
}

fn resource(resource_type: i8, name: &str) -> configs::DescribeConfigsResource {
    configs::DescribeConfigsResource::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name))
        .with_configuration_keys(None)
}
