use std::time::Duration;

use super::Stage;
use super::world::World;
use crate::{AppendError, Backpressure, OpenError};

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_throttles_then_refuses_and_nothing_is_lost() {
    let mut world = World::new(70).await;
    world.config.unoffloaded_max_bytes = 1 << 20;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    node.streams.0.faults.stop_at(Stage::Prepared);
    assert_eq!(node.streams.backpressure(), Backpressure::Free);
    let mut throttled = Vec::new();
    let refused = loop {
        match owner.append(1, 10_000) {
            Ok(lsn) => owner.stream.durable(lsn).await.expect("the disk works"),
            Err(error) => break error,
        }
        if let Backpressure::Throttle(pause) = node.streams.backpressure() {
            throttled.push(pause);
        }
    };
    assert!(matches!(refused, AppendError::Full { .. }), "{refused}");
    assert!(throttled.len() > 10 && throttled.is_sorted(), "{throttled:?}");
    assert!(node.streams.stats().unoffloaded_bytes > 900_000);
    let end = owner.stream.committed_end();
    drop(owner);
    world.kill(node).await;

    let node = world.start().await;
    let owner = node.open(topic, 0).await;
    assert_eq!(owner.stream.committed_end(), end);
    owner.check_all(100_000).await;
    node.streams.flush().await.expect("flushed");
    assert_eq!(node.streams.backpressure(), Backpressure::Free);
    owner.write(1, 10_000).await;
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_first_start_waits_for_the_store_until_its_limit() {
    let mut world = World::new(76).await;
    world.config.store_wait = Duration::from_secs(20);
    let place = tempfile::tempdir().expect("a directory");
    let here = place.path().join("store");
    let url = format!("file://{}", here.display());
    let options = aquifer_objects::StoreOptions::default();
    let random = aquifer_runtime::Random::seeded(76);
    let store = aquifer_objects::open(&url, &options, world.clock.clone(), random).await;
    world.store = store.expect("opened");
    std::fs::remove_dir_all(&here).expect("removed");
    std::fs::write(&here, b"not a directory").expect("written");
    let began = tokio::time::Instant::now();
    let error = world.try_start().await.err().expect("the store is silent");
    assert!(matches!(error, OpenError::SilentStore { .. }), "{error}");
    assert!(error.to_string().contains("store.start.wait.ms"), "{error}");
    assert!(began.elapsed() >= Duration::from_secs(20));

    let repaired = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        std::fs::remove_file(&here).expect("removed");
        std::fs::create_dir(&here).expect("made");
    };
    let (node, ()) = tokio::join!(world.start(), repaired);
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    owner.write(1, 1_000).await;
    drop(owner);
    world.stop(node).await;

    // With a history nobody waits: records in the WAL are served.
    std::fs::rename(&here, place.path().join("away")).expect("renamed");
    std::fs::write(&here, b"not a directory").expect("written");
    let began = tokio::time::Instant::now();
    let node = world.start().await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    world.kill(node).await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_tried_until_the_store_is_back() {
    let mut world = World::new(75).await;
    let place = tempfile::tempdir().expect("a directory");
    let (here, away) = (place.path().join("store"), place.path().join("away"));
    let url = format!("file://{}", here.display());
    let options = aquifer_objects::StoreOptions::default();
    let random = aquifer_runtime::Random::seeded(75);
    let store = aquifer_objects::open(&url, &options, world.clock.clone(), random).await;
    world.store = store.expect("opened");
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    owner.write(1, 1_000).await;
    std::fs::rename(&here, &away).expect("renamed");
    std::fs::write(&here, b"not a directory").expect("written");
    let flush = tokio::time::timeout(Duration::from_secs(600), node.streams.flush()).await;
    assert!(flush.is_err(), "{flush:?}");
    let stats = node.streams.stats();
    assert!(stats.upload_failures > 2 && stats.unoffloaded_bytes == 1_000, "{stats:?}");
    // Acks do not wait for the store.
    owner.write(1, 1_000).await;
    std::fs::remove_file(&here).expect("removed");
    std::fs::rename(&away, &here).expect("renamed");
    node.streams.flush().await.expect("flushed");
    node.empty_caches();
    owner.check_all(100).await;
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_without_a_store_keeps_everything_in_the_wal() {
    let world = World::new(71).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    owner.write(1, 1_000).await;
    node.streams.0.faults.stop_at(Stage::Prepared);
    let error = node.streams.shutdown(Duration::from_secs(5)).await.expect_err("nothing was offloaded");
    assert_eq!(error.unoffloaded_bytes, 1_000);
    drop(owner);
    world.kill(node).await;
    let node = world.start().await;
    let owner = node.open(topic, 0).await;
    assert_eq!(owner.stream.committed_end(), 1);
    owner.check_all(100).await;
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn offloaded_bytes_stay_in_the_wal_for_their_time() {
    let mut world = World::new(72).await;
    world.config.retain_after_offload = Duration::from_secs(60);
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    owner.write(1, 1_000).await;
    node.streams.flush().await.expect("flushed");
    let trimmed = || node.streams.0.wal.usage().trimmed.0;
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(trimmed(), 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(trimmed(), 1);
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn retention_in_the_wal_gives_way_to_writers() {
    let mut world = World::new(73).await;
    world.config.retain_after_offload = Duration::from_secs(1_000_000);
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    // Three times what the WAL holds.
    for _ in 0..1_000 {
        while node.streams.backpressure() != Backpressure::Free {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        owner.write(1, 100_000).await;
    }
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_small_slice_does_not_pin_a_large_buffer() {
    let world = World::new(74).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    let large = bytes::Bytes::from(vec![0; 1 << 20]);
    for (size, copied) in [(1_000, true), (600_000, false)] {
        let first = owner.stream.end();
        let payload = large.slice(..size);
        let batch = crate::Batch { first, end: first + 1, records: 1, max_timestamp_ms: 0, payload };
        let lsn = owner.stream.append(batch, large.len()).expect("room");
        owner.stream.durable(lsn).await.expect("the disk works");
        let read = owner.stream.read(&crate::ReadRequest::new(first, 1)).await.expect("there");
        assert_eq!(read[0].payload.as_ptr() != large.as_ptr(), copied, "{size} bytes");
    }
    world.kill(node).await;
}
