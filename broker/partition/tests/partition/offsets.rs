//! ListOffsets from memory and from the store.

use aquifer_partition::{FoundOffset, OffsetSpec, Partition, ReadError};
use aquifer_record::Compression;

use crate::batches::{produce, timed};
use crate::machine::{Machine, START_MS};

async fn find(partition: &Partition, timestamp: i64) -> (i64, i64) {
    let spec = OffsetSpec::from_kafka(timestamp).unwrap();
    let found = partition.list_offset(spec, false, None).await.unwrap();
    (found.offset, found.timestamp_ms)
}

async fn check_all(partition: &Partition) {
    let at = |delta| START_MS + delta;
    assert_eq!(find(partition, -1).await, (8, -1));
    assert_eq!(find(partition, -2).await, (0, -1));
    assert_eq!(find(partition, -4).await, (0, -1));
    assert_eq!(find(partition, -5).await, (-1, -1));
    assert_eq!(find(partition, -6).await, (-1, -1));
    assert_eq!(find(partition, -3).await, (4, at(60)), "the largest timestamp, in the middle of a batch");
    assert_eq!(find(partition, 0).await, (0, at(10)));
    assert_eq!(find(partition, at(11)).await, (1, at(30)));
    assert_eq!(find(partition, at(30)).await, (1, at(30)));
    assert_eq!(find(partition, at(41)).await, (4, at(60)));
    assert_eq!(find(partition, at(60)).await, (4, at(60)));
    assert_eq!(find(partition, at(61)).await, (-1, -1));
}

#[tokio::test]
async fn offsets_are_found_by_time_in_memory_and_in_the_store() {
    let machine = Machine::new(20).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    let empty = partition.list_offset(OffsetSpec::MaxTimestamp, false, None).await.unwrap();
    assert_eq!(empty, FoundOffset::NONE);
    for (compression, deltas) in [
        (Compression::Zstd, &[10, 30, 20][..]),
        (Compression::None, &[40, 60, 35]),
        (Compression::Gzip, &[50, 55]),
    ] {
        let timestamps: Vec<_> = deltas.iter().map(|delta| START_MS + delta).collect();
        produce(&partition, timed(compression, &timestamps)).await.unwrap();
    }
    check_all(&partition).await;
    let epoch = partition.leader_epoch();
    let latest = partition.list_offset(OffsetSpec::Latest, true, Some(epoch)).await.unwrap();
    assert_eq!(latest, FoundOffset { offset: 8, timestamp_ms: -1, leader_epoch: Some(epoch) });
    let wrong = partition.list_offset(OffsetSpec::Latest, true, Some(epoch + 1)).await;
    assert!(matches!(wrong, Err(ReadError::Epoch(_))));
    node.streams.flush().await.unwrap();
    check_all(&partition).await;
    drop(partition);
    machine.kill(node).await;

    let node = machine.start().await;
    check_all(&node.get("t")).await;
}

#[tokio::test]
async fn a_time_in_a_deleted_part_of_a_batch_gives_the_next_record_that_is_there() {
    let machine = Machine::new(21).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    produce(&partition, timed(Compression::Lz4, &[START_MS + 50, START_MS + 10])).await.unwrap();
    produce(&partition, timed(Compression::Lz4, &[START_MS + 60])).await.unwrap();
    assert_eq!(partition.delete_records(1).await.unwrap(), 1);
    assert_eq!(find(&partition, START_MS + 40).await, (2, START_MS + 60));
    assert_eq!(find(&partition, START_MS).await, (1, START_MS + 10));
    assert_eq!(find(&partition, -2).await, (1, -1));
}
