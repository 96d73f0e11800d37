//! What survives a process, with and without an upload in between.

use aquifer_partition::AppendError;

use crate::batches::{batch, consume, numbered, produce, request};
use crate::machine::Machine;

#[tokio::test]
async fn offsets_and_producers_survive_a_kill_from_the_wal() {
    let machine = Machine::new(10).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    produce(&partition, numbered(7, 3, 0, &["a", "b"])).await.unwrap();
    produce(&partition, numbered(7, 3, 2, &["c"])).await.unwrap();
    let before = partition.leader_epoch();
    drop(partition);
    machine.kill(node).await;

    let node = machine.start().await;
    let partition = node.get("t");
    assert_eq!((partition.high_watermark(), partition.log_end_offset()), (3, 3));
    assert!(partition.leader_epoch() > before);
    let retry = partition.append(numbered(7, 3, 2, &["c"]), &request()).unwrap();
    assert_eq!((retry.duplicate, retry.base_offset), (true, 2));
    retry.ticket.wait().await.unwrap();
    let stale = partition.append(numbered(7, 2, 3, &["z"]), &request()).unwrap_err();
    assert!(matches!(stale, AppendError::InvalidProducerEpoch { .. }));
    produce(&partition, numbered(7, 3, 3, &["d"])).await.unwrap();
    assert_eq!(partition.epoch_end_offset(before), Some((before, 3)));
    let values: Vec<_> = consume(&partition, 0, 4096).await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn offsets_producers_and_epochs_survive_in_a_checkpoint() {
    let machine = Machine::new(11).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    produce(&partition, numbered(7, 3, 0, &["a", "b"])).await.unwrap();
    let first_epoch = partition.leader_epoch();
    node.streams.flush().await.unwrap();
    drop(partition);
    machine.crash(node).await;

    let node = machine.start().await;
    let partition = node.get("t");
    produce(&partition, numbered(8, 0, 0, &["c"])).await.unwrap();
    node.streams.flush().await.unwrap();
    // In the WAL only.
    produce(&partition, numbered(8, 0, 1, &["d"])).await.unwrap();
    let second_epoch = partition.leader_epoch();
    drop(partition);
    machine.kill(node).await;

    let node = machine.start().await;
    let partition = node.get("t");
    assert_eq!(partition.high_watermark(), 4);
    for (retry, offset) in
        [(numbered(7, 3, 0, &["a", "b"]), 0), (numbered(8, 0, 0, &["c"]), 2), (numbered(8, 0, 1, &["d"]), 3)]
    {
        let retry = partition.append(retry, &request()).unwrap();
        assert_eq!((retry.duplicate, retry.base_offset), (true, offset));
    }
    assert_eq!(partition.epoch_end_offset(first_epoch), Some((first_epoch, 2)));
    assert_eq!(partition.epoch_end_offset(second_epoch), Some((second_epoch, 4)));
    let values: Vec<_> = consume(&partition, 0, 1).await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_graceful_stop_leaves_everything_in_the_store() {
    let machine = Machine::new(12).await;
    let node = machine.start().await;
    let partition = node.create("t", 3, &[]).await;
    produce(&partition, batch(&["a", "b"])).await.unwrap();
    node.streams.shutdown(crate::machine::PATIENCE).await.unwrap();
    assert!(partition.append(batch(&["late"]), &request()).is_err());
    drop(partition);
    machine.kill(node).await;
    let node = machine.start().await;
    let partition = node.get("t");
    assert_eq!(consume(&partition, 1, 1).await, [(1, "b".to_owned())]);
    assert_eq!(node.partitions.open().len(), 3);
}
