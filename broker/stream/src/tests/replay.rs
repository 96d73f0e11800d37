use std::sync::Arc;

use futures::future::join_all;

use super::world::{World, check};
use crate::ReadRequest;

#[tokio::test(start_paused = true)]
async fn a_long_replay_with_small_limits_counts_every_offset() {
    let mut world = World::new(40).await;
    world.config.upload_bytes = 1 << 20;
    world.config.block_cache_bytes = 4 << 20;
    world.config.tail_cache_bytes = 512 << 10;
    let node = world.start().await;
    let topic = node.create_topic("a", 2).await;
    let owners = [node.open(topic, 0).await, node.open(topic, 1).await];
    let mut written = 0;
    while owners[0].stream.end() < 20_000 {
        let size = 200 + (written * 37) % 9_000;
        written += 1;
        let lsn = owners[0].append(1 + (size % 13) as u32, size).expect("room");
        owners[1].append(1, 90).expect("room");
        if written % 50 == 0 {
            owners[0].stream.durable(lsn).await.expect("the disk works");
        }
    }
    node.streams.flush().await.expect("flushed");
    let objects = world.objects().await.len();
    assert!(objects > 5, "{objects} objects");
    node.empty_caches();
    for (owner, max_bytes) in [(&owners[0], 1_000), (&owners[0], 50_000), (&owners[1], 100)] {
        let read = owner.read_from(0, max_bytes).await.expect("readable");
        let records: u64 = read.iter().map(|batch| u64::from(batch.records)).sum();
        assert_eq!(records, owner.stream.committed_end());
        read.iter().for_each(|batch| check(owner.stream.id().get(), batch));
    }
    let stats = node.streams.stats();
    assert!(stats.block_cache_bytes <= 8 << 20, "{stats:?}");
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_never_evicts_the_tail() {
    let mut world = World::new(41).await;
    world.config.block_cache_bytes = 1 << 20;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    for _ in 0..400 {
        owner.write(1, 10_000).await;
    }
    node.streams.flush().await.expect("flushed");
    // Only the newest batches stay in the log cache.
    let stream = &node.streams.0.streams.lock().expect("ours")[&owner.stream.id()].clone();
    stream.evict(390, u64::MAX);
    owner.check_all(30_000).await;
    let fetched = node.streams.stats().fetched_bytes;
    assert!(fetched > 3_900_000);
    for offset in 390..400 {
        let read = owner.stream.read_cached(&ReadRequest::new(offset, 1));
        assert!(read.is_some_and(|read| read.is_ok_and(|batches| batches.len() == 1)));
    }
    assert_eq!(node.streams.stats().fetched_bytes, fetched);
    world.kill(node).await;
}

#[tokio::test(start_paused = true)]
async fn many_readers_of_one_place_fetch_once() {
    let world = World::new(42).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    for _ in 0..20 {
        owner.write(1, 1_000).await;
    }
    node.streams.flush().await.expect("flushed");
    node.empty_caches();
    let reads = (0..50).map(|reader| {
        let owner = Arc::clone(&owner);
        async move { owner.stream.read(&ReadRequest::new(reader % 20, 2_000)).await.expect("readable").len() }
    });
    assert!(join_all(reads).await.into_iter().all(|count| count >= 1));
    // One for the index, one for the block.
    assert_eq!(node.streams.stats().fetches, 2);
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_away_does_not_stop_the_others() {
    let world = World::new(43).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    owner.write(1, 1_000).await;
    node.streams.flush().await.expect("flushed");
    node.empty_caches();
    let request = ReadRequest::new(0, 1);
    {
        let mut read = Box::pin(owner.stream.read(&request));
        assert!(futures::poll!(&mut read).is_pending());
    }
    assert_eq!(owner.stream.read(&request).await.expect("readable").len(), 1);
    world.stop(node).await;
}
