//! A mirrored WAL whose mirrors take nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aquifer_image::{FenceBroker, OfferMirror};
use aquifer_types::DiskId;
use aquifer_wal::{Mirror, MirrorAcks};
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::world::{Node, OTHERS, World};
use crate::Mirroring;

/// A way to a member that takes frames, or is not there.
#[derive(Debug)]
struct Way {
    acks: MirrorAcks,
    frames: u64,
    there: Arc<AtomicBool>,
}

impl Mirror for Way {
    fn send(&mut self, _: Bytes) {
        self.frames += 1;
        match self.there.load(Ordering::Relaxed) {
            true => self.acks.durable(self.frames),
            false => self.acks.lost("nobody is there".to_owned()),
        }
    }
}

/// A world whose brokers offer to mirror, and take no frame while the switch is off.
async fn switched(seed: u64) -> (World, Arc<AtomicBool>) {
    let (mut world, switch) = (World::new(seed).await, Arc::new(AtomicBool::new(false)));
    let there = switch.clone();
    let connect = Arc::new(move |_, _, acks: MirrorAcks| {
        acks.granted(64 << 20);
        Box::new(Way { acks, frames: 0, there: there.clone() }) as Box<dyn Mirror>
    });
    world.mirroring = Some(Mirroring { copies: 3, min_copies: 2, needed: None, connect });
    (world, switch)
}

/// One in which it stays off.
async fn world(seed: u64) -> World {
    switched(seed).await.0
}

/// All others are taken for dead: the log freezes, and stays so.
async fn leave_alone(node: &Node) {
    for other in OTHERS {
        let broker_epoch = node.metadata.image().broker_epoch(other).expect("registered");
        node.metadata.propose(FenceBroker { node: other, broker_epoch }).await.expect("fenced");
    }
    let frozen = async {
        while node.streams.stats().wal_copies > 0 {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(300), frozen).await.expect("there is nobody to roll to");
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_of_a_frozen_log_ends_and_says_what_is_left() {
    let world = world(1).await;
    let node = world.start().await;
    let topic = node.create_topic("orders", 1).await;
    let owner = node.open(topic, 0).await;
    owner.append(1, 100).expect("there is room");
    leave_alone(&node).await;
    // Its own limits are 5 s for the uploads and 10 s for the log.
    let stopping = node.streams.shutdown(Duration::from_secs(5));
    let stopped = timeout(Duration::from_secs(20), stopping).await.expect("it does not wait for ever");
    let left = stopped.expect_err("what nobody mirrors is not offloaded");
    assert_eq!(left.unoffloaded_bytes, 100, "{left}");
    world.kill(node).await;
}

#[tokio::test(start_paused = true)]
async fn rolls_that_nobody_takes_come_later_each_time() {
    let world = world(2).await;
    let node = world.start().await;
    let rolls = || node.streams.stats().wal_rolls;
    let (mut found, mut before) = (Vec::new(), 0);
    for _ in 0..6 {
        sleep(Duration::from_secs(60)).await;
        found.push(rolls() - before);
        before = rolls();
    }
    // Each costs a file of the ring. At the longest back-off there are six in a minute: a segment is kept for 5 s, and its mirrors
    // are left out of the next one for as long.
    assert!(found[0] <= 10, "{found:?}");
    assert!(found[1..].iter().all(|rolls| (5..=7).contains(rolls)), "{found:?}");
    world.kill(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_nobody_took_for_minutes_goes_on_soon_after_mirrors_are_back() {
    let (world, there) = switched(3).await;
    let node = world.start().await;
    let topic = node.create_topic("orders", 1).await;
    let owner = node.open(topic, 0).await;
    // At several moments of the back-off.
    for seconds in [200, 211, 223, 237] {
        there.store(false, Ordering::Relaxed);
        let lsn = owner.append(1, 100).expect("there is room");
        sleep(Duration::from_secs(seconds)).await;
        there.store(true, Ordering::Relaxed);
        let back = Instant::now();
        owner.stream.durable(lsn).await.expect("it is taken");
        let took = back.elapsed();
        assert!(took <= Duration::from_secs(11), "after {seconds} s: {took:?}");
    }
    world.kill(node).await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_registers_anew_is_tried_at_once() {
    let (world, there) = switched(4).await;
    let node = world.start().await;
    let topic = node.create_topic("orders", 1).await;
    let owner = node.open(topic, 0).await;
    for seconds in [100, 104, 107] {
        there.store(false, Ordering::Relaxed);
        let lsn = owner.append(1, 100).expect("there is room");
        sleep(Duration::from_secs(seconds)).await;
        there.store(true, Ordering::Relaxed);
        let broker_epoch = world.register(&node.metadata, OTHERS[0]).await;
        let offer = OfferMirror { node: OTHERS[0], broker_epoch, disk: DiskId::ZERO };
        node.metadata.propose(offer).await.expect("taken");
        let back = Instant::now();
        owner.stream.durable(lsn).await.expect("it is taken");
        let took = back.elapsed();
        assert!(took <= Duration::from_secs(1), "after {seconds} s: {took:?}");
    }
    world.kill(node).await;
}

/// A node that is fenced stops its member of the quorum too, which from then on answers everything at once.
#[test]
fn a_roll_whose_quorum_has_stopped_hears_that_the_node_stops() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("threads can be made");
    let stopped = runtime.block_on(async {
        let world = world(5).await;
        let node = world.start().await;
        node.quorum.shutdown().await;
        // Nobody takes the first frame: by then the next segment is asked for.
        sleep(Duration::from_secs(4)).await;
        world.disk.kill();
        node.tasks.shutdown(Duration::from_secs(10)).await
    });
    // A task that never yields would keep its thread.
    runtime.shutdown_timeout(Duration::from_secs(1));
    assert_eq!(stopped, Ok(()), "tasks that run on");
}
