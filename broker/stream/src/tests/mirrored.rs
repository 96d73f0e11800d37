//! A mirrored WAL whose mirrors take nothing.

use std::sync::Arc;
use std::time::Duration;

use aquifer_image::FenceBroker;
use aquifer_wal::{Mirror, MirrorAcks};
use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::world::{Node, OTHERS, World};
use crate::Mirroring;

/// A way to a member that is never there.
#[derive(Debug)]
struct Nowhere(MirrorAcks);

impl Mirror for Nowhere {
    fn send(&mut self, _: Bytes) {
        self.0.lost("nobody is there".to_owned());
    }
}

/// A world whose brokers offer to mirror, and take no frame.
async fn world(seed: u64) -> World {
    let mut world = World::new(seed).await;
    let connect = Arc::new(|_, _, acks| Box::new(Nowhere(acks)) as Box<dyn Mirror>);
    world.mirroring = Some(Mirroring { copies: 3, min_copies: 2, needed: None, connect });
    world
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
    // Each costs a file of the ring, and nothing frees one. At the longest back-off there are two in a minute.
    assert!(found[0] <= 8, "{found:?}");
    assert!(found[1..].iter().all(|rolls| (1..=3).contains(rolls)), "{found:?}");
    world.kill(node).await;
}
