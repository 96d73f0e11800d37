//! The group protocol on simulated time.

use crate::{
    GroupConfig, GroupError, GroupPhase, JoinRequest, Protocol, SyncRequest,
    event::{Request, Response},
    shard::scene::{GROUP, Scene, commit_as, join, protocol, rejoin, static_join, sync},
};

fn scene() -> Scene {
    Scene::new(GroupConfig::default())
}

#[test]
fn a_new_dynamic_member_is_given_an_id_and_told_to_come_back() {
    let mut scene = scene();
    let first = scene.join(join("client"));
    let refused = scene.joined(first).expect("at once").expect_err("refused");
    assert_eq!(refused.error, GroupError::MemberIdRequired);
    assert!(refused.member_id.starts_with("client-"));
    assert_eq!(scene.phase(), GroupPhase::Empty);
}

#[test]
fn an_old_client_joins_at_once() {
    let mut scene = scene();
    let reply = scene.join(JoinRequest { requires_known_member_id: false, ..join("old") });
    assert_eq!(scene.joined(reply), None);
    assert_eq!(scene.phase(), GroupPhase::PreparingRebalance);
}

#[test]
fn an_id_that_is_not_used_within_its_session_is_forgotten() {
    let mut scene = scene();
    let first = scene.join(join("client"));
    let member_id = scene.joined(first).expect("at once").expect_err("refused").member_id;
    scene.advance(10_001);
    let late = scene.join(JoinRequest { member_id, ..join("client") });
    assert_eq!(scene.joined(late).expect("at once").expect_err("refused").error, GroupError::UnknownMemberId);
}

#[test]
fn an_unknown_member_id_is_refused_and_makes_no_group() {
    let mut scene = scene();
    let reply = scene.join(JoinRequest { member_id: "ghost".into(), ..join("client") });
    assert_eq!(
        scene.joined(reply).expect("at once").expect_err("refused").error,
        GroupError::UnknownMemberId
    );
    assert_eq!(scene.phase(), GroupPhase::Dead);
    assert!(scene.log.is_empty());
}

#[test]
fn the_first_generation_waits_three_seconds_for_more_members() {
    let mut scene = scene();
    let (_, a) = scene.join_twice("a");
    scene.advance(2_999);
    assert_eq!(scene.joined(a), None);
    scene.advance(1);
    let joined = scene.joined(a).expect("formed").expect("joined");
    assert_eq!((joined.generation_id, joined.members.len()), (1, 1));
    assert_eq!(scene.phase(), GroupPhase::CompletingRebalance);
}

#[test]
fn a_member_that_comes_during_the_delay_prolongs_it_once_each_time() {
    let mut scene = scene();
    let (_, a) = scene.join_twice("a");
    scene.advance(2_000);
    let (_, b) = scene.join_twice("b");
    scene.advance(1_000);
    assert_eq!(scene.joined(a), None, "somebody came during the first delay");
    scene.advance(3_000);
    assert!(scene.joined(a).is_some() && scene.joined(b).is_some());
}

#[test]
fn the_initial_delay_never_exceeds_the_rebalance_timeout() {
    let mut scene = scene();
    let impatient = |client: &str| JoinRequest {
        requires_known_member_id: false,
        rebalance_timeout_ms: 5_000,
        ..join(client)
    };
    let first = scene.join(impatient("a"));
    for client in ["b", "c", "d"] {
        scene.advance(1_500);
        scene.join(impatient(client));
    }
    scene.advance(500);
    assert!(scene.joined(first).is_some(), "3 s, then the remaining 2 s");
}

#[test]
fn only_the_leader_learns_of_the_members() {
    let mut scene = scene();
    let joined = scene.stable(&["a", "b", "c"]);
    assert_eq!(joined[0].leader, joined[0].member_id);
    assert_eq!(joined[0].members.len(), 3);
    assert!(joined[1].members.is_empty() && joined[2].members.is_empty());
    assert!(joined.iter().all(|it| it.protocol_name.as_deref() == Some("range")));
}

#[test]
fn followers_wait_for_the_leaders_assignment() {
    let mut scene = scene();
    let (a, b) = (scene.join_twice("a").1, scene.join_twice("b").1);
    scene.advance(6_000);
    let mut joined = [scene.joined(a), scene.joined(b)].map(|it| it.expect("formed").expect("joined"));
    joined.sort_by_key(|it| it.leader != it.member_id);
    let follower = scene.ask(Request::Sync(sync(&joined[1])));
    assert_eq!(scene.synced(follower), None);
    let assignments = vec![(joined[1].member_id.clone(), "yours".into())];
    let leader =
        scene.sync(SyncRequest { assignments, ..sync(&joined[0]) }).expect("at once").expect("synced");
    assert!(leader.assignment.is_empty(), "whom the leader leaves out gets an empty assignment");
    let follower = scene.synced(follower).expect("assigned").expect("synced");
    assert_eq!(&follower.assignment[..], b"yours");
    assert_eq!(follower.protocol_type.as_deref(), Some("consumer"));
}

#[test]
fn a_refused_assignment_makes_the_members_rebalance() {
    let mut scene = scene();
    let (_, a) = scene.join_twice("a");
    scene.advance(3_000);
    let joined = scene.joined(a).expect("formed").expect("joined");
    scene.refuse_writes = true;
    let synced = scene.sync(sync(&joined)).expect("at once");
    assert_eq!(synced, Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(scene.heartbeat(&joined), Err(GroupError::RebalanceInProgress));
}

#[test]
fn the_protocol_is_one_that_all_speak_and_most_prefer() {
    let mut scene = scene();
    let speaking = |client: &str, names: &[&str]| JoinRequest {
        protocols: names.iter().map(|name| protocol(name)).collect(),
        requires_known_member_id: false,
        ..join(client)
    };
    let a = scene.join(speaking("a", &["range", "sticky", "only-a"]));
    scene.join(speaking("b", &["sticky", "range"]));
    scene.join(speaking("c", &["sticky", "range"]));
    scene.advance(6_000);
    let joined = scene.joined(a).expect("formed").expect("joined");
    assert_eq!(joined.protocol_name.as_deref(), Some("sticky"));
    let stranger = scene.join(speaking("d", &["only-a", "other"]));
    let refused = scene.joined(stranger).expect("at once").expect_err("refused");
    assert_eq!(refused.error, GroupError::InconsistentGroupProtocol);
}

#[test]
fn protocol_types_are_opaque_but_must_agree() {
    let mut scene = scene();
    let connect = |client: &str| JoinRequest {
        protocol_type: "connect".into(),
        protocols: vec![Protocol { name: "sessioned".into(), metadata: "\u{1}anything".into() }],
        requires_known_member_id: false,
        ..join(client)
    };
    let worker = scene.join(connect("w"));
    let consumer = scene.join(join("c"));
    let refused = scene.joined(consumer).expect("at once").expect_err("refused");
    assert_eq!(refused.error, GroupError::InconsistentGroupProtocol);
    scene.advance(3_000);
    let joined = scene.joined(worker).expect("formed").expect("joined");
    assert_eq!(joined.protocol_type.as_deref(), Some("connect"));
}

#[test]
fn an_empty_protocol_type_or_list_is_refused() {
    let mut scene = scene();
    for request in [
        JoinRequest { protocol_type: String::new(), ..join("c") },
        JoinRequest { protocols: Vec::new(), ..join("c") },
    ] {
        let reply = scene.join(request);
        let refused = scene.joined(reply).expect("at once").expect_err("refused");
        assert_eq!(refused.error, GroupError::InconsistentGroupProtocol);
    }
    assert_eq!(scene.phase(), GroupPhase::Dead, "a refused join leaves no group behind");
}

#[test]
fn a_joining_member_rebalances_a_stable_group() {
    let mut scene = scene();
    let old = scene.stable(&["a", "b"]);
    let (_, c) = scene.join_twice("c");
    assert_eq!(scene.heartbeat(&old[0]), Err(GroupError::RebalanceInProgress));
    let (a, b) = (scene.join(rejoin(&old[0], "a")), scene.join(rejoin(&old[1], "b")));
    let joined: Vec<_> = [a, b, c].map(|it| scene.joined(it).expect("all are there").expect("joined")).into();
    assert!(joined.iter().all(|it| it.generation_id == 2));
    scene.finish(joined);
    assert_eq!(scene.heartbeat(&old[0]), Err(GroupError::IllegalGeneration));
}

#[test]
fn a_pending_member_holds_up_the_rebalance_until_its_session_ends() {
    let mut scene = scene();
    let old = scene.stable(&["a"]);
    scene.join(join("slow"));
    let a = scene.join(JoinRequest { reason: Some("new topics".into()), ..rejoin(&old[0], "a") });
    assert_eq!(scene.joined(a), None);
    scene.advance(10_001);
    assert_eq!(scene.joined(a).expect("formed").expect("joined").members.len(), 1);
}

#[test]
fn members_that_do_not_rejoin_within_the_rebalance_timeout_are_removed() {
    let mut scene = scene();
    let old = scene.stable(&["a", "b"]);
    let (_, c) = scene.join_twice("c");
    for _ in 0..12 {
        scene.advance(5_000);
        // They show that they live, but never come.
        let alive = old.iter().map(|member| scene.heartbeat(member)).collect::<Vec<_>>();
        if scene.phase() == GroupPhase::PreparingRebalance {
            assert!(alive.iter().all(|it| *it == Err(GroupError::RebalanceInProgress)));
        }
    }
    let joined = scene.joined(c).expect("the timeout has passed").expect("joined");
    assert_eq!((joined.members.len(), &joined.leader), (1, &joined.member_id));
    assert_eq!(scene.heartbeat(&old[0]), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_silent_member_is_removed_and_the_others_rebalance() {
    let mut scene = scene();
    let old = scene.stable(&["a", "b"]);
    for _ in 0..3 {
        scene.advance(4_000);
        scene.heartbeat(&old[0]).ok();
    }
    assert_eq!(scene.heartbeat(&old[0]), Err(GroupError::RebalanceInProgress));
    let a = scene.join(rejoin(&old[0], "a"));
    let joined = scene.joined(a).expect("nobody else is left").expect("joined");
    assert_eq!((joined.generation_id, joined.members.len()), (2, 1));
}

#[test]
fn a_commit_keeps_the_session() {
    let mut scene = scene();
    let old = scene.stable(&["a"]);
    for offset in 0..4 {
        scene.advance(9_000);
        assert_eq!(scene.commit(commit_as(&old[0], "t", offset)), Ok(vec![Ok(())]));
    }
    assert_eq!(scene.heartbeat(&old[0]), Ok(()));
}

#[test]
fn a_group_whose_members_are_gone_is_empty_and_keeps_counting_generations() {
    let mut scene = scene();
    scene.stable(&["a"]);
    scene.advance(10_001);
    let empty = scene.describe().expect("still there");
    assert_eq!((empty.state, empty.protocol_type.as_str()), (GroupPhase::Empty, "consumer"));
    let again = scene.stable(&["b"]);
    assert_eq!(again[0].generation_id, 3);
}

#[test]
fn a_member_that_never_syncs_is_removed_after_the_rebalance_timeout() {
    let mut scene = scene();
    let (a, b) = (scene.join_twice("a").1, scene.join_twice("b").1);
    scene.advance(6_000);
    let mut joined = [scene.joined(a), scene.joined(b)].map(|it| it.expect("formed").expect("joined"));
    joined.sort_by_key(|it| it.leader != it.member_id);
    assert!(scene.sync(sync(&joined[0])).is_some());
    for _ in 0..14 {
        scene.advance(5_000);
        scene.heartbeat(&joined[0]).ok();
        scene.heartbeat(&joined[1]).ok();
    }
    assert_eq!(scene.heartbeat(&joined[0]), Err(GroupError::RebalanceInProgress));
    assert_eq!(scene.heartbeat(&joined[1]), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_lost_join_answer_is_given_again_while_the_metadata_is_the_same() {
    let mut scene = scene();
    let (id, a) = scene.join_twice("a");
    scene.advance(3_000);
    let first = scene.joined(a).expect("formed").expect("joined");
    let again = scene.join(JoinRequest { member_id: id.clone(), ..join("a") });
    assert_eq!(scene.joined(again).expect("at once").expect("joined"), first);
    let changed = scene.join(JoinRequest {
        member_id: id,
        protocols: vec![protocol("range"), protocol("sticky")],
        ..join("a")
    });
    assert_eq!(scene.joined(changed).expect("alone").expect("joined").generation_id, 2);
}

#[test]
fn a_stable_follower_that_joins_again_gets_its_generation_and_the_leader_a_rebalance() {
    let mut scene = scene();
    let old = scene.stable(&["a", "b"]);
    let follower = scene.join(rejoin(&old[1], "b"));
    let same = scene.joined(follower).expect("at once").expect("joined");
    assert_eq!((same.generation_id, same.leader.as_str()), (1, old[0].member_id.as_str()));
    assert_eq!(scene.phase(), GroupPhase::Stable);
    scene.join(rejoin(&old[0], "a"));
    assert_eq!(scene.phase(), GroupPhase::PreparingRebalance);
}

#[test]
fn a_second_join_of_a_waiting_member_ends_the_first() {
    let mut scene = scene();
    let (id, first) = scene.join_twice("a");
    let second = scene.join(JoinRequest { member_id: id, ..join("a") });
    assert_eq!(
        scene.joined(first).expect("ended").expect_err("refused").error,
        GroupError::RebalanceInProgress
    );
    scene.advance(3_000);
    assert!(scene.joined(second).is_some());
}

#[test]
fn sync_checks_member_generation_and_protocol() {
    let mut scene = scene();
    let member = scene.stable(&["a"]).remove(0);
    let cases = [
        (SyncRequest { member_id: "x".into(), ..sync(&member) }, GroupError::UnknownMemberId),
        (SyncRequest { group_id: "other".into(), ..sync(&member) }, GroupError::UnknownMemberId),
        (SyncRequest { generation_id: 9, ..sync(&member) }, GroupError::IllegalGeneration),
        (
            SyncRequest { protocol_type: Some("sr".into()), ..sync(&member) },
            GroupError::InconsistentGroupProtocol,
        ),
        (
            SyncRequest { protocol_name: Some("x".into()), ..sync(&member) },
            GroupError::InconsistentGroupProtocol,
        ),
    ];
    for (request, error) in cases {
        assert_eq!(scene.sync(request), Some(Err(error)));
    }
    let asked_again = scene.sync(SyncRequest { protocol_type: None, ..sync(&member) });
    assert_eq!(asked_again.expect("at once").expect("synced").assignment, member.member_id);
}

#[test]
fn group_max_size_takes_the_first_and_refuses_the_rest() {
    let mut scene = Scene::new(GroupConfig { max_size: 2, ..GroupConfig::default() });
    let waiting: Vec<_> = (0..3)
        .map(|n| scene.join(JoinRequest { requires_known_member_id: false, ..join(&format!("c{n}")) }))
        .collect();
    let refused = scene.joined(waiting[2]).expect("at once").expect_err("refused");
    assert_eq!(refused.error, GroupError::GroupMaxSizeReached);
    scene.advance(6_000);
    assert!(scene.joined(waiting[0]).is_some() && scene.joined(waiting[1]).is_some());
}

#[test]
fn leaving_rebalances_and_the_last_one_leaves_the_group_empty() {
    let mut scene = scene();
    let old = scene.stable(&["a", "b"]);
    assert_eq!(scene.leave(&[(&old[0].member_id, None)]), [Ok(())]);
    assert_eq!(scene.heartbeat(&old[0]), Err(GroupError::UnknownMemberId));
    assert_eq!(scene.heartbeat(&old[1]), Err(GroupError::RebalanceInProgress));
    assert_eq!(scene.leave(&[(&old[1].member_id, None)]), [Ok(())]);
    assert_eq!(scene.phase(), GroupPhase::Empty);
    assert_eq!(scene.leave(&[(&old[1].member_id, None)]), [Err(GroupError::UnknownMemberId)]);
}

#[test]
fn a_member_that_leaves_while_it_waits_is_answered() {
    let mut scene = scene();
    let (id, waiting) = scene.join_twice("a");
    assert_eq!(scene.leave(&[(&id, None)]), [Ok(())]);
    assert_eq!(
        scene.joined(waiting).expect("answered").expect_err("gone").error,
        GroupError::UnknownMemberId
    );
    scene.advance(3_000);
    assert_eq!(scene.phase(), GroupPhase::Empty);
}

#[test]
fn a_restarted_static_member_takes_over_without_a_rebalance() {
    let mut scene = scene();
    let (a, b) = (scene.join(static_join("one")), scene.join(static_join("two")));
    scene.advance(6_000);
    let joined = [a, b].map(|it| scene.joined(it).expect("formed").expect("joined"));
    let joined = scene.finish(joined.into());
    for (old, skips) in [(&joined[0], true), (&joined[1], false)] {
        let instance = old.member_id.split('-').next().expect("instance id first").to_owned();
        let again = scene.join(static_join(&instance));
        let again = scene.joined(again).expect("at once").expect("joined");
        assert_ne!(again.member_id, old.member_id);
        assert_eq!((again.generation_id, again.skip_assignment), (1, skips));
        assert_eq!(again.members.len(), if skips { 2 } else { 0 });
        let synced = scene.sync(SyncRequest { instance_id: Some(instance.clone()), ..sync(&again) });
        assert_eq!(synced.expect("at once").expect("synced").assignment, old.member_id, "its old assignment");
        let fenced = scene.sync(SyncRequest { instance_id: Some(instance), ..sync(old) });
        assert_eq!(fenced, Some(Err(GroupError::FencedInstanceId)));
        assert_eq!(scene.phase(), GroupPhase::Stable);
    }
}

#[test]
fn an_old_client_that_leads_as_a_static_member_is_told_the_old_leader() {
    let mut scene = scene();
    let a = scene.join(static_join("one"));
    scene.advance(3_000);
    let old = scene.joined(a).expect("formed").expect("joined");
    scene.finish(vec![old.clone()]);
    let again = scene.join(JoinRequest { supports_skipping_assignment: false, ..static_join("one") });
    let again = scene.joined(again).expect("at once").expect("joined");
    assert_eq!((again.leader, again.members.len(), again.skip_assignment), (old.leader, 0, false));
}

#[test]
fn a_static_member_whose_takeover_is_not_written_keeps_its_old_id() {
    let mut scene = scene();
    let a = scene.join(static_join("one"));
    scene.advance(3_000);
    let old = scene.joined(a).expect("formed").expect("joined");
    scene.finish(vec![old.clone()]);
    scene.refuse_writes = true;
    let again = scene.join(static_join("one"));
    let refused = scene.joined(again).expect("at once").expect_err("refused");
    assert_eq!(refused.error, GroupError::CoordinatorNotAvailable);
    assert_eq!(scene.heartbeat(&old), Ok(()));
}

#[test]
fn a_fenced_static_member_that_waits_is_told_so() {
    let mut scene = scene();
    let first = scene.join(static_join("one"));
    let second = scene.join(static_join("one"));
    assert_eq!(scene.joined(first).expect("ended").expect_err("fenced").error, GroupError::FencedInstanceId);
    scene.advance(6_000);
    assert!(scene.joined(second).expect("formed").is_ok());
}

#[test]
fn a_static_member_survives_a_rebalance_it_misses_but_not_its_session() {
    let mut scene = scene();
    let a = scene.join(JoinRequest { session_timeout_ms: 120_000, ..static_join("one") });
    scene.advance(3_000);
    let old = scene.joined(a).expect("formed").expect("joined");
    scene.finish(vec![old]);
    let (_, b) = scene.join_twice("b");
    scene.advance(60_000);
    let joined = scene.joined(b).expect("timed out").expect("joined");
    assert_eq!((joined.members.len(), joined.leader == joined.member_id), (2, true));
    scene.advance(120_000);
    assert!(scene.describe().expect("there").members.iter().all(|it| it.instance_id.is_none()));
}

#[test]
fn an_administrator_removes_static_members_in_one_batch() {
    let mut scene = scene();
    let (a, b) = (scene.join(static_join("one")), scene.join(static_join("two")));
    scene.advance(6_000);
    let joined = [a, b].map(|it| scene.joined(it).expect("formed").expect("joined"));
    scene.finish(joined.into());
    let left = scene.leave(&[("", Some("one")), ("", Some("nobody")), ("wrong", Some("two")), ("", None)]);
    let unknown = Err(GroupError::UnknownMemberId);
    assert_eq!(left, [Ok(()), unknown, Err(GroupError::FencedInstanceId), unknown]);
    assert_eq!(scene.describe().expect("there").members.len(), 1);
}

#[test]
fn a_restart_keeps_generation_members_and_assignments() {
    let mut scene = scene();
    let old = scene.stable(&["a", "b"]);
    let before = scene.describe();
    scene.restart();
    assert_eq!(scene.describe(), before);
    assert!(old.iter().all(|member| scene.heartbeat(member) == Ok(())));
    let synced = scene.sync(sync(&old[1])).expect("at once").expect("synced");
    assert_eq!(synced.assignment, old[1].member_id);
    scene.advance(9_999);
    assert_eq!(scene.phase(), GroupPhase::Stable, "sessions count from the restart");
    scene.advance(1);
    assert_eq!(scene.phase(), GroupPhase::Empty);
}

#[test]
fn a_group_is_described_with_metadata_only_when_stable() {
    let mut scene = scene();
    let old = scene.stable(&["a"]);
    let stable = scene.describe().expect("there");
    assert_eq!((stable.protocol_name.as_str(), stable.group_id.as_str()), ("range", GROUP));
    assert_eq!(stable.members[0].assignment, old[0].member_id);
    assert!(!stable.members[0].metadata.is_empty());
    scene.join_twice("b");
    let rebalancing = scene.describe().expect("there");
    assert_eq!(rebalancing.protocol_name, "");
    assert!(rebalancing.members.iter().all(|member| member.metadata.is_empty()));
    let listed = scene.call(Request::List);
    let Response::List(listed) = listed else { panic!("not a list") };
    assert_eq!((listed.len(), listed[0].state), (1, GroupPhase::PreparingRebalance));
}
