//! Offsets: commit, fetch, delete, expiry, and what a restart finds.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    scene::{GROUP, Scene, at, commit, commit_as, join, rejoin},
    *,
};
use crate::{
    CommitRequest, DeleteOffsetsRequest, FetchOffsetsRequest, FetchedOffset, JoinRequest, OffsetToCommit,
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn scene() -> Scene {
    Scene::new(GroupConfig::default())
}

fn fetch(scene: &mut Scene, partitions: Option<Vec<crate::TopicPartition>>) -> Vec<FetchedOffset> {
    let request = FetchOffsetsRequest { group_id: GROUP.into(), partitions };
    match scene.call(Request::FetchOffsets(request)) {
        Response::FetchOffsets(Ok(offsets)) => offsets,
        other => panic!("not offsets: {other:?}"),
    }
}

fn delete_offsets(scene: &mut Scene, topic: &str) -> Result<Result<(), GroupError>, GroupError> {
    let request = DeleteOffsetsRequest { group_id: GROUP.into(), partitions: vec![at(topic, 0)] };
    match scene.call(Request::DeleteOffsets(request)) {
        Response::DeleteOffsets(response) => response.map(|mut results| results.remove(0).1),
        other => panic!("not a deletion: {other:?}"),
    }
}

fn delete_group(scene: &mut Scene) -> Result<(), GroupError> {
    match scene.call(Request::Delete(GROUP.into())) {
        Response::Delete(response) => response,
        other => panic!("not a deletion: {other:?}"),
    }
}

fn expire(scene: &mut Scene) {
    let effects = scene.shard.expire(scene.now());
    scene.perform(effects);
}

#[test]
fn a_simple_commit_makes_a_group_and_is_returned_as_given() {
    let mut scene = scene();
    assert_eq!(scene.commit(commit("t", 1, 42)), Ok(vec![Ok(())]));
    let offsets = fetch(&mut scene, Some(vec![at("t", 1), at("t", 2)]));
    let committed =
        FetchedOffset { partition: at("t", 1), offset: 42, leader_epoch: 3, metadata: "note".into() };
    let none = FetchedOffset { partition: at("t", 2), offset: -1, leader_epoch: -1, metadata: String::new() };
    assert_eq!(offsets, [committed.clone(), none]);
    assert_eq!(fetch(&mut scene, None), [committed]);
    assert_eq!(scene.phase(), GroupPhase::Empty);
}

#[test]
fn an_unknown_group_has_no_offsets_and_no_error() {
    let mut scene = scene();
    assert_eq!(fetch(&mut scene, Some(vec![at("t", 0)]))[0].offset, -1);
    assert!(fetch(&mut scene, None).is_empty());
}

#[test]
fn a_commit_of_a_generation_to_an_unknown_group_is_refused_as_the_client_understands() {
    let mut scene = scene();
    let member = |understands| CommitRequest {
        generation_id: 1,
        member_id: "m".into(),
        understands_group_id_not_found: understands,
        ..commit("t", 0, 1)
    };
    assert_eq!(scene.commit(member(true)), Err(GroupError::GroupIdNotFound));
    assert_eq!(scene.commit(member(false)), Err(GroupError::IllegalGeneration));
}

#[test]
fn members_commit_in_their_generation_and_strangers_not_at_all() {
    let mut scene = scene();
    let member = scene.stable(&["a"]).remove(0);
    assert_eq!(scene.commit(commit_as(&member, "t", 5)), Ok(vec![Ok(())]));
    assert_eq!(scene.commit(commit("t", 0, 6)), Err(GroupError::UnknownMemberId), "a simple commit");
    let stale = CommitRequest { generation_id: 0, ..commit_as(&member, "t", 7) };
    assert_eq!(scene.commit(stale), Err(GroupError::IllegalGeneration));
    let ghost = CommitRequest { member_id: "ghost".into(), ..commit_as(&member, "t", 8) };
    assert_eq!(scene.commit(ghost), Err(GroupError::UnknownMemberId));
    assert_eq!(fetch(&mut scene, None)[0].offset, 5);
}

#[test]
fn members_may_commit_while_others_join_but_not_before_the_assignment() {
    let mut scene = scene();
    let member = scene.stable(&["a"]).remove(0);
    scene.join_twice("b");
    assert_eq!(scene.commit(commit_as(&member, "t", 5)), Ok(vec![Ok(())]));
    let again = scene.join(rejoin(&member, "a"));
    let joined = scene.joined(again).expect("formed").expect("joined");
    assert_eq!(scene.commit(commit_as(&joined, "t", 6)), Err(GroupError::RebalanceInProgress));
}

#[test]
fn metadata_over_the_limit_is_refused_for_its_partition_only() {
    let mut scene = scene();
    let mut request = commit("t", 0, 1);
    let offset =
        |metadata: &str| OffsetToCommit { offset: 9, leader_epoch: -1, metadata: Some(metadata.into()) };
    request.offsets.push((at("t", 1), offset(&"x".repeat(4_097))));
    request.offsets.push((at("t", 2), offset(&"ü".repeat(4_096))));
    assert_eq!(scene.commit(request), Ok(vec![Ok(()), Err(GroupError::OffsetMetadataTooLarge), Ok(())]));
    let offsets = fetch(&mut scene, None);
    assert_eq!(offsets.len(), 2);
    assert_eq!(offsets[1].metadata, "ü".repeat(4_096));
}

#[test]
fn a_commit_that_the_log_refuses_did_not_happen() {
    let mut scene = scene();
    scene.refuse_writes = true;
    assert_eq!(scene.commit(commit("t", 0, 1)), Err(GroupError::CoordinatorNotAvailable));
    assert!(fetch(&mut scene, None).is_empty());
}

#[test]
fn offsets_of_subscribed_topics_are_not_deleted() {
    let mut scene = scene();
    let member = scene.stable(&["a"]).remove(0);
    scene.commit(commit_as(&member, "t", 1)).expect("committed");
    scene.commit(commit_as(&member, "other", 1)).expect("committed");
    assert_eq!(delete_offsets(&mut scene, "t"), Ok(Err(GroupError::GroupSubscribedToTopic)));
    assert_eq!(delete_offsets(&mut scene, "other"), Ok(Ok(())));
    assert_eq!(delete_offsets(&mut scene, "never"), Ok(Ok(())));
    scene.restart();
    assert_eq!(fetch(&mut scene, None).len(), 1);
}

#[test]
fn offsets_of_an_opaque_group_are_deleted_only_when_it_is_empty() {
    let mut scene = scene();
    let request =
        JoinRequest { protocol_type: "connect".into(), requires_known_member_id: false, ..join("w") };
    let reply = scene.join(request);
    scene.advance(3_000);
    assert!(scene.joined(reply).is_some());
    assert_eq!(delete_offsets(&mut scene, "t"), Err(GroupError::NonEmptyGroup));
    scene.advance(300_000);
    assert_eq!(delete_offsets(&mut scene, "t"), Ok(Ok(())));
}

#[test]
fn only_empty_groups_are_deleted_with_all_they_have() {
    let mut scene = scene();
    assert_eq!(delete_group(&mut scene), Err(GroupError::GroupIdNotFound));
    assert_eq!(delete_offsets(&mut scene, "t"), Err(GroupError::GroupIdNotFound));
    let member = scene.stable(&["a"]).remove(0);
    scene.commit(commit_as(&member, "t", 1)).expect("committed");
    assert_eq!(delete_group(&mut scene), Err(GroupError::NonEmptyGroup));
    scene.leave(&[(&member.member_id, None)]);
    scene.refuse_writes = true;
    assert_eq!(delete_group(&mut scene), Err(GroupError::CoordinatorNotAvailable));
    scene.refuse_writes = false;
    assert_eq!(delete_group(&mut scene), Ok(()));
    assert_eq!(scene.phase(), GroupPhase::Dead);
    scene.restart();
    assert_eq!(scene.phase(), GroupPhase::Dead);
    assert!(fetch(&mut scene, None).is_empty());
    assert_eq!(scene.shard.next_ms(), None, "nothing is left to wake up for");
}

#[test]
fn offsets_of_a_simple_group_expire_after_their_commit() {
    let mut scene = scene();
    scene.commit(commit("t", 0, 1)).expect("committed");
    scene.advance(6 * DAY_MS);
    scene.commit(commit("t", 1, 1)).expect("committed");
    scene.advance(DAY_MS);
    expire(&mut scene);
    assert_eq!(fetch(&mut scene, None)[0].partition, at("t", 1));
    scene.advance(6 * DAY_MS);
    expire(&mut scene);
    assert_eq!(scene.phase(), GroupPhase::Dead, "the group goes with its last offset");
}

#[test]
fn offsets_of_a_group_with_members_expire_only_for_topics_it_left() {
    let mut scene = scene();
    let member = scene.stable(&["a"]).remove(0);
    scene.commit(commit_as(&member, "t", 1)).expect("committed");
    scene.commit(commit_as(&member, "left", 1)).expect("committed");
    for _ in 0..(8 * DAY_MS / 9_000) {
        scene.advance(9_000);
        assert_eq!(scene.heartbeat(&member), Ok(()));
    }
    expire(&mut scene);
    let offsets = fetch(&mut scene, None);
    assert_eq!((offsets.len(), &offsets[0].partition), (1, &at("t", 0)));
}

#[test]
fn offsets_of_a_left_group_expire_after_it_became_empty() {
    let mut scene = scene();
    let member = scene.stable(&["a"]).remove(0);
    scene.commit(commit_as(&member, "t", 1)).expect("committed");
    scene.advance(5_000);
    scene.leave(&[(&member.member_id, None)]);
    scene.advance(7 * DAY_MS - 1);
    scene.restart();
    expire(&mut scene);
    assert_eq!(fetch(&mut scene, None).len(), 1);
    scene.advance(1);
    expire(&mut scene);
    assert_eq!(scene.phase(), GroupPhase::Dead);
}

#[test]
fn a_client_may_ask_for_its_own_retention() {
    let mut scene = scene();
    scene.commit(CommitRequest { retention_ms: Some(1_000), ..commit("t", 0, 1) }).expect("committed");
    scene.commit(commit("t", 1, 1)).expect("committed");
    scene.restart();
    scene.advance(1_000);
    expire(&mut scene);
    assert_eq!(fetch(&mut scene, None).len(), 1);
}

#[test]
fn offsets_of_deleted_topics_go() {
    let mut scene = scene();
    scene.commit(commit("gone", 0, 1)).expect("committed");
    scene.commit(commit("stays", 0, 1)).expect("committed");
    let effects = scene.shard.topics_deleted(&BTreeSet::from(["gone".to_owned()]));
    scene.perform(effects);
    scene.restart();
    assert_eq!(fetch(&mut scene, None)[0].partition, at("stays", 0));
}

#[test]
fn an_unloaded_coordinator_tells_those_who_wait() {
    let mut scene = scene();
    let (_, waiting) = scene.join_twice("a");
    let effects = scene.shard.unload(GroupError::NotCoordinator, scene.now());
    scene.perform(effects);
    assert_eq!(scene.joined(waiting).expect("told").expect_err("refused").error, GroupError::NotCoordinator);
}

#[test]
fn records_of_other_kinds_are_left_alone_and_unknown_versions_stop_the_load() {
    let mut scene = scene();
    let record = replayed(b"\x00\x03\x00\x01g", Some(Bytes::from_static(b"?"))).expect("a key");
    scene.shard.replay(record, scene.now()).expect("left alone");
    let record = replayed(b"\x00\x02\x00\x01g", Some(Bytes::from_static(b"\x00\x09"))).expect("a key");
    assert!(matches!(
        scene.shard.replay(record, scene.now()),
        Err(SchemaError::UnknownVersion { version: 9, .. })
    ));
}

/// The checkpoint's slices alone, as a log.
fn checkpoint(scene: &Scene, max_bytes: usize) -> Vec<LogRecord> {
    let (mut records, mut after) = (Vec::new(), None);
    loop {
        let slice = scene.shard.slice(after.as_deref(), max_bytes);
        records.extend(slice.records);
        match slice.last_group {
            Some(group_id) => after = Some(group_id),
            None => return records,
        }
    }
}

#[test]
fn a_checkpoint_in_the_middle_of_a_rebalance_repeats_the_last_written_generation() {
    let mut scene = scene();
    let old = scene.stable(&["a"]);
    scene.join_twice("b");
    scene.log = checkpoint(&scene, 1);
    scene.restart();
    assert_eq!(scene.heartbeat(&old[0]), Ok(()));
}

proptest! {
    /// Any history of commits, deletions and tombstones, cut into slices anywhere with changes in between: the
    /// checkpoint and what follows it say the same as the whole log.
    #[test]
    fn a_sliced_checkpoint_replaces_the_log_before_it(
        before in proptest::collection::vec((0..6_u8, 0..3_i32, 0..100_i64), 0..40),
        between in proptest::collection::vec((0..6_u8, 0..3_i32, 0..100_i64), 0..40),
        max_bytes in 1..400_usize,
    ) {
        let mut scene = scene();
        let play = |scene: &mut Scene, (group, partition, offset): (u8, i32, i64)| {
            let group_id = format!("g{group}");
            if offset < 10 {
                scene.call(Request::Delete(group_id));
            } else {
                scene.call(Request::Commit(CommitRequest { group_id, ..commit("t", partition, offset) }));
            }
        };
        for step in before {
            play(&mut scene, step);
        }
        scene.log.clear();
        let mut after = None;
        let mut between = between.into_iter();
        loop {
            let slice = scene.shard.slice(after.as_deref(), max_bytes);
            scene.log.extend(slice.records);
            after = slice.last_group;
            if after.is_none() {
                break;
            }
            if let Some(step) = between.next() {
                play(&mut scene, step);
            }
        }
        let live = checkpoint(&scene, 1_000_000);
        prop_assert_eq!(scene.shard.live_records(), live.len());
        scene.restart();
        prop_assert_eq!(checkpoint(&scene, 1), live);
    }
}
