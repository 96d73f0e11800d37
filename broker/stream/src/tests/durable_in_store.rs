//! Records that are durable once a committed object has them (`wal.mode=object`): the WAL is a buffer.

use std::time::Duration;

use aquifer_disk::{SimulatedDisk, SimulatedFaults};
use futures::FutureExt as _;
use tokio::time::timeout;

use super::Stage;
use super::world::World;
use crate::{AppendError, Durability, OpenError, ReadRequest};

/// Longer than uploads take when they are due.
const A_WHILE: Duration = Duration::from_secs(20);

async fn world(seed: u64, upload_age: Duration) -> World {
    let mut world = World::new(seed).await;
    world.config.durability = Durability::Store;
    world.config.upload_age = upload_age;
    world
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_or_acknowledged_before_an_object_has_it() {
    let world = world(91, Duration::from_secs(3_600)).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    let lsn = owner.append(5, 100).expect("room");
    // The WAL's disk has it.
    owner.stream.landed(lsn).await.expect("the disk works");
    assert!(timeout(A_WHILE, owner.stream.offloaded(5)).await.is_err(), "nothing was uploaded");
    assert_eq!((owner.stream.end(), owner.stream.committed_end()), (5, 0));
    assert_eq!(owner.stream.read(&ReadRequest::new(0, 1_000)).await.expect("at the end"), []);
    assert_eq!(owner.published(), [0_u64; 0]);
    node.streams.flush().await.expect("flushed");
    owner.stream.offloaded(5).now_or_never().expect("at once").expect("the store works");
    assert_eq!(owner.published(), [5]);
    owner.check_all(1_000).await;
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn uploads_begin_by_themselves_and_the_high_watermark_follows_in_order() {
    let world = world(92, Duration::from_millis(250)).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 2).await;
    let owners = [node.open(topic, 0).await, node.open(topic, 1).await];
    for round in 0..40_u64 {
        for owner in &owners {
            owner.append(3, 4_000).expect("room");
        }
        if round % 8 == 7 {
            for owner in &owners {
                let offloaded = owner.stream.offloaded(3 * (round + 1));
                timeout(A_WHILE, offloaded).await.expect("soon").expect("the store works");
            }
        }
    }
    for owner in &owners {
        assert_eq!(owner.stream.committed_end(), 120);
        assert!(owner.published().is_sorted(), "{:?}", owner.published());
        owner.check_all(10_000).await;
    }
    world.stop(node).await;
}

/// Dies at a stage of an upload, with or without its disk, and goes on from what is committed.
async fn dies_at(stage: Stage, loses_disk: bool) {
    let mut world = world(100 + stage as u64, Duration::from_secs(3_600)).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    owner.append(4, 300).expect("room");
    node.streams.flush().await.expect("flushed");
    let sum_before = owner.sum();
    owner.append(3, 300).expect("room");
    let sum_after = owner.sum();
    node.streams.0.faults.stop_at(stage);
    let streams = node.streams.clone();
    tokio::select! {
        biased;
        () = node.streams.0.faults.stopped() => {}
        flushed = streams.flush() => panic!("the upload did not stop: {flushed:?}"),
    }
    let seen = owner.stream.committed_end();
    assert_eq!(seen, 4, "the upload is not known to be over");
    drop((owner, streams));
    world.kill(node).await;
    if loses_disk {
        world.disk = SimulatedDisk::new(7, SimulatedFaults::default());
    }
    let node = world.start().await;
    let owner = node.open(topic, 0).await;
    let (end, sum) = match stage {
        Stage::Committed => (7, sum_after),
        _ => (4, sum_before),
    };
    assert_eq!((owner.stream.end(), owner.stream.committed_end(), owner.sum()), (end, end, sum));
    assert_eq!(node.metadata.image().segments().count(), 0, "nobody is told of a buffer");
    owner.append(2, 100).expect("room");
    node.streams.flush().await.expect("flushed");
    owner.check_all(1_000).await;
    assert_eq!(owner.stream.committed_end(), end + 2);
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn what_no_object_has_is_dropped_with_the_process_whether_its_disk_is_there_or_not() {
    for stage in [Stage::Prepared, Stage::Put, Stage::Committed] {
        for loses_disk in [false, true] {
            dies_at(stage, loses_disk).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_stream_that_goes_away_or_an_uploader_that_ends_is_told_so() {
    let world = world(93, Duration::from_secs(3_600)).await;
    let node = world.start().await;
    let topics = [node.create_topic("a", 1).await, node.create_topic("b", 1).await];
    let owners = [node.open(topics[0], 0).await, node.open(topics[1], 0).await];
    owners.iter().for_each(|owner| _ = owner.append(1, 100).expect("room"));
    let [mut gone, mut left] = owners.each_ref().map(|owner| Box::pin(owner.stream.offloaded(1)));
    assert!(timeout(A_WHILE, &mut gone).await.is_err());
    assert!(timeout(A_WHILE, &mut left).await.is_err());
    node.streams.release(owners[0].stream.id());
    let error = gone.await.expect_err("another broker leads it");
    assert!(matches!(error, AppendError::Closed(_)), "{error}");
    assert!(timeout(A_WHILE, &mut left).await.is_err());
    node.streams.0.wal.fence("the disk is gone");
    let error = left.await.expect_err("nothing is uploaded any more");
    assert!(matches!(error, AppendError::Dead(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_cannot_upload_says_that_nobody_was_told_of_what_is_left() {
    let mut world = world(95, Duration::from_secs(3_600)).await;
    for (durability, words) in [
        (Durability::Store, "300 bytes were not put into the store, and acknowledged to nobody"),
        (Durability::Wal, "300 bytes stay in the WAL for the next start"),
    ] {
        world.config.durability = durability;
        let node = world.start().await;
        let topic = node.create_topic(&format!("{durability:?}"), 1).await;
        let owner = node.open(topic, 0).await;
        owner.append(4, 300).expect("room");
        node.streams.0.faults.stop_at(Stage::Prepared);
        let left = node.streams.shutdown(Duration::from_secs(1)).await.expect_err("it was not uploaded");
        assert!(left.to_string().starts_with(words), "{left}");
        drop(owner);
        world.kill(node).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_process_with_a_durable_wal_acknowledged_is_kept_by_the_next_one_without() {
    let mut world = World::new(94).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    owner.write(3, 200).await;
    drop(owner);
    world.kill(node).await;

    world.config.durability = Durability::Store;
    let kept = std::mem::replace(&mut world.disk, SimulatedDisk::new(8, SimulatedFaults::default()));
    let refused = world.try_start().await.err().expect("that disk is needed");
    assert!(matches!(refused, OpenError::BlankWal { .. }), "{refused}");
    world.disk = kept;
    let node = world.start().await;
    let owner = node.open(topic, 0).await;
    assert_eq!((owner.stream.committed_end(), owner.stream.offloaded_end()), (3, 0));
    owner.append(2, 200).expect("room");
    assert_eq!(owner.stream.committed_end(), 3);
    node.streams.flush().await.expect("flushed");
    assert_eq!(owner.published(), [5]);
    owner.check_all(1_000).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(node.metadata.image().segments().count(), 0, "the old segment is released");
    owner.append(1, 200).expect("room");
    drop(owner);
    world.kill(node).await;

    // And back: what the buffer holds was acknowledged to nobody.
    world.config.durability = Durability::Wal;
    let node = world.start().await;
    let owner = node.open(topic, 0).await;
    assert_eq!((owner.stream.end(), owner.stream.committed_end()), (5, 5));
    owner.write(1, 200).await;
    owner.check_all(1_000).await;
    world.stop(node).await;
}
