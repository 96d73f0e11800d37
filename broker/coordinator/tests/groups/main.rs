//! Groups on every real layer below them: partitions, streams, a WAL on a simulated disk, a store and a quorum in
//! memory, on paused time.

mod machine;

use std::{collections::BTreeSet, time::Duration};

use aquifer_coordinator::{
    CommitRequest, FetchOffsetsRequest, GroupConfig, GroupError, GroupPhase, Groups, HeartbeatRequest,
    JoinRequest, Joined, LeaveRequest, LeavingMember, OffsetToCommit, Protocol, SyncRequest, TopicPartition,
};
use bytes::Bytes;
use machine::{Machine, OFFSETS_PARTITIONS};

const GROUP: &str = "orders";

fn join(client: &str, member_id: &str) -> JoinRequest {
    JoinRequest {
        group_id: GROUP.into(),
        member_id: member_id.into(),
        instance_id: None,
        client_id: client.into(),
        client_host: "/10.0.0.1".into(),
        protocol_type: "consumer".into(),
        protocols: vec![Protocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t"),
        }],
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        reason: None,
        requires_known_member_id: true,
        supports_skipping_assignment: true,
    }
}

/// Joins as a client does: again with the id it is given.
async fn member(groups: &Groups, client: &str, member_id: &str) -> Joined {
    let mut member_id = member_id.to_owned();
    loop {
        match groups.join(join(client, &member_id)).await {
            Ok(joined) => return joined,
            Err(refused) if refused.error == GroupError::MemberIdRequired => member_id = refused.member_id,
            Err(refused) => panic!("{client}: {:?}", refused.error),
        }
    }
}

/// The leader assigns each member its own id; returns what the member got.
async fn sync(groups: &Groups, joined: &Joined) -> Bytes {
    let assignments =
        joined.members.iter().map(|it| (it.member_id.clone(), Bytes::from(it.member_id.clone())));
    let request = SyncRequest {
        group_id: GROUP.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        instance_id: None,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignments.collect(),
    };
    groups.sync(request).await.expect("synced").assignment
}

/// Forms a stable generation of members that all come at once.
async fn generation(groups: &Groups, members: [(&str, &str); 3]) -> Vec<Joined> {
    let [a, b, c] = members.map(|(client, member_id)| member(groups, client, member_id));
    let (a, b, c) = tokio::join!(a, b, c);
    let (x, y, z) = tokio::join!(sync(groups, &a), sync(groups, &b), sync(groups, &c));
    let joined = vec![a, b, c];
    for (joined, assignment) in joined.iter().zip([x, y, z]) {
        assert_eq!(assignment, joined.member_id);
    }
    joined
}

async fn heartbeat(groups: &Groups, member: &Joined) -> Result<(), GroupError> {
    let request = HeartbeatRequest {
        group_id: GROUP.into(),
        generation_id: member.generation_id,
        member_id: member.member_id.clone(),
        instance_id: None,
    };
    groups.heartbeat(request).await
}

fn commit(member: Option<&Joined>, partitions: std::ops::Range<i32>, offset: i64) -> CommitRequest {
    let offsets = partitions.map(|partition| {
        let committed = OffsetToCommit { offset, leader_epoch: 0, metadata: Some(format!("at {offset}")) };
        (TopicPartition { topic: "t".into(), partition }, committed)
    });
    CommitRequest {
        group_id: GROUP.into(),
        generation_id: member.map_or(-1, |member| member.generation_id),
        member_id: member.map_or_else(String::new, |member| member.member_id.clone()),
        instance_id: None,
        retention_ms: None,
        understands_group_id_not_found: true,
        offsets: offsets.collect(),
    }
}

async fn committed(groups: &Groups) -> Vec<(i32, i64, String)> {
    let request = FetchOffsetsRequest { group_id: GROUP.into(), partitions: None };
    let offsets = groups.fetch_offsets(request).await.expect("fetched");
    offsets.into_iter().map(|it| (it.partition.partition, it.offset, it.metadata)).collect()
}

async fn phase(groups: &Groups) -> GroupPhase {
    groups.describe(GROUP).await.expect("described").state
}

#[tokio::test(start_paused = true)]
async fn three_members_join_leave_and_survive_a_restart() {
    let machine = Machine::new(1).await;
    let node = machine.start(GroupConfig::default()).await;
    let first = generation(&node.groups, [("a", ""), ("b", ""), ("c", "")]).await;
    let leaders: BTreeSet<_> = first.iter().map(|it| it.leader.clone()).collect();
    assert_eq!(leaders.len(), 1);
    node.groups.commit_offsets(commit(Some(&first[0]), 0..3, 41)).await.expect("committed");

    // One leaves; the others find out by their heartbeat, and rebalance with a newcomer.
    let leaving = LeavingMember { member_id: first[2].member_id.clone(), instance_id: None, reason: None };
    let left = node.groups.leave(LeaveRequest { group_id: GROUP.into(), members: vec![leaving] }).await;
    assert!(left.expect("answered").iter().all(|member| member.result.is_ok()));
    assert_eq!(heartbeat(&node.groups, &first[0]).await, Err(GroupError::RebalanceInProgress));
    // The newcomer is given its id first, and so is waited for.
    let again = [("d", ""), ("a", &*first[0].member_id), ("b", &*first[1].member_id)];
    let second = generation(&node.groups, again).await;
    assert!(second.iter().all(|it| it.generation_id > first[0].generation_id));
    let stale = node.groups.commit_offsets(commit(Some(&first[2]), 0..1, 99)).await;
    assert_eq!(stale, Err(GroupError::UnknownMemberId));
    node.groups.commit_offsets(commit(Some(&second[2]), 0..2, 42)).await.expect("committed");

    node.stop().await;
    let node = machine.start(GroupConfig::default()).await;
    for joined in &second {
        assert_eq!(heartbeat(&node.groups, joined).await, Ok(()), "the generation goes on");
    }
    assert_eq!(phase(&node.groups).await, GroupPhase::Stable);
    let expected = [(0, 42, "at 42"), (1, 42, "at 42"), (2, 41, "at 41")];
    assert_eq!(
        committed(&node.groups).await,
        expected.map(|(at, offset, note)| (at, offset, note.to_owned()))
    );
    // Members that do not come back are noticed.
    tokio::time::sleep(Duration::from_secs(80)).await;
    assert_eq!(phase(&node.groups).await, GroupPhase::Empty);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_tells_while_its_groups_are_loading() {
    let machine = Machine::new(6).await;
    let node = machine.start(GroupConfig::default()).await;
    node.groups.commit_offsets(commit(None, 0..3, 7)).await.expect("committed");
    node.stop().await;
    let node = machine.start_without_offsets_topic().await;
    // Not a single task has run since the start.
    assert_eq!(node.groups.still_loading(), OFFSETS_PARTITIONS);
    while node.groups.still_loading() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(committed(&node.groups).await.len(), 3, "what is loaded answers");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_survives_a_power_cut() {
    let machine = Machine::new(2).await;
    for round in 0..4_i64 {
        let node = machine.start(GroupConfig::default()).await;
        if round > 0 {
            assert!(committed(&node.groups).await.iter().all(|(_, offset, _)| *offset >= round * 10 - 1));
        }
        // Many at once: they share batches, and the last answers prove the first.
        let commits = (0..10).map(|n| node.groups.commit_offsets(commit(None, 0..5, round * 10 + n)));
        for answer in futures::future::join_all(commits).await {
            assert!(answer.expect("answered").iter().all(|one| one.result.is_ok()));
        }
        machine.crash();
        node.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_stays_short_and_says_the_same() {
    let machine = Machine::new(3).await;
    let node = machine.start(GroupConfig::default()).await;
    let joined = generation(&node.groups, [("a", ""), ("b", ""), ("c", "")]).await;
    for offset in 0..250 {
        node.groups.commit_offsets(commit(Some(&joined[0]), 0..100, offset)).await.expect("committed");
    }
    let partition = node.partition_of(GROUP);
    while partition.log_start_offset() == 0 {
        // Compaction goes on by itself, between requests.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(partition.log_end_offset() - partition.log_start_offset() < 10_000);
    let before = (committed(&node.groups).await, node.groups.describe(GROUP).await);
    node.stop().await;
    let node = machine.start(GroupConfig::default()).await;
    assert_eq!((committed(&node.groups).await, node.groups.describe(GROUP).await), before);
    assert_eq!(heartbeat(&node.groups, &joined[1]).await, Ok(()));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn offsets_of_a_deleted_topic_are_forgotten() {
    let machine = Machine::new(4).await;
    let node = machine.start(GroupConfig::default()).await;
    let topic = node.create_topic("t").await;
    node.groups.commit_offsets(commit(None, 0..3, 7)).await.expect("committed");
    node.delete_topic(topic).await;
    while !committed(&node.groups).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_without_a_coordinator_is_told_to_look_elsewhere() {
    let machine = Machine::new(5).await;
    let node = machine.start_without_offsets_topic().await;
    let refused = node.groups.commit_offsets(commit(None, 0..1, 1)).await;
    assert_eq!(refused, Err(GroupError::NotCoordinator));
    assert_eq!(node.groups.list().await, Ok(Vec::new()));
    node.stop().await;
}
