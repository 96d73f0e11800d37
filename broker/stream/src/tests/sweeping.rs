use std::sync::Arc;
use std::time::Duration;

use aquifer_image::{HandOver, HandedOver, MovePartition, MovePartitions, Outcome, TrimStreams};

use super::Stage;
use super::world::{OTHERS, World};
use crate::lock::lock;
use crate::{ReadError, ReadRequest, TrimError};

#[tokio::test(start_paused = true)]
async fn a_trim_really_deletes_objects() {
    let world = World::new(60).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    for _ in 0..5 {
        owner.write(10, 1_000).await;
        node.streams.flush().await.expect("flushed");
    }
    assert_eq!(world.objects().await.len(), 5);
    let beyond = owner.stream.trim(51).await;
    assert!(matches!(beyond, Err(TrimError::OutOfRange { new_start: 51, end: 50, .. })), "{beyond:?}");
    owner.stream.trim(25).await.expect("trimmed");
    owner.stream.trim(5).await.expect("a lower start changes nothing");
    assert_eq!(owner.stream.start(), 25);
    let early = owner.stream.read(&ReadRequest::new(24, 100)).await;
    assert!(matches!(early, Err(ReadError::OutOfRange { start: 25, .. })), "{early:?}");
    owner.check_all(100).await;
    // The checkpoints in the old objects were replaced by newer ones; readers get their time.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.objects().await.len(), 5);
    world.hand.advance(600_000);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.objects().await.len(), 3);
    assert_eq!(node.streams.stats().objects_deleted, 2);
    node.empty_caches();
    owner.check_all(100).await;

    owner.stream.trim(50).await.expect("trimmed to the end");
    world.hand.advance(600_000);
    tokio::time::sleep(Duration::from_secs(30)).await;
    // The newest object has the live checkpoint.
    assert_eq!(world.objects().await.len(), 1);
    world.stop(node).await;
    let node = world.start().await;
    let owner = node.open(topic, 0).await;
    assert_eq!((owner.stream.start(), owner.stream.end()), (50, 50));
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_outlives_its_records_does_not_keep_their_object() {
    let mut world = World::new(64).await;
    world.config.upload_bytes = 2 << 20;
    let node = world.start().await;
    let topic = node.create_topic("a", 2).await;
    let (written, other) = (node.open(topic, 0).await, node.open(topic, 1).await);
    for owner in [&written, &other] {
        owner.write(10, 100_000).await;
    }
    node.streams.flush().await.expect("flushed");
    let first = world.objects().await;
    assert_eq!(first.len(), 1, "both are in one object");

    written.stream.trim(10).await.expect("trimmed to the end");
    world.hand.advance(600_000);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.objects().await, first, "half of it is needed");

    other.stream.trim(10).await.expect("trimmed to the end");
    for _ in 0..2 {
        world.hand.advance(600_000);
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    let left = world.objects().await;
    assert!(left.len() == 1 && left != first, "{left:?}");
    assert!(world.store.head(&left[0]).await.expect("there").size < 2_000);
    drop((written, other));
    world.kill(node).await;
    let node = world.start().await;
    for partition in 0..2 {
        let owner = node.open(topic, partition).await;
        assert_eq!((owner.stream.start(), owner.stream.end()), (10, 10));
        owner.write(1, 1_000).await;
        owner.check_all(10_000).await;
    }
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_came_after_its_end_is_deleted_and_no_other() {
    let world = World::new(66).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    owner.write(10, 1_000).await;
    node.streams.flush().await.expect("flushed");
    owner.write(10, 1_000).await;
    node.streams.flush().await.expect("flushed");
    owner.stream.trim(15).await.expect("trimmed");
    world.hand.advance(600_000);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let needed = world.objects().await;
    assert_eq!(needed.len(), 1);
    let late = "data/00000000000000000/00000000000000000000";
    assert!(!needed.iter().any(|key| key == late), "it was deleted");
    let others = ["data/00000000000000000/00000000000000999999", "data/00000000000000000/notes"];
    for key in [late, others[0], others[1]] {
        world.store.put_new(key, vec![bytes::Bytes::from_static(b"late")]).await.expect("put");
    }
    tokio::time::sleep(Duration::from_secs(3700)).await;
    let found = world.objects().await;
    assert!(!found.iter().any(|key| key == late), "{found:?}");
    assert!(needed.iter().all(|key| found.contains(key)), "{found:?}");
    assert!(others.iter().all(|key| found.iter().any(|found| found == key)), "{found:?}");
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_trim_whose_outcome_was_lost_is_found_out_by_who_reads_before_it() {
    let world = World::new(67).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    for _ in 0..2 {
        owner.write(10, 1_000).await;
        node.streams.flush().await.expect("flushed");
    }
    let shared = &node.streams.0;
    let trims = vec![(owner.stream.id(), 12)];
    let trim = TrimStreams {
        node: shared.node,
        broker_epoch: shared.broker_epoch,
        now_ms: shared.clock.wall_ms(),
        trims,
    };
    node.metadata.propose(trim).await.expect("taken");
    node.empty_caches();
    assert_eq!(owner.stream.start(), 0, "nobody told it");
    let early = owner.stream.read(&ReadRequest::new(3, 100)).await;
    assert!(matches!(early, Err(ReadError::OutOfRange { start: 12, .. })), "{early:?}");
    owner.check_all(1_000).await;
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn records_in_the_wal_can_be_trimmed_too() {
    let world = World::new(61).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    for _ in 0..5 {
        owner.write(10, 1_000).await;
    }
    owner.stream.trim(30).await.expect("trimmed");
    assert_eq!(owner.read_from(30, 1_000).await.expect("readable").len(), 2);
    world.kill(node).await;
    let node = world.start().await;
    let owner = node.open(topic, 0).await;
    assert_eq!((owner.stream.start(), owner.stream.end()), (30, 50));
    node.streams.flush().await.expect("flushed");
    node.empty_caches();
    assert_eq!(owner.read_from(30, 1_000).await.expect("readable").len(), 2);
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_process_uploaded_and_never_committed_is_swept() {
    let world = World::new(62).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    owner.write(1, 1_000).await;
    node.streams.0.faults.stop_at(Stage::Put);
    let streams = node.streams.clone();
    tokio::select! {
        () = node.streams.0.faults.stopped() => {}
        _ = streams.flush() => panic!("the upload did not stop"),
    }
    drop(owner);
    world.kill(node).await;
    let orphans = world.objects().await;
    assert_eq!(orphans.len(), 1);

    let node = world.start().await;
    let owner = node.open(topic, 0).await;
    node.streams.flush().await.expect("flushed");
    assert_eq!(world.objects().await.len(), 2);
    // First its time limit, then the delay for readers.
    for _ in 0..2 {
        world.hand.advance(4_000_000);
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    let left = world.objects().await;
    assert_eq!(left.len(), 1);
    assert_ne!(left, orphans);
    node.empty_caches();
    owner.check_all(100).await;
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topics_objects_go_with_it() {
    let world = World::new(63).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    owner.write(1, 1_000).await;
    node.streams.flush().await.expect("flushed");
    owner.write(1, 1_000).await;
    node.delete_topic(topic, world.clock.wall_ms()).await;
    // The uploader meets the deletion before anybody told it.
    node.streams.flush().await.expect("flushed");
    world.hand.advance(600_000);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.objects().await, Vec::<String>::new());
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_moved_away_does_not_hold_up_the_retention_of_others() {
    let world = World::new(67).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 2).await;
    let (moved, stays) = (node.open(topic, 0).await, node.open(topic, 1).await);
    for owner in [&moved, &stays] {
        owner.write(10, 1_000).await;
    }
    node.streams.flush().await.expect("flushed");
    node.streams.release(moved.stream.id());
    let trims = vec![(moved.stream.id(), 10), (stays.stream.id(), 10)];
    node.streams.trim(trims).await.expect("the others are trimmed");
    assert_eq!(stays.stream.start(), 10);
    assert!(matches!(moved.stream.trim(5).await, Err(TrimError::Closed(_))));
    world.stop(node).await;
}

/// The hand-over may be applied while such an upload is on its way: no reason for the broker to stop.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_is_written_anew_may_come_after_its_partition_went_away() {
    let world = World::new(68).await;
    let node = world.start().await;
    world.register(&node.metadata, OTHERS[0]).await;
    let topic = node.create_topic("a", 2).await;
    let (moved, stays) = (node.open(topic, 0).await, node.open(topic, 1).await);
    for owner in [&moved, &stays] {
        owner.write(10, 1_000).await;
    }
    node.streams.flush().await.expect("flushed");
    let moves = vec![MovePartition { topic, index: 0, to: Some(OTHERS[0]), replicas: None }];
    node.metadata.propose(MovePartitions { moves }).await.expect("asked for");
    let moving = node.metadata.image().partition(topic, 0).expect("exists").moving.expect("asked for");
    let (broker, broker_epoch) = node.streams.registration();
    let partitions = vec![HandedOver { topic, index: 0, asked_at: moving.asked_at, end: 10 }];
    let handed = node.metadata.propose(HandOver { node: broker, broker_epoch, partitions }).await;
    assert!(matches!(handed, Ok(Outcome::HandedOver { kept }) if kept.is_empty()));

    stays.append(5, 1_000).expect("room");
    lock(&node.streams.0.renewing).insert(moved.stream.id(), Arc::clone(&moved.stream.0));
    node.streams.flush().await.expect("the other partition's records go to the store all the same");
    assert_eq!(stays.stream.offloaded_end(), 15);
    lock(&node.streams.0.renewing).insert(moved.stream.id(), Arc::clone(&moved.stream.0));
    node.streams.flush().await.expect("also when there is nothing else");
    stays.check_all(10_000).await;
    world.stop(node).await;
}
