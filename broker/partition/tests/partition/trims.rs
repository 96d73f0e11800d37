//! DeleteRecords and retention.

use aquifer_partition::{DeleteError, ReadError, ReadRequest};

use crate::batches::{batch, consume, produce, timed};
use crate::machine::{Machine, START_MS};
use aquifer_record::Compression;

#[tokio::test]
async fn deleted_records_stay_deleted_and_a_batch_may_begin_before_the_log() {
    let machine = Machine::new(50).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    produce(&partition, batch(&["a", "b", "c"])).await.unwrap();
    produce(&partition, batch(&["d"])).await.unwrap();
    let beyond = partition.delete_records(5).await;
    assert!(matches!(beyond, Err(DeleteError::OutOfRange { offset: 5, high_watermark: 4 })));
    assert!(matches!(partition.delete_records(-2).await, Err(DeleteError::OutOfRange { .. })));
    assert_eq!(partition.delete_records(1).await.unwrap(), 1);
    assert_eq!(partition.delete_records(0).await.unwrap(), 1, "the start never goes back");
    let gone = partition.read(&ReadRequest::new(0, 100)).await;
    assert!(matches!(gone, Err(ReadError::OutOfRange { log_start_offset: 1, .. })));
    assert_eq!(consume(&partition, 1, 1).await.len(), 3);
    drop(partition);
    machine.kill(node).await;

    let node = machine.start().await;
    let partition = node.get("t");
    assert_eq!((partition.log_start_offset(), partition.high_watermark()), (1, 4));
    node.streams.flush().await.unwrap();
    assert_eq!(partition.delete_records(-1).await.unwrap(), 4);
    assert_eq!(produce(&partition, batch(&["e"])).await.unwrap().base_offset, 4);
    assert_eq!(consume(&partition, 4, 1).await, [(4, "e".to_owned())]);
    let compacted = node.create("c", 1, &[("cleanup.policy", "compact")]).await;
    assert!(matches!(compacted.delete_records(-1).await, Err(DeleteError::Policy { .. })));
}

#[tokio::test]
async fn retention_deletes_what_is_too_old_and_then_what_is_too_much() {
    let machine = Machine::new(51).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[("retention.ms", "1000")]).await;
    let kept = node.create("kept", 1, &[("retention.ms", "-1")]).await;
    for partition in [&partition, &kept] {
        produce(partition, timed(Compression::None, &[START_MS])).await.unwrap();
    }
    node.streams.flush().await.unwrap();
    for partition in [&partition, &kept] {
        produce(partition, timed(Compression::None, &[START_MS + 900])).await.unwrap();
    }
    assert_eq!(node.partitions.apply_retention().await, 0);
    machine.hand.advance(1500);
    assert_eq!(node.partitions.apply_retention().await, 1);
    assert_eq!((partition.log_start_offset(), kept.log_start_offset()), (1, 0));
    machine.hand.advance(10_000);
    // Only in the WAL: it stays until it is offloaded.
    assert_eq!(node.partitions.apply_retention().await, 0);
    node.streams.flush().await.unwrap();
    assert_eq!(node.partitions.apply_retention().await, 1);
    assert_eq!((partition.log_start_offset(), partition.high_watermark()), (2, 2));
    node.set("kept", "retention.bytes", "1").await;
    while kept.config().retention.bytes.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.partitions.apply_retention().await, 1);
    assert_eq!(kept.log_start_offset(), 1, "what stays is not below the limit");
}
