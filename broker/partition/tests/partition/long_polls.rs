//! Fetches that wait.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aquifer_partition::LongPoll;

use crate::batches::{batch, produce};
use crate::machine::Machine;

fn is_ready(poll: &LongPoll) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(pin!(poll.ready()).as_mut().poll(&mut context), Poll::Ready(()))
}

#[tokio::test]
async fn a_poll_over_two_partitions_wakes_for_their_bytes_together() {
    let machine = Machine::new(30).await;
    let node = machine.start().await;
    let one = node.create("one", 1, &[]).await;
    let two = node.create("two", 1, &[]).await;
    let size = batch(&["a"]).len();
    let mut poll = LongPoll::new(2 * size);
    poll.watch(&one, 0);
    poll.watch(&two, 0);
    produce(&one, batch(&["a"])).await.unwrap();
    assert!(!is_ready(&poll));
    produce(&two, batch(&["b"])).await.unwrap();
    assert!(is_ready(&poll));
}

#[tokio::test]
async fn a_poll_that_comes_late_or_whose_partition_closes_does_not_wait() {
    let machine = Machine::new(31).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    let seen = partition.high_watermark();
    produce(&partition, batch(&["a"])).await.unwrap();
    let mut late = LongPoll::new(1);
    late.watch(&partition, seen);
    assert!(is_ready(&late), "what came between the read and the watch counts");

    let mut patient = LongPoll::new(1 << 20);
    patient.watch(&partition, partition.high_watermark());
    assert!(!is_ready(&patient));
    node.delete(partition.id().topic_id, 0).await;
    patient.ready().await;
    assert!(partition.is_closed());
}
