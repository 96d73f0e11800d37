//! A partition goes to another broker while it is written: nothing lost, nothing twice, epochs and producers with it.

use std::sync::Arc;

use aquifer_disk::{SimulatedDisk, SimulatedFaults};
use aquifer_image::{FenceBroker, MovePartition, MovePartitions};
use aquifer_partition::{AppendError, LookupError, Partition};
use aquifer_types::NodeId;
use tokio::time::timeout;

use crate::batches::{consume, numbered, produce, request};
use crate::machine::{Machine, NODE, Node, OTHER, PATIENCE};

async fn ask(node: &Node, partition: &Partition, to: Option<NodeId>) {
    let id = partition.id();
    let asked = MovePartition { topic: id.topic_id, index: id.index, to, replicas: None };
    node.metadata.propose(MovePartitions { moves: vec![asked] }).await.unwrap();
}

/// Waits until `node` serves partition 0 of `topic`.
pub(crate) async fn served(node: &Node, topic: &str) -> Arc<Partition> {
    let mut changes = node.partitions.changes();
    let serving = async {
        loop {
            match node.partitions.get_by_name(topic, 0) {
                Ok(partition) => return partition,
                Err(_) => changes.changed().await.unwrap(),
            }
        }
    };
    timeout(PATIENCE, serving).await.expect("the partition arrives")
}

#[tokio::test]
async fn a_partition_moves_under_load_and_back() {
    moves_under_load_and_back(&Machine::new(70).await).await;
}

#[tokio::test]
async fn a_partition_whose_records_are_durable_in_the_store_moves_under_load_and_back() {
    moves_under_load_and_back(&Machine::durable_in_store(76).await).await;
}

async fn moves_under_load_and_back(machine: &Machine) {
    let disk = SimulatedDisk::new(71, SimulatedFaults::default());
    let first = machine.start().await;
    let second = machine.join(&first, &disk).await;
    let mut partition = first.create("t", 1, &[]).await;
    let mut sequence = 0;
    for (round, (to, node)) in [(OTHER, &second), (NODE, &first), (OTHER, &second)].into_iter().enumerate() {
        let epoch = partition.leader_epoch();
        produce(&partition, numbered(7, 0, sequence, &["settled"])).await.unwrap();
        sequence += 1;
        ask(&first, &partition, Some(to)).await;
        // As a client does: the same batch again until its answer is known.
        let serving = loop {
            let appended = partition.append(numbered(7, 0, sequence, &["under way"]), &request());
            match appended {
                Ok(appended) => {
                    assert!(!appended.duplicate);
                    appended.ticket.wait().await.unwrap();
                    sequence += 1;
                }
                Err(AppendError::NotLeader) => {
                    timeout(PATIENCE, partition.released()).await.unwrap();
                    if partition.is_closed() {
                        break served(node, "t").await;
                    }
                }
                Err(other) => panic!("{other}"),
            }
        };
        assert!(serving.leader_epoch() > epoch, "round {round}");
        assert_eq!(serving.epoch_end_offset(epoch), Some((epoch, i64::from(sequence))));
        assert_eq!(serving.high_watermark(), i64::from(sequence));
        let retry = serving.append(numbered(7, 0, sequence - 1, &["under way"]), &request()).unwrap();
        assert!(retry.duplicate, "the producer's state came along");
        partition = serving;
    }
    let read = consume(&partition, 0, 1 << 20).await;
    let offsets: Vec<i64> = read.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (0..i64::from(sequence)).collect::<Vec<_>>());
    let elsewhere = first.partitions.get_by_name("t", 0).unwrap_err();
    assert!(matches!(elsewhere, LookupError::NotLeader { leader: Some(OTHER), .. }), "{elsewhere}");
}

#[tokio::test]
async fn a_move_to_a_dead_broker_waits_and_is_withdrawn_without_a_trace() {
    let machine = Machine::new(72).await;
    let disk = SimulatedDisk::new(73, SimulatedFaults::default());
    let first = machine.start().await;
    let second = machine.join(&first, &disk).await;
    let partition = first.create("t", 1, &[]).await;
    let epoch = partition.leader_epoch();
    let (node, broker_epoch) = second.streams.registration();
    first.metadata.propose(FenceBroker { node, broker_epoch }).await.unwrap();
    ask(&first, &partition, Some(OTHER)).await;
    for sequence in 0..50 {
        produce(&partition, numbered(7, 0, sequence, &["x"])).await.unwrap();
        assert!(!partition.is_held(), "nobody could take it over");
    }
    ask(&first, &partition, None).await;
    produce(&partition, numbered(7, 0, 50, &["x"])).await.unwrap();
    assert_eq!((partition.leader_epoch(), partition.high_watermark()), (epoch, 51));
}

#[tokio::test]
async fn what_a_broker_moved_away_is_not_missed_when_it_restarts() {
    let machine = Machine::new(74).await;
    let disk = SimulatedDisk::new(75, SimulatedFaults::default());
    let first = machine.start().await;
    let second = machine.join(&first, &disk).await;
    let moved = first.create("moved", 1, &[]).await;
    let stays = first.create("stays", 1, &[]).await;
    produce(&moved, numbered(7, 0, 0, &["a"])).await.unwrap();
    ask(&first, &moved, Some(OTHER)).await;
    let arrived = served(&second, "moved").await;
    produce(&arrived, numbered(7, 0, 1, &["b"])).await.unwrap();
    second.streams.flush().await.unwrap();
    // Its WAL still holds the moved record beside this one.
    produce(&stays, numbered(7, 0, 0, &["c"])).await.unwrap();
    drop((moved, stays, arrived, second));
    machine.kill(first).await;
    let again = machine.start().await;
    let stays = again.get("stays");
    assert_eq!(stays.high_watermark(), 1);
    let elsewhere = again.partitions.get_by_name("moved", 0).unwrap_err();
    assert!(matches!(elsewhere, LookupError::NotLeader { leader: Some(OTHER), .. }), "{elsewhere}");
}
