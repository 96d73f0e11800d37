use std::time::Duration;

use aquifer_image::ConfigResource;

use super::world::{NOON_MS, World, memory_store};
use crate::{AppendError, OpenError, ReadError, ReadRequest, TimeQuery};

#[tokio::test(start_paused = true)]
async fn what_is_durable_is_read_from_memory_and_then_from_objects() {
    let world = World::new(1).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 2).await;
    let (one, two) = (node.open(topic, 0).await, node.open(topic, 1).await);
    for round in 0..50 {
        one.write(3, 500 + round * 17).await;
        two.write(1, 2_000).await;
    }
    one.check_all(10_000).await;
    assert_eq!(one.stream.committed_end(), 150);
    assert_eq!(one.published().last(), Some(&150));
    assert!(one.published().is_sorted());

    node.streams.flush().await.expect("flushed");
    assert_eq!(one.stream.offloaded_end(), 150);
    assert_eq!(node.streams.stats().unoffloaded_bytes, 0);
    assert_eq!(node.streams.stats().fetches, 0);
    node.empty_caches();
    one.check_all(10_000).await;
    two.check_all(1).await;
    let stats = node.streams.stats();
    assert!(stats.fetches > 0 && stats.block_hits > 0, "{stats:?}");
    let ranges = one.stream.ranges();
    assert_eq!(ranges.iter().map(|range| range.records).sum::<u64>(), 150);
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_before_it_is_durable() {
    let world = World::new(2).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    let lsn = owner.append(5, 100).expect("room");
    assert_eq!((owner.stream.end(), owner.stream.committed_end()), (5, 0));
    let request = ReadRequest::new(0, 1000);
    assert_eq!(owner.stream.read(&request).await.expect("at the end"), []);
    owner.stream.durable(lsn).await.expect("the disk works");
    assert_eq!(owner.stream.wait_committed(0).await, 5);
    assert_eq!(owner.stream.read(&request).await.expect("there").len(), 1);
    let beyond = owner.stream.read(&ReadRequest::new(6, 1000)).await;
    assert!(matches!(beyond, Err(ReadError::OutOfRange { offset: 6, start: 0, end: 5, .. })), "{beyond:?}");
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_read_keeps_to_its_limits() {
    let world = World::new(3).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    for _ in 0..10 {
        owner.write(10, 1_000).await;
    }
    for cold in [false, true] {
        if cold {
            node.streams.flush().await.expect("flushed");
            node.empty_caches();
        }
        let read = async |request: ReadRequest| {
            let batches = owner.stream.read(&request).await.expect("readable");
            batches.iter().map(|batch| batch.first).collect::<Vec<_>>()
        };
        // The first batch contains the offset, and may be larger than asked for.
        assert_eq!(read(ReadRequest::new(15, 1)).await, [10]);
        assert_eq!(read(ReadRequest { min_one_batch: false, ..ReadRequest::new(15, 1) }).await, [0_u64; 0]);
        assert_eq!(read(ReadRequest::new(15, 3_500)).await, [10, 20, 30]);
        // A last stable offset in the middle.
        assert_eq!(read(ReadRequest { limit: 35, ..ReadRequest::new(15, 100_000) }).await, [10, 20]);
        assert_eq!(read(ReadRequest::new(100, 100_000)).await, [0_u64; 0]);
    }
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_leaves_nothing_in_the_wal() {
    let world = World::new(4).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 3).await;
    for partition in 0..3 {
        let owner = node.open(topic, partition).await;
        owner.write(1, 100).await;
    }
    node.streams.shutdown(Duration::from_secs(60)).await.expect("offloaded");
    let owner = node.streams.stream(
        node.metadata.image().partition(topic, 0).expect("exists").data,
        node.metadata.image().partition(topic, 0).expect("exists").meta,
    );
    let late = owner.expect("known").append(super::world::batch(1, 1, 1, 20, 0), 20);
    assert!(matches!(late, Err(AppendError::Closed(_))), "{late:?}");
    assert_eq!(node.metadata.image().segments().count(), 0);
    world.stop(node).await;

    let node = world.start().await;
    for partition in 0..3 {
        let owner = node.open(topic, partition).await;
        assert_eq!((owner.stream.tail().len(), owner.stream.committed_end()), (0, 1));
        owner.check_all(1000).await;
        owner.write(2, 50).await;
        owner.check_all(1000).await;
    }
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn uploads_start_by_size_and_by_age() {
    let mut world = World::new(5).await;
    world.config.upload_age = Duration::from_secs(30);
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    for _ in 0..70 {
        owner.write(1, 1_000).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let offloaded = owner.stream.offloaded_end();
    assert!(offloaded >= 60, "{offloaded} of 70 after 64 KiB");
    owner.write(1, 1_000).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(owner.stream.offloaded_end(), 71);
    assert_eq!(node.streams.0.wal.usage().trimmed, node.streams.0.wal.usage().appended);
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn another_clusters_store_is_refused() {
    let mut world = World::new(6).await;
    let stranger = World::new(7).await;
    let node = stranger.start().await;
    stranger.stop(node).await;
    world.store = stranger.store.clone();
    let error = world.try_start().await.err().expect("refused");
    assert!(matches!(error, OpenError::ForeignStore { .. }), "{error}");
    assert!(error.to_string().contains("store.url"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_blank_store_behind_known_objects_is_refused() {
    let mut world = World::new(8).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    node.open(topic, 0).await.write(1, 100).await;
    world.stop(node).await;
    world.store = memory_store(&world.clock, 9).await;
    let error = world.try_start().await.err().expect("refused");
    assert!(matches!(error, OpenError::BlankStore { objects: 1, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn batches_are_found_by_time_wherever_they_are() {
    let world = World::new(10).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    // Times go up, once down, and the largest comes twice.
    let times = [10, 20, 15, 40, 30, 40, 35];
    for (at, time) in times.into_iter().enumerate() {
        let lsn = owner.append_at(10, 100, NOON_MS + time).expect("room");
        owner.stream.durable(lsn).await.expect("the disk works");
        if at == 3 {
            node.streams.flush().await.expect("flushed");
            node.empty_caches();
        }
    }
    for _ in 0..2 {
        let find = async |query| owner.stream.find(query).await.expect("readable").map(|batch| batch.first);
        let at_or_after = async |time| find(TimeQuery::AtOrAfter(NOON_MS + time)).await;
        assert_eq!(at_or_after(0).await, Some(0));
        assert_eq!(at_or_after(11).await, Some(10));
        assert_eq!(at_or_after(21).await, Some(30));
        assert_eq!(at_or_after(41).await, None);
        assert_eq!(find(TimeQuery::Largest).await, Some(30));
        node.streams.flush().await.expect("flushed");
        node.empty_caches();
    }
    owner.stream.trim(45).await.expect("trimmed");
    let found = owner.stream.find(TimeQuery::AtOrAfter(NOON_MS)).await.expect("readable");
    assert_eq!(found.map(|batch| batch.first), Some(40));
    let found = owner.stream.find(TimeQuery::Largest).await.expect("readable");
    assert_eq!(found.map(|batch| batch.first), Some(50));
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_streams_records_leave_memory_and_wal() {
    let world = World::new(11).await;
    let node = world.start().await;
    let (gone, kept) = (node.create_topic("gone", 1).await, node.create_topic("kept", 1).await);
    let (going, keeping) = (node.open(gone, 0).await, node.open(kept, 0).await);
    going.write(1, 5_000).await;
    keeping.write(1, 5_000).await;
    assert!(node.metadata.image().configs(&ConfigResource::Topic("gone".to_owned())).is_some());
    node.streams.remove(going.stream.id());
    assert_eq!(going.stream.tail().len(), 1, "what exists is not forgotten");
    node.delete_topic(gone, NOON_MS).await;
    node.streams.remove(going.stream.id());
    assert!(matches!(going.append(1, 20), Err(AppendError::Closed(_))));
    let read = going.stream.read(&ReadRequest::new(0, 1000)).await;
    assert!(matches!(read, Err(ReadError::Closed(_))), "{read:?}");
    node.streams.flush().await.expect("flushed");
    assert_eq!(node.streams.stats().unoffloaded_bytes, 0);
    let usage = node.streams.0.wal.usage();
    assert_eq!(usage.trimmed, usage.appended);
    world.kill(node).await;

    let node = world.start().await;
    node.open(kept, 0).await.check_all(1000).await;
    world.stop(node).await;
}
