use std::time::Duration;

use aquifer_image::UnregisterBroker;
use aquifer_quorum::{
    Effect, Formation, MemoryStorage, Peer, ProposeError, Quorum, QuorumConfig, Request, Role, Storage,
};
use aquifer_types::{LogIndex, NodeId};
use futures::future::join_all;

use crate::support::{Lab, PATIENCE, agree, commit, get, leader_of, set, single, until};

async fn three_in_memory(lab: &Lab) -> (Vec<MemoryStorage>, Vec<Quorum>) {
    let storages: Vec<_> = (0..3).map(|_| MemoryStorage::new()).collect();
    let mut members = Vec::new();
    for (node, storage) in (1..).zip(&storages) {
        members.push(lab.start(Lab::one_of_three(node, Storage::Memory(storage.clone()))).await.unwrap());
    }
    (storages, members)
}

async fn stop(members: &[Quorum]) {
    join_all(members.iter().map(Quorum::shutdown)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_voters_elect_a_leader_and_a_follower_forwards_to_it() {
    let lab = Lab::new();
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut members = Vec::new();
    for (node, dir) in (1..).zip(&dirs) {
        let storage = Storage::Directory(dir.path().to_owned());
        members.push(lab.start(Lab::one_of_three(node, storage)).await.unwrap());
    }
    let leader = leader_of(&members).await;
    for member in &members {
        until("the leader is known", || member.status().leader == Some(leader.node())).await;
        commit(member, set(&format!("by-{}", member.node()), "x")).await;
    }
    agree(&members).await;
    assert_eq!(
        get(&leader, "by-1").and(get(&leader, "by-2")).and(get(&leader, "by-3")).as_deref(),
        Some("x")
    );

    // All stop, all come back: the same cluster from three directories.
    let cluster = leader.image().cluster_id();
    stop(&members).await;
    drop((leader, members));
    let mut members = Vec::new();
    for (node, dir) in (1..).zip(&dirs) {
        let storage = Storage::Directory(dir.path().to_owned());
        members.push(lab.start(Lab::one_of_three(node, storage)).await.unwrap());
    }
    let leader = leader_of(&members).await;
    assert_eq!(leader.image().cluster_id(), cluster);
    agree(&members).await;
    assert_eq!(get(&members[0], "by-3").as_deref(), Some("x"));
    stop(&members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_knows_who_keeps_up_and_no_vote_is_given_to_who_left_for_good() {
    let lab = Lab::new();
    let (_storages, members) = three_in_memory(&lab).await;
    let leader = leader_of(&members).await;
    commit(&leader, set("x", "y")).await;
    let current = |silence| leader.current_voters(silence, 0);
    until("all keep up", || current(PATIENCE).len() == 3).await;
    let follower = members.iter().find(|member| member.node() != leader.node()).unwrap();
    assert_eq!(follower.current_voters(PATIENCE, 0), [], "only the leader can tell");
    follower.shutdown().await;
    let silence = Duration::from_millis(500);
    until("one is silent", || current(silence).len() == 2).await;
    assert!(!current(silence).contains(&follower.node()));

    leader.take_vote(follower.node(), PATIENCE).await.unwrap();
    assert_eq!((leader.status().voters.len(), leader.status().learners), (2, vec![follower.node()]));
    until("a learner is silent", || leader.silent_learners(silence) == [follower.node()]).await;
    leader.remove_learner(follower.node(), PATIENCE).await.unwrap();
    assert_eq!(leader.members().len(), 2);

    let left = NodeId(4);
    commit(&leader, UnregisterBroker { node: left }.into()).await;
    let peer = Peer { node: left, directory: 7, address: "nowhere".to_owned() };
    let refused = leader.handle(Request::Join(peer)).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("decommissioned")));
    stop(&members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_is_lost_another_one_takes_over_and_the_lost_one_catches_up() {
    let lab = Lab::new();
    let (storages, mut members) = three_in_memory(&lab).await;
    let lost = leader_of(&members).await;
    commit(&lost, set("before", "x")).await;
    // A power cut: what it did not sync is gone.
    storages[lost.node().0 as usize - 1].crash();
    lost.shutdown().await;
    members.retain(|member| member.node() != lost.node());

    let leader = leader_of(&members).await;
    assert_ne!(leader.node(), lost.node());
    assert_eq!(get(&leader, "before").as_deref(), Some("x"));
    commit(&leader, set("after", "x")).await;

    let storage = storages[lost.node().0 as usize - 1].clone();
    members.push(lab.start(Lab::one_of_three(lost.node().0, Storage::Memory(storage))).await.unwrap());
    agree(&members).await;
    assert_eq!(get(&members[2], "after").as_deref(), Some("x"));
    stop(&members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_back_at_once_does_not_lead_on_without_what_only_the_others_synced() {
    let lab = Lab::new();
    let (storages, mut members) = three_in_memory(&lab).await;
    let leader = leader_of(&members).await;
    let (node, at) = (leader.node().0, leader.node().0 as usize - 1);
    // The others are a majority without it: whether its own sync came first must not matter.
    storages[at].lie();
    for number in 0..10 {
        commit(&leader, set("number", &number.to_string())).await;
    }
    agree(&members).await;
    storages[at].crash();
    leader.shutdown().await;
    drop(leader);
    members[at] = lab.start(Lab::one_of_three(node, Storage::Memory(storages[at].clone()))).await.unwrap();

    // In its old term it would give other entries the ids of those it lost.
    commit(&members[at], set("after", "x")).await;
    agree(&members).await;
    for member in &members {
        assert_eq!(
            (get(member, "number").as_deref(), get(member, "after").as_deref()),
            (Some("9"), Some("x"))
        );
    }
    stop(&members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opens_a_wiped_memory_is_another_member() {
    let lab = Lab::new();
    let storage = MemoryStorage::new();
    let config = || QuorumConfig::new(NodeId(1), Storage::Memory(storage.clone()), Formation::Join);
    let directory_of = async || {
        let member = lab.start(config()).await.unwrap();
        let directory = member.directory();
        member.shutdown().await;
        directory
    };
    let first = directory_of().await;
    assert_eq!(directory_of().await, first);
    storage.wipe();
    let second = directory_of().await;
    assert_ne!(second, first);
    storage.wipe_but_for_its_id();
    assert_eq!(directory_of().await, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_does_not_know_what_becomes_of_its_proposal() {
    let lab = Lab::new();
    let (_storages, members) = three_in_memory(&lab).await;
    let old = leader_of(&members).await;
    lab.router.isolate(old.node());
    let error = old.propose(set("alone", "x")).await.unwrap_err();
    assert!(matches!(error, ProposeError::Unknown { .. }) && error.effect() == Effect::Unknown, "{error}");

    let others: Vec<_> = members.iter().filter(|member| member.node() != old.node()).cloned().collect();
    let leader = leader_of(&others).await;
    commit(&leader, set("together", "x")).await;
    assert_eq!(get(&leader, "alone"), None, "two of three never saw it");

    lab.router.heal();
    agree(&members).await;
    assert_eq!((get(&old, "alone"), get(&old, "together").as_deref()), (None, Some("x")));
    stop(&members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_acknowledged_and_healing_ends_it() {
    let lab = Lab::new();
    let (_storages, members) = three_in_memory(&lab).await;
    leader_of(&members).await;
    members.iter().for_each(|member| lab.router.isolate(member.node()));
    for (n, member) in members.iter().enumerate() {
        assert!(member.propose(set(&format!("lonely-{n}"), "x")).await.is_err());
    }
    lab.router.heal();
    let leader = leader_of(&members).await;
    until("a commit", || leader.status().role == Role::Leader).await;
    agree(&members).await;
    stop(&members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_network_that_loses_messages_what_is_acknowledged_is_there_once() {
    let lab = Lab::new();
    let (_storages, members) = three_in_memory(&lab).await;
    leader_of(&members).await;
    lab.router.lose_one_in(12);
    let counts = join_all(members.iter().map(|member| async move {
        let name = format!("count-{}", member.node());
        let mut acked = 0u32;
        for n in 1..=25u32 {
            match member.propose(set(&name, &n.to_string())).await {
                Ok((_, verdict)) => {
                    verdict.unwrap();
                    acked = n;
                }
                Err(ProposeError::Unknown { .. } | ProposeError::NoLeader { .. }) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        (name, acked)
    }))
    .await;
    lab.router.heal();
    agree(&members).await;
    assert!(counts.iter().any(|(_, acked)| *acked > 0), "{counts:?}");
    for (name, acked) in counts {
        // A later one may have taken effect without an answer; an earlier one cannot stand in its place.
        let found = get(&members[0], &name).map_or(0, |value| value.parse::<u32>().unwrap());
        assert!(found >= acked, "{name}: acknowledged {acked}, found {found}");
    }
    stop(&members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_voter_joins_by_snapshot_when_the_log_is_purged() {
    let lab = Lab::new();
    let dir = tempfile::tempdir().unwrap();
    let mut config = single(dir.path());
    (config.snapshot_every, config.log_keep) = (50, 5);
    let first = lab.start(config.clone()).await.unwrap();
    for n in 0..300 {
        commit(&first, set(&format!("name-{n}"), "x")).await;
    }
    until("a purge", || first.status().purged > Some(LogIndex(100))).await;

    let mut members = vec![first.clone()];
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    for (node, dir) in (2..).zip(&dirs) {
        let storage = Storage::Directory(dir.path().to_owned());
        let joining = lab.start(QuorumConfig::new(NodeId(node), storage, Formation::Join)).await.unwrap();
        assert_eq!(joining.status().role, Role::Learner);
        first
            .add_voter(
                Peer { node: NodeId(node), directory: joining.directory(), address: format!("node-{node}") },
                PATIENCE,
            )
            .await
            .unwrap();
        assert!(joining.status().snapshot >= Some(LogIndex(100)), "{:?}", joining.status());
        members.push(joining);
    }
    assert_eq!(first.status().voters, [NodeId(1), NodeId(2), NodeId(3)]);
    agree(&members).await;
    assert_eq!(get(&members[2], "name-0").as_deref(), Some("x"));

    // The two newcomers are a majority of the three.
    first.shutdown().await;
    let leader = leader_of(&members[1..]).await;
    commit(&leader, set("without-the-first", "x")).await;
    leader.remove_voter(NodeId(1), PATIENCE).await.unwrap();
    assert_eq!(leader.status().voters, [NodeId(2), NodeId(3)]);
    agree(&members[1..]).await;
    stop(&members[1..]).await;

    // A newcomer comes back from its own directory, as a member of the cluster it joined.
    drop((leader, members));
    let again = QuorumConfig::new(NodeId(3), Storage::Directory(dirs[1].path().to_owned()), Formation::Join);
    let again = lab.start(again).await.unwrap();
    assert_eq!(again.image().cluster_id(), first.image().cluster_id());
    again.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_stays_where_nobody_else_could_take_it() {
    let lab = Lab::new();
    let (_storages, members) = three_in_memory(&lab).await;
    let leader = leader_of(&members).await;
    agree(&members).await;
    for nobody in [leader.node(), NodeId(99)] {
        leader.transfer_lead(nobody).await;
        commit(&leader, set("still-leads", "x")).await;
    }
    assert_eq!(leader.status().role, Role::Leader);
    stop(&members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_can_be_handed_over() {
    let lab = Lab::new();
    let (_storages, members) = three_in_memory(&lab).await;
    let leader = leader_of(&members).await;
    agree(&members).await;
    let heir = members.iter().find(|member| member.node() != leader.node()).expect("there are three");
    leader.transfer_lead(heir.node()).await;
    until("the heir leads", || heir.status().role == Role::Leader).await;
    commit(heir, set("by-the-heir", "x")).await;
    agree(&members).await;
    stop(&members).await;
}
