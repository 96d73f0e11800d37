use bytes::Bytes;

use super::world::{Node, Owner, World};
use crate::{ReadError, ReadRequest};
use std::sync::Arc;
use std::time::Duration;

/// A node with one object of three blocks, its caches empty.
async fn one_object(world: &World) -> (Node, Arc<Owner>, String) {
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    for _ in 0..6 {
        owner.append(10, 300_000).expect("room");
    }
    node.streams.flush().await.expect("flushed");
    node.empty_caches();
    let key = world.objects().await.pop().expect("one object");
    (node, owner, key)
}

async fn replace(world: &World, key: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let bytes = world.store.get(key).await.expect("there").to_vec();
    world.store.delete(key).await.expect("deleted");
    world.store.put_new(key, vec![Bytes::from(change(bytes))]).await.expect("put");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_block_is_named_and_costs_only_itself() {
    let mut world = World::new(50).await;
    world.config.upload_bytes = 4 << 20;
    world.config.unoffloaded_max_bytes = 16 << 20;
    let (node, owner, key) = one_object(&world).await;
    replace(&world, &key, |mut bytes| {
        bytes[700_000] ^= 1;
        bytes
    })
    .await;
    let read = async |offset| owner.stream.read(&ReadRequest::new(offset, 300_000)).await;
    assert_eq!(read(0).await.expect("the first block is whole").len(), 1);
    let error = read(25).await.expect_err("never wrong data");
    let ReadError::Damaged(damage) = &error else { panic!("{error}") };
    assert_eq!((damage.key.as_str(), damage.block), (key.as_str(), Some(1)));
    assert_eq!((damage.first, damage.end, damage.stream), (20, 40, owner.stream.id()));
    assert!(error.to_string().contains("CRC32C"), "{error}");
    assert_eq!(read(40).await.expect("the last block is whole")[0].first, 40);
    assert!(node.streams.stats().damaged >= 1);
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_truncated_object_is_an_error_not_an_end() {
    let world = World::new(51).await;
    for kept in [0, 10, 1_000, 1_000_000] {
        let world = World::new(51 + kept as u64).await;
        let (node, owner, key) = one_object(&world).await;
        replace(&world, &key, |bytes| bytes[..kept.max(1)].to_vec()).await;
        let error = owner.read_from(0, 100_000).await.expect_err("truncated");
        let ReadError::Damaged(damage) = &error else { panic!("{error}") };
        assert_eq!(damage.key, key);
        assert!(error.to_string().contains("truncated"), "{error}");
        world.stop(node).await;
    }
    drop(world);
}

#[tokio::test(start_paused = true)]
async fn a_missing_object_is_named() {
    let world = World::new(52).await;
    let (node, owner, key) = one_object(&world).await;
    world.store.delete(&key).await.expect("deleted");
    let error = owner.read_from(0, 100_000).await.expect_err("missing");
    assert!(matches!(&error, ReadError::Missing { key: found, .. } if *found == key), "{error}");
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn another_object_under_the_same_key_is_found_out() {
    let world = World::new(53).await;
    let (node, owner, key) = one_object(&world).await;
    for _ in 0..6 {
        owner.append(10, 300_000).expect("room");
    }
    node.streams.flush().await.expect("flushed");
    node.empty_caches();
    let other = world.objects().await.into_iter().find(|other| *other != key).expect("another object");
    let bytes = world.store.get(&other).await.expect("there");
    world.store.delete(&key).await.expect("deleted");
    world.store.put_new(&key, vec![bytes]).await.expect("put");
    let error = owner.read_from(0, 100_000).await.expect_err("another object");
    assert!(matches!(error, ReadError::Damaged(_)), "{error}");
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_disk_ends_a_node_that_has_nothing_to_upload() {
    let world = World::new(51).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    let owner = node.open(topic, 0).await;
    owner.write(1, 100).await;
    node.streams.flush().await.expect("flushed");
    world.disk.fail_next_write();
    // The next write is the frame that settles the last one, or tells a trim, or this record: nothing is appended after it.
    let _ = owner.append(1, 100).map(|lsn| owner.stream.durable(lsn));
    let stopped = tokio::time::timeout(Duration::from_secs(60), node.tasks.stopping().cancelled()).await;
    stopped.expect("a node with a dead WAL does not live on");
    let failure = node.tasks.failure().expect("it says why").to_string();
    assert!(failure.contains("the WAL is dead"), "{failure}");
}
