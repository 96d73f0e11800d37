//! Random histories of a retrying producer, uploads and crashes: what was acknowledged is there once, in order.

use aquifer_runtime::Random;

use crate::batches::{consume, numbered, request};
use crate::machine::Machine;

#[tokio::test]
async fn every_acknowledged_record_is_there_once_after_any_crash() {
    for seed in 100..108 {
        history(seed).await;
    }
}

async fn history(seed: u64) {
    let machine = Machine::new(seed).await;
    let random = Random::seeded(seed);
    let mut node = machine.start().await;
    drop(node.create("t", 1, &[]).await);
    // What the client sent and does not know the outcome of is sent again, as Kafka's clients do.
    let mut acknowledged = 0;
    for _ in 0..40 {
        let partition = node.get("t");
        match random.below(10) {
            0 => {
                drop(partition);
                if random.below(2) == 0 {
                    machine.crash(node).await;
                } else {
                    machine.kill(node).await;
                }
                node = machine.start().await;
            }
            1 => node.streams.flush().await.unwrap(),
            2 => {
                // Sent, and the connection is lost before the reply.
                let _ = partition.append(send(acknowledged), &request()).unwrap();
            }
            _ => {
                let appended = partition.append(send(acknowledged), &request()).unwrap();
                appended.ticket.wait().await.unwrap();
                assert_eq!(appended.base_offset, acknowledged * 2, "seed {seed}");
                acknowledged += 1;
            }
        }
    }
    let partition = node.get("t");
    let found = consume(&partition, 0, 300).await;
    assert!(found.len() as i64 >= acknowledged * 2, "seed {seed}: acknowledged records are missing");
    for (expected, (offset, value)) in (0..).zip(found) {
        assert_eq!((offset, value), (expected, format!("{expected}")), "seed {seed}");
    }
}

/// The n-th batch of the producer: two records.
fn send(n: i64) -> bytes::BytesMut {
    let (first, second) = ((n * 2).to_string(), (n * 2 + 1).to_string());
    numbered(5, 0, i32::try_from(n * 2).unwrap(), &[&first, &second])
}
