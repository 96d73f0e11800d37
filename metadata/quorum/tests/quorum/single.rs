use std::sync::Arc;

use aquifer_image::{Command, RegisterBroker, Rejection, RemoveObjects, encode_snapshot};
use aquifer_quorum::{
    Effect, FEED_ENTRIES, FeedChunk, MemoryStorage, ProposeError, Role, SNAPSHOT_BYTES, Storage,
};
use aquifer_runtime::TaskGroup;
use aquifer_types::{LogIndex, NodeId, ObjectId};
use futures::future::join_all;

use crate::support::{Lab, get, set, single};

#[tokio::test(flavor = "multi_thread")]
async fn an_only_voter_leads_a_cluster_with_an_id_when_its_start_returns() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new();
    let quorum = lab.start(single(dir.path())).await.unwrap();
    assert_eq!(quorum.status().role, Role::Leader);
    assert!(quorum.image().cluster_id().is_some());
    let (index, verdict) = quorum.propose(set("a", "1")).await.unwrap();
    verdict.unwrap();
    assert_eq!(quorum.image().applied(), index);
    assert_eq!(get(&quorum, "a").as_deref(), Some("1"));
    quorum.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_the_image_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new();
    let quorum = lab.start(single(dir.path())).await.unwrap();
    let cluster = quorum.image().cluster_id();
    for n in 0..20 {
        quorum.propose(set("n", &n.to_string())).await.unwrap().1.unwrap();
    }
    quorum.shutdown().await;
    for _ in 0..3 {
        let quorum = lab.start(single(dir.path())).await.unwrap();
        assert_eq!(quorum.image().cluster_id(), cluster);
        assert_eq!(get(&quorum, "n").as_deref(), Some("19"));
        quorum.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_from_the_snapshot_when_the_log_before_it_is_purged() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::new();
    let mut config = single(dir.path());
    (config.snapshot_every, config.log_keep) = (100, 10);
    let quorum = lab.start(config.clone()).await.unwrap();
    for n in 0..1_000 {
        quorum.propose(set(&format!("name-{}", n % 50), &n.to_string())).await.unwrap().1.unwrap();
    }
    crate::support::until("a purge", || quorum.status().purged > Some(LogIndex(300))).await;
    quorum.shutdown().await;
    let before = encode_snapshot(&quorum.image());
    let snapshots = std::fs::read_dir(dir.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("snapshot-"));
    assert_eq!(snapshots.count(), 1, "only the latest is kept");

    let quorum = lab.start(config).await.unwrap();
    assert!(quorum.status().snapshot > Some(LogIndex(300)));
    // The restart adds entries of raft's own, which show in the index alone.
    let mut restored = quorum.image();
    assert_eq!(restored.brokers().count(), 0);
    let (index, _) = quorum.propose(set("after", "x")).await.unwrap();
    restored.apply(index, &set("after", "x")).unwrap();
    assert_eq!(encode_snapshot(&restored), encode_snapshot(&quorum.image()));
    assert_eq!(get(&quorum, "name-49").as_deref(), Some("999"));
    assert_ne!(before, encode_snapshot(&quorum.image()));
    quorum.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_command_has_an_index_and_a_verdict() {
    let lab = Lab::new();
    let dir = tempfile::tempdir().unwrap();
    let quorum = lab.start(single(dir.path())).await.unwrap();
    let nameless =
        RegisterBroker { node: NodeId(1), incarnation: lab.random.uuid(), endpoints: Vec::new(), rack: None };
    let (index, verdict) = quorum.propose(Command::from(nameless)).await.unwrap();
    assert!(matches!(verdict, Err(Rejection::InvalidRegistration { .. })), "{verdict:?}");
    assert_eq!(quorum.image().applied(), index);
    quorum.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_beyond_the_limit_is_refused_without_effect() {
    let lab = Lab::new();
    let dir = tempfile::tempdir().unwrap();
    let quorum = lab.start(single(dir.path())).await.unwrap();
    let objects = (0..600_000).map(|id| ObjectId(u64::MAX - id)).collect();
    let error = quorum.propose(Command::from(RemoveObjects { objects })).await.unwrap_err();
    assert!(matches!(error, ProposeError::TooLarge { .. }), "{error}");
    assert_eq!(error.effect(), Effect::None);
    quorum.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_shutdown_proposals_and_the_feed_say_so() {
    let lab = Lab::new();
    let dir = tempfile::tempdir().unwrap();
    let quorum = lab.start(single(dir.path())).await.unwrap();
    let end = quorum.image().applied();
    let waiting = {
        let quorum = quorum.clone();
        async move { quorum.pull(end).await }
    };
    let (ended, ()) = tokio::join!(waiting, quorum.shutdown());
    assert!(ended.unwrap_err().to_string().contains("node 1"));
    let error = quorum.propose(set("a", "1")).await.unwrap_err();
    assert!(matches!(error, ProposeError::Stopped { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_gives_entries_to_who_is_near_and_the_image_to_who_is_far() {
    let lab = Lab::new();
    let mut config = single("unused".as_ref());
    config.storage = Storage::Memory(MemoryStorage::new());
    let quorum = lab.start(config).await.unwrap();
    let before = quorum.image().applied();
    quorum.propose(set("a", "1")).await.unwrap().1.unwrap();
    quorum.propose(set("a", "2")).await.unwrap().1.unwrap();
    let FeedChunk::Entries { entries, through } = quorum.pull(before).await.unwrap() else {
        panic!("an image")
    };
    assert_eq!(entries.len(), 2);
    assert_eq!(
        entries.iter().map(|(_, command)| &**command).collect::<Vec<_>>(),
        [&set("a", "1"), &set("a", "2")]
    );
    assert_eq!(through, quorum.image().applied());

    // A reader that waits is woken by the next entry.
    let (woken, proposed) = tokio::join!(quorum.pull(through), quorum.propose(set("a", "3")));
    let FeedChunk::Entries { entries, .. } = woken.unwrap() else { panic!("an image") };
    assert_eq!(entries[0].0, proposed.unwrap().0);

    let command = Arc::new(set("a", "4"));
    for _ in 0..=FEED_ENTRIES / 1_000 {
        join_all((0..1_000).map(|_| quorum.propose(command.clone()))).await;
    }
    let FeedChunk::Snapshot { index, image } = quorum.pull(before).await.unwrap() else { panic!("entries") };
    assert_eq!(index, quorum.image().applied());
    assert_eq!(encode_snapshot(&image), encode_snapshot(&quorum.image()));

    // From a reachable position, chunk by chunk, every command is there once.
    let (mut after, mut count) = (LogIndex(index.0 - 5_000), 0);
    while after < index {
        let FeedChunk::Entries { entries, through } = quorum.pull(after).await.unwrap() else {
            panic!("an image")
        };
        assert!(entries.windows(2).all(|pair| pair[0].0 < pair[1].0) && entries[0].0 > after);
        (after, count) = (through, count + entries.len());
    }
    assert_eq!(count, 5_000);
    quorum.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_member_stops_with_the_tasks_of_its_node() {
    let lab = Lab::new();
    let dir = tempfile::tempdir().unwrap();
    let tasks = TaskGroup::new();
    let quorum = lab.start_with(single(dir.path()), &tasks).await.unwrap();
    tasks.shutdown(crate::support::PATIENCE).await.unwrap();
    assert!(tasks.failure().is_none(), "{:?}", tasks.failure());
    assert!(quorum.propose(set("a", "1")).await.is_err());
    lab.start(single(dir.path())).await.unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_disk_fails_stops_its_node_and_says_why() {
    let lab = Lab::new();
    let storage = MemoryStorage::new();
    let mut config = single("unused".as_ref());
    config.storage = Storage::Memory(storage.clone());
    let tasks = TaskGroup::new();
    let quorum = lab.start_with(config.clone(), &tasks).await.unwrap();
    quorum.propose(set("a", "1")).await.unwrap().1.unwrap();

    storage.break_writes();
    let error = quorum.propose(set("a", "2")).await.unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown, "{error}");
    tasks.stopping().cancelled().await;
    let failure = tasks.failure().expect("a failed disk stops the node").to_string();
    assert!(failure.contains("takes no more writes"), "{failure}");
    let error = quorum.propose(set("a", "3")).await.unwrap_err();
    assert!(
        matches!(&error, ProposeError::Stopped { reason, .. } if reason.contains("no more writes")),
        "{error}"
    );
    quorum.shutdown().await;

    let again = lab.start(config).await.unwrap();
    assert_eq!(get(&again, "a").as_deref(), Some("1"));
    again.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_commands_bring_the_next_snapshot_forward() {
    let lab = Lab::new();
    let mut config = single("unused".as_ref());
    config.storage = Storage::Memory(MemoryStorage::new());
    let quorum = lab.start(config).await.unwrap();
    let objects: Vec<_> = (0..300_000).map(|id| ObjectId(u64::MAX - id)).collect();
    let command = Arc::new(Command::from(RemoveObjects { objects }));
    let size = aquifer_image::encode_command(&command).len();
    assert_eq!(quorum.status().snapshot, None);
    for _ in 0..=SNAPSHOT_BYTES / size {
        // Refused as too many, which costs as many bytes of log.
        let _ = quorum.propose(command.clone()).await.unwrap();
    }
    crate::support::until("a snapshot", || quorum.status().snapshot.is_some()).await;
    quorum.shutdown().await;
}
