use super::Stage;
use super::world::World;

/// Dies at a stage of an upload, starts again, and finds everything.
async fn dies_at(stage: Stage, power_cut: bool) {
    let world = World::new(20 + stage as u64).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 2).await;
    let owners = [node.open(topic, 0).await, node.open(topic, 1).await];
    for owner in &owners {
        for _ in 0..5 {
            owner.write(2, 300).await;
        }
    }
    // One upload that succeeds, and one that does not.
    node.streams.flush().await.expect("flushed");
    for owner in &owners {
        owner.write(3, 300).await;
    }
    node.streams.0.faults.stop_at(stage);
    let streams = node.streams.clone();
    tokio::select! {
        biased;
        () = node.streams.0.faults.stopped() => {}
        flushed = streams.flush() => panic!("the upload did not stop: {flushed:?}"),
    }
    // Acknowledged while the upload hangs.
    owners[0].write(1, 50).await;
    let sums: Vec<u64> = owners.iter().map(|owner| owner.sum()).collect();
    drop(owners);
    if power_cut {
        world.cut_power(node).await;
    } else {
        world.kill(node).await;
    }

    for expected_tail in [true, false] {
        let node = world.start().await;
        for (partition, sum) in sums.iter().enumerate() {
            let owner = node.open(topic, partition as i32).await;
            let end = if partition == 0 { 14 } else { 13 };
            assert_eq!((owner.stream.committed_end(), owner.stream.end()), (end, end));
            assert_eq!(owner.sum(), *sum, "checkpoint and tail give the state back");
            let offloaded = owner.stream.offloaded_end();
            match (expected_tail, stage) {
                (true, Stage::Committed) => assert_eq!(offloaded, 13),
                (true, _) => assert_eq!(offloaded, 10),
                (false, _) => assert_eq!(offloaded, end),
            }
            owner.check_all(200).await;
        }
        node.streams.flush().await.expect("flushed");
        node.empty_caches();
        for partition in 0..2 {
            node.open(topic, partition).await.check_all(200).await;
        }
        // The earlier processes' segments are not needed any more.
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        assert_eq!(node.metadata.image().segments().count(), 1);
        world.kill(node).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_after_prepare_loses_nothing() {
    dies_at(Stage::Prepared, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_after_the_put_loses_nothing() {
    dies_at(Stage::Put, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_between_commit_and_trim_repeats_nothing() {
    dies_at(Stage::Committed, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_during_an_upload_loses_nothing() {
    dies_at(Stage::Put, true).await;
    dies_at(Stage::Committed, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_wal_that_was_wiped_is_noticed() {
    let mut world = World::new(30).await;
    let node = world.start().await;
    let topic = node.create_topic("a", 1).await;
    node.open(topic, 0).await.write(1, 100).await;
    world.kill(node).await;
    world.disk = aquifer_disk::SimulatedDisk::new(31, Default::default());
    let error = world.try_start().await.err().expect("refused");
    assert!(error.to_string().contains("wal.accept.blank"), "{error}");
    world.config.accept_blank_wal = true;
    let node = world.start().await;
    assert_eq!(node.open(topic, 0).await.stream.committed_end(), 0);
    world.stop(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_deleted_before_the_kill_does_not_come_back() {
    let world = World::new(32).await;
    let node = world.start().await;
    let (gone, kept) = (node.create_topic("gone", 1).await, node.create_topic("kept", 1).await);
    node.open(gone, 0).await.write(1, 100).await;
    node.open(kept, 0).await.write(1, 100).await;
    node.delete_topic(gone, 0).await;
    world.kill(node).await;
    let node = world.start().await;
    assert_eq!(node.streams.stats().unoffloaded_bytes, 100);
    node.open(kept, 0).await.check_all(100).await;
    world.stop(node).await;
}
