//! Consumer groups, in old versions of the APIs and new ones.

use bytes::Bytes;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::client::{Client, text, topic};
use crate::node::Node;

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

fn join(group_id: &str, member_id: StrBytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t"));
    JoinGroupRequest::default()
        .with_group_id(group(group_id))
        .with_session_timeout_ms(10_000)
        .with_member_id(member_id)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Looks for the coordinator until it has loaded, as clients do, then joins alone.
async fn joined(client: &mut Client, version: i16, group_id: &str) -> JoinGroupResponse {
    let find = FindCoordinatorRequest::default().with_key(text(group_id));
    assert_eq!(client.call(0, &find).await.error_code, 0);
    let mut member_id = StrBytes::default();
    loop {
        let mut request = join(group_id, member_id.clone());
        if version >= 1 {
            request.rebalance_timeout_ms = 60_000;
        }
        let response = client.call(version, &request).await;
        match response.error_code {
            0 => return response,
            code if code == Code::MemberIdRequired.code() => {
                assert!(version >= 4, "older clients cannot come back");
                member_id = response.member_id;
            }
            code if code == Code::CoordinatorLoadInProgress.code() || code == Code::NotCoordinator.code() => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            code => panic!("version {version}: error {code}"),
        }
    }
}

async fn synced(
    client: &mut Client,
    version: i16,
    group_id: &str,
    member: &JoinGroupResponse,
) -> SyncGroupResponse {
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(member.member_id.clone())
        .with_assignment(Bytes::from_static(b"yours"));
    let mut request = SyncGroupRequest::default()
        .with_group_id(group(group_id))
        .with_generation_id(member.generation_id)
        .with_member_id(member.member_id.clone())
        .with_assignments(vec![assignment]);
    if version >= 5 {
        request.protocol_type = Some(text("consumer"));
        request.protocol_name = Some(text("range"));
    }
    client.call(version, &request).await
}

fn commit(group_id: &str, version: i16, member: Option<&JoinGroupResponse>) -> OffsetCommitRequest {
    let partition = |index| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(42)
            .with_committed_metadata(Some(text("note")));
        if version >= 6 { partition.with_committed_leader_epoch(3) } else { partition }
    };
    let topics = ["t", "missing"].map(|name| {
        OffsetCommitRequestTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![partition(0), partition(9)])
    });
    let request = OffsetCommitRequest::default().with_group_id(group(group_id)).with_topics(topics.into());
    match member {
        Some(member) => request
            .with_generation_id_or_member_epoch(member.generation_id)
            .with_member_id(member.member_id.clone()),
        None => request.with_generation_id_or_member_epoch(-1),
    }
}

/// Offset, epoch and metadata of partitions 0 and 1 of the topic `t`.
async fn committed(client: &mut Client, version: i16, group_id: &str) -> Vec<(i64, i32, String)> {
    if version < 8 {
        let asked =
            OffsetFetchRequestTopic::default().with_name(topic("t")).with_partition_indexes(vec![0, 1]);
        let request =
            OffsetFetchRequest::default().with_group_id(group(group_id)).with_topics(Some(vec![asked]));
        let response = client.call(version, &request).await;
        assert_eq!(response.error_code, 0);
        let partitions = response.topics.into_iter().flat_map(|topic| topic.partitions);
        return partitions
            .map(|it| {
                (it.committed_offset, it.committed_leader_epoch, it.metadata.unwrap_or_default().to_string())
            })
            .collect();
    }
    let asked = OffsetFetchRequestTopics::default().with_name(topic("t")).with_partition_indexes(vec![0, 1]);
    let asked =
        OffsetFetchRequestGroup::default().with_group_id(group(group_id)).with_topics(Some(vec![asked]));
    let response = client.call(version, &OffsetFetchRequest::default().with_groups(vec![asked])).await;
    assert_eq!(response.groups[0].error_code, 0);
    let partitions =
        response.groups.into_iter().flat_map(|group| group.topics).flat_map(|topic| topic.partitions);
    partitions
        .map(|it| {
            (it.committed_offset, it.committed_leader_epoch, it.metadata.unwrap_or_default().to_string())
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_member_joins_commits_and_leaves_in_each_version() {
    let node = Node::start().await;
    let mut client = node.client();
    client.create("t", 2).await;
    for version in 0..=9_i16 {
        let group_id = format!("g{version}");
        let member = joined(&mut client, version, &group_id).await;
        assert_eq!((member.leader.clone(), member.members.len()), (member.member_id.clone(), 1));
        let sync = synced(&mut client, version.min(5), &group_id, &member).await;
        assert_eq!((sync.error_code, &sync.assignment[..]), (0, &b"yours"[..]));

        let beat = HeartbeatRequest::default()
            .with_group_id(group(&group_id))
            .with_generation_id(member.generation_id)
            .with_member_id(member.member_id.clone());
        assert_eq!(client.call(version.min(4), &beat).await.error_code, 0);

        let commit_version = version.max(2);
        let request = commit(&group_id, commit_version, Some(&member));
        let response = client.call(commit_version, &request).await;
        let codes: Vec<_> = response
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|partition| partition.error_code)
            .collect();
        let unknown = Code::UnknownTopicOrPartition.code();
        assert_eq!(codes, [0, unknown, unknown, unknown]);

        let fetch_version = version.max(1);
        let epoch = if fetch_version >= 5 && commit_version >= 6 { 3 } else { -1 };
        let none = (-1, -1, String::new());
        let fetched = committed(&mut client, fetch_version, &group_id).await;
        assert_eq!(fetched, [(42, epoch, "note".to_owned()), none], "version {version}");

        let leave_version = version.min(5);
        let leave = LeaveGroupRequest::default().with_group_id(group(&group_id));
        let leave = if leave_version >= 3 {
            leave.with_members(vec![MemberIdentity::default().with_member_id(member.member_id.clone())])
        } else {
            leave.with_member_id(member.member_id.clone())
        };
        let left = client.call(leave_version, &leave).await;
        assert!(left.error_code == 0 && left.members.iter().all(|member| member.error_code == 0));
    }
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn groups_are_listed_described_and_deleted_in_each_version() {
    let node = Node::start().await;
    let mut client = node.client();
    client.create("t", 2).await;
    let member = joined(&mut client, 9, "busy").await;
    synced(&mut client, 5, "busy", &member).await;
    for version in 0..=5_i16 {
        let listed = client.call(version, &ListGroupsRequest::default()).await;
        assert_eq!((listed.error_code, listed.groups.len()), (0, 1));
        let group = &listed.groups[0];
        assert_eq!((group.group_id.as_str(), group.protocol_type.as_str()), ("busy", "consumer"));
        assert_eq!(group.group_state.as_str(), if version >= 4 { "Stable" } else { "" });
        assert_eq!(group.group_type.as_str(), if version >= 5 { "classic" } else { "" });
    }
    for version in 0..=6_i16 {
        let mut request = DescribeGroupsRequest::default().with_groups(vec![group("busy"), group("nobody")]);
        request.include_authorized_operations = version >= 3;
        let described = client.call(version, &request).await.groups;
        let (busy, nobody) = (&described[0], &described[1]);
        assert_eq!(
            (busy.error_code, busy.group_state.as_str(), busy.protocol_data.as_str()),
            (0, "Stable", "range")
        );
        assert_eq!(&busy.members[0].member_assignment[..], b"yours");
        assert_eq!(busy.members[0].client_host.as_str(), "/127.0.0.1");
        let missing = if version >= 6 { Code::GroupIdNotFound.code() } else { 0 };
        assert_eq!((nobody.error_code, nobody.group_state.as_str()), (missing, "Dead"));
    }
    for version in 0..=2_i16 {
        let names = vec![group("busy"), group("nobody")];
        let deleted =
            client.call(version, &DeleteGroupsRequest::default().with_groups_names(names)).await.results;
        let codes: Vec<_> = deleted.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [Code::NonEmptyGroup.code(), Code::GroupIdNotFound.code()]);
    }
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn simple_commits_and_their_deletion_need_no_membership() {
    let node = Node::start().await;
    let mut client = node.client();
    client.create("t", 2).await;
    joined(&mut client, 9, "other").await;
    let response = client.call(9, &commit("simple", 9, None)).await;
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
    let all = OffsetFetchRequestGroup::default().with_group_id(group("simple")).with_topics(None);
    let all = client.call(9, &OffsetFetchRequest::default().with_groups(vec![all])).await.groups.remove(0);
    assert_eq!((all.topics.len(), all.topics[0].partitions.len()), (1, 1));

    let delete = |group_id: &str, name: &str| {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
        let asked =
            OffsetDeleteRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
        OffsetDeleteRequest::default().with_group_id(group(group_id)).with_topics(vec![asked])
    };
    let missing = client.call(0, &delete("simple", "missing")).await;
    assert_eq!(missing.topics[0].partitions[0].error_code, Code::UnknownTopicOrPartition.code());
    let subscribed = client.call(0, &delete("other", "t")).await;
    assert_eq!(subscribed.topics[0].partitions[0].error_code, Code::GroupSubscribedToTopic.code());
    assert_eq!(client.call(0, &delete("nobody", "t")).await.error_code, Code::GroupIdNotFound.code());
    assert_eq!(client.call(0, &delete("simple", "t")).await.topics[0].partitions[0].error_code, 0);
    assert_eq!(committed(&mut client, 9, "simple").await[0].0, -1);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn bad_joins_are_refused_with_kafkas_codes() {
    let node = Node::start().await;
    let mut client = node.client();
    joined(&mut client, 9, "g").await;
    let sent = |request: JoinGroupRequest| request.with_rebalance_timeout_ms(60_000);
    let cases = [
        (sent(join("", StrBytes::default())), Code::InvalidGroupId),
        (sent(join("g", StrBytes::default())).with_session_timeout_ms(1), Code::InvalidSessionTimeout),
        (sent(join("g", text("stranger"))), Code::UnknownMemberId),
        (
            sent(join("g", StrBytes::default())).with_protocol_type(text("connect")),
            Code::InconsistentGroupProtocol,
        ),
    ];
    for (request, code) in cases {
        let response = client.call(9, &request).await;
        assert_eq!((response.error_code, response.generation_id), (code.code(), -1));
    }
    node.stop().await;
}
