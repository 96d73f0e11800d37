//! Partitions whose records are acknowledged when a committed object has them (`wal.mode=object`).

use std::time::Duration;

use aquifer_disk::{SimulatedDisk, SimulatedFaults};
use aquifer_image::{FenceBroker, TakeOver};
use aquifer_partition::LongPoll;
use tokio::time::timeout;

use crate::batches::{batch, consume, leader_request, numbered, produce, request};
use crate::machine::{Machine, NODE, OTHER, PATIENCE, START_MS};
use crate::moves::served;

/// How long something is watched that should not happen.
const A_WHILE: Duration = Duration::from_millis(200);
/// Uploads that nobody waits to begin by themselves.
const NEVER: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn both_kinds_of_acknowledgement_and_consumers_wait_for_the_object() {
    let mut machine = Machine::durable_in_store(90).await;
    machine.streams.upload_age = NEVER;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[("min.insync.replicas", "3")]).await;
    let other = node.create("u", 1, &[]).await;
    let all = partition.append(batch(&["a"]), &request()).unwrap().ticket;
    let all = all.join(other.append(batch(&["b"]), &request()).unwrap().ticket);
    let one = partition.append(batch(&["c"]), &leader_request()).unwrap().ticket;
    let mut poll = LongPoll::new(1);
    poll.watch(&partition, 0);
    for waiting in [all.clone(), one.clone()] {
        assert!(timeout(A_WHILE, waiting.wait()).await.is_err(), "no object has it");
    }
    assert_eq!((partition.high_watermark(), partition.log_end_offset()), (0, 2));
    node.streams.flush().await.unwrap();
    for waiting in [all, one] {
        timeout(PATIENCE, waiting.wait()).await.unwrap().unwrap();
    }
    timeout(PATIENCE, poll.ready()).await.expect("a long poll hears of it");
    assert_eq!((partition.high_watermark(), other.high_watermark()), (2, 1));
}

#[tokio::test]
async fn a_broker_comes_back_without_its_disk_and_producers_go_on_where_they_were() {
    let mut machine = Machine::durable_in_store(91).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    for sequence in 0..5 {
        produce(&partition, numbered(7, 0, sequence, &["x"])).await.unwrap();
    }
    drop(partition);
    machine.kill(node).await;
    machine.disk = SimulatedDisk::new(92, SimulatedFaults::default());
    let node = machine.start().await;
    let partition = node.get("t");
    assert_eq!(partition.high_watermark(), 5);
    let again = produce(&partition, numbered(7, 0, 4, &["x"])).await.unwrap();
    assert!(again.duplicate && again.base_offset == 4);
    let next = produce(&partition, numbered(7, 0, 5, &["x"])).await.unwrap();
    assert!(!next.duplicate && next.base_offset == 5);
}

#[tokio::test]
async fn what_a_fenced_broker_has_in_its_buffer_is_not_acknowledged_and_others_go_on_at_once() {
    let mut machine = Machine::durable_in_store(93).await;
    machine.streams.upload_age = NEVER;
    let disk = SimulatedDisk::new(94, SimulatedFaults::default());
    let first = machine.start().await;
    machine.streams.upload_age = Duration::from_millis(20);
    let second = machine.join(&first, &disk).await;
    let partition = first.create("t", 1, &[]).await;
    let kept = partition.append(numbered(7, 0, 0, &["kept"]), &request()).unwrap();
    first.streams.flush().await.unwrap();
    kept.ticket.wait().await.unwrap();
    let lost = partition.append(numbered(7, 0, 1, &["lost"]), &request()).unwrap();

    let (node, broker_epoch) = first.streams.registration();
    second.metadata.propose(FenceBroker { node, broker_epoch }).await.unwrap();
    assert_eq!(second.metadata.image().segments_of(NODE).count(), 0, "nothing of it is waited for");
    let (node, broker_epoch) = second.streams.registration();
    let leaders = vec![(partition.id().topic_id, 0, OTHER)];
    let (segments, objects) = (Vec::new(), Vec::new());
    let taken = TakeOver { node, broker_epoch, owner: NODE, segments, objects, leaders, now_ms: START_MS };
    second.metadata.propose(taken).await.unwrap();

    timeout(PATIENCE, lost.ticket.wait()).await.expect("it is told").expect_err("it is gone");
    let next = served(&second, "t").await;
    assert_eq!(next.high_watermark(), 1);
    let again = produce(&next, numbered(7, 0, 1, &["again"])).await.unwrap();
    assert!(!again.duplicate && again.base_offset == 1);
    let values: Vec<_> = consume(&next, 0, 1 << 20).await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["kept", "again"]);
}
