//! The WAL dies under producers that have several requests in flight.

use std::sync::Arc;
use std::time::Duration;

use aquifer_image::FenceBroker;
use aquifer_partition::{AppendError, REMEMBERED_BATCHES};
use aquifer_runtime::Random;
use aquifer_stream::Mirroring;
use aquifer_wal::{Mirror, MirrorAcks};
use bytes::{Bytes, BytesMut};

use crate::batches::{batch, consume, leader_request, numbered, produce, request};
use crate::machine::{Machine, Node, OTHER, PATIENCE};

#[tokio::test]
async fn behind_a_batch_that_a_dead_wal_refused_there_is_no_gap() {
    let machine = Machine::new(20).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    produce(&partition, numbered(7, 0, 0, &["a"])).await.unwrap();
    machine.disk.fail_next_write();
    let in_flight = partition.append(numbered(7, 0, 1, &["b"]), &request()).unwrap();
    in_flight.ticket.wait().await.expect_err("its write failed");
    for sequence in 2..5 {
        let refused = partition.append(numbered(7, 0, sequence, &["c"]), &request()).unwrap_err();
        assert!(matches!(refused, AppendError::Storage(_)), "sequence {sequence}: {refused}");
    }
    let retry = partition.append(numbered(7, 0, 1, &["b"]), &request()).unwrap();
    assert!(retry.duplicate);
    retry.ticket.wait().await.expect_err("nobody knows whether it is durable");
}

#[tokio::test]
async fn behind_a_batch_that_a_stopping_broker_refused_there_is_no_gap() {
    let machine = Machine::new(21).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    produce(&partition, numbered(7, 0, 0, &["a"])).await.unwrap();
    node.streams.shutdown(PATIENCE).await.unwrap();
    for sequence in 1..4 {
        let refused = partition.append(numbered(7, 0, sequence, &["b"]), &request()).unwrap_err();
        assert!(matches!(refused, AppendError::NotLeader), "sequence {sequence}: {refused}");
    }
}

/// A way to a mirror that is never there.
#[derive(Debug)]
struct Nowhere(MirrorAcks);

impl Mirror for Nowhere {
    fn send(&mut self, _: Bytes) {
        self.0.lost("nobody is there".to_owned());
    }
}

#[tokio::test(start_paused = true)]
async fn while_nobody_mirrors_the_wal_no_kind_of_acks_is_taken() {
    let mut machine = Machine::new(22).await;
    let connect = Arc::new(|_, _, acks| Box::new(Nowhere(acks)) as Box<dyn Mirror>);
    machine.mirroring = Some(Mirroring { copies: 2, min_copies: 2, needed: None, connect });
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    let broker_epoch = node.metadata.image().broker_epoch(OTHER).unwrap();
    node.metadata.propose(FenceBroker { node: OTHER, broker_epoch }).await.unwrap();
    while node.streams.stats().wal_copies > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for request in [request(), leader_request()] {
        let refused = partition.append(batch(&["a"]), &request).unwrap_err();
        assert!(matches!(refused, AppendError::NotEnoughReplicas { wanted: 1, copies: 0 }), "{refused}");
    }
}

/// Batches of a [`Pipeliner`]'s history.
const BATCHES: i64 = 60;

#[tokio::test(start_paused = true)]
async fn a_producer_that_begins_new_epochs_is_there_once_though_the_wal_dies() {
    for seed in 300..312 {
        history(seed).await;
    }
}

async fn history(seed: u64) {
    let machine = Machine::new(seed).await;
    let random = Random::seeded(seed);
    let mut node = machine.start().await;
    drop(node.create("t", 1, &[]).await);
    let mut producer = Pipeliner::default();
    let mut deaths = 0;
    while producer.acknowledged < BATCHES {
        let dies = random.below(4) == 0;
        if dies {
            machine.disk.fail_next_write();
        }
        producer.round(&node, &random, seed).await;
        if dies {
            deaths += 1;
            machine.kill(node).await;
            node = machine.start().await;
        }
    }
    assert!(deaths > 0, "seed {seed} shows nothing");
    let found: Vec<_> = consume(&node.get("t"), 0, 4096).await.into_iter().map(|(_, value)| value).collect();
    let sent: Vec<_> = (0..BATCHES).map(|number| number.to_string()).collect();
    assert_eq!(found[..sent.len()], sent, "seed {seed}, epoch {}", producer.epoch);
}

/// Does what librdkafka does with enable.idempotence: sends as many batches as a broker remembers without waiting, the same ones again
/// after an error, and begins a new epoch when one behind the first is called out of order.
#[derive(Default)]
struct Pipeliner {
    epoch: i16,
    /// The batch that has sequence 0 in this epoch.
    base: i64,
    acknowledged: i64,
}

impl Pipeliner {
    fn batch(&self, number: i64) -> BytesMut {
        numbered(5, self.epoch, i32::try_from(number - self.base).unwrap(), &[&number.to_string()])
    }

    async fn round(&mut self, node: &Node, random: &Random, seed: u64) {
        let partition = node.get("t");
        let mut answers = Vec::new();
        for number in (self.acknowledged..BATCHES).take(REMEMBERED_BATCHES) {
            answers.push((number, partition.append(self.batch(number), &request())));
            tokio::time::sleep(Duration::from_millis(random.below(3))).await;
        }
        let mut bump = false;
        for (number, answer) in answers {
            match answer {
                // What was acknowledged behind a batch stands for it too.
                Ok(appended) if appended.ticket.clone().wait().await.is_ok() => {
                    self.acknowledged = number + 1;
                }
                Ok(_) | Err(AppendError::Storage(_)) => {}
                Err(AppendError::OutOfOrderSequence { .. }) if number > self.acknowledged => bump = true,
                Err(error) => panic!("seed {seed}: batch {number} in epoch {}: {error}", self.epoch),
            }
        }
        if bump {
            self.epoch += 1;
            self.base = self.acknowledged;
        }
    }
}
