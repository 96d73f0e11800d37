//! Appending and reading on a running node.

use aquifer_partition::{AppendError, DivergingEpoch, EpochError, ReadError, ReadRequest};
use aquifer_record::{BatchBuilder, BatchError, Compression, NewRecord, TimestampType};

use crate::batches::{batch, consume, headers, numbered, produce, request};
use crate::machine::{Machine, START_MS};

#[tokio::test]
async fn batches_get_their_offsets_and_are_read_when_they_are_durable() {
    let machine = Machine::new(1).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    let first = partition.append(batch(&["a", "b", "c"]), &request()).unwrap();
    let second = partition.append(batch(&["d"]), &request()).unwrap();
    assert_eq!((first.base_offset, first.last_offset, first.log_append_time_ms), (0, 2, -1));
    assert_eq!((second.base_offset, second.log_start_offset), (3, 0));
    // Nothing has reached the disk: this task has not yielded.
    assert_eq!((partition.high_watermark(), partition.log_end_offset()), (0, 4));
    let early = partition.read_cached(&ReadRequest::new(0, 100)).unwrap().unwrap();
    assert!(early.records.is_empty());
    let ahead = partition.read_cached(&ReadRequest::new(3, 100)).unwrap().unwrap();
    assert!(ahead.records.is_empty(), "appended but not durable is no error");
    first.ticket.join(second.ticket).wait().await.unwrap();
    assert_eq!(partition.high_watermark(), 4);
    let values: Vec<_> = consume(&partition, 0, 1).await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["a", "b", "c", "d"]);
    let epoch = partition.leader_epoch();
    assert!(headers(&partition).await.iter().all(|header| header.partition_leader_epoch == epoch));
}

#[tokio::test]
async fn a_fetch_from_the_middle_of_a_batch_gets_the_whole_batch() {
    let machine = Machine::new(2).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    for values in [&["a", "b", "c"][..], &["d", "e"], &["f"]] {
        produce(&partition, batch(values)).await.unwrap();
    }
    let read = |request: ReadRequest| partition.read_cached(&request).unwrap();
    let middle = read(ReadRequest::new(1, 1)).unwrap();
    assert_eq!(middle.records.len(), 1, "the first batch comes even over the limit");
    assert_eq!((middle.high_watermark, middle.last_stable_offset, middle.log_start_offset), (6, 6, 0));
    let strict = read(ReadRequest { min_one_batch: false, ..ReadRequest::new(1, 1) }).unwrap();
    assert!(strict.records.is_empty());
    let two = read(ReadRequest::new(2, middle.bytes + 80)).unwrap();
    assert_eq!(two.records.len(), 2);
    assert!(read(ReadRequest::new(6, 100)).unwrap().records.is_empty());
    assert!(matches!(read(ReadRequest::new(7, 100)), Err(ReadError::OutOfRange { offset: 7, end: 6, .. })));
    assert!(matches!(read(ReadRequest::new(-1, 100)), Err(ReadError::OutOfRange { .. })));
}

#[tokio::test]
async fn an_idempotent_producer_gets_its_old_offset_for_a_retry() {
    let machine = Machine::new(3).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    produce(&partition, batch(&["x"])).await.unwrap();
    let first = partition.append(numbered(7, 0, 0, &["a", "b"]), &request()).unwrap();
    // Before the first copy is durable: the retry has to wait for it as well.
    let retry = partition.append(numbered(7, 0, 0, &["a", "b"]), &request()).unwrap();
    assert_eq!((retry.duplicate, retry.base_offset, retry.last_offset), (true, first.base_offset, 2));
    retry.ticket.wait().await.unwrap();
    assert_eq!(partition.high_watermark(), 3);
    let gap = partition.append(numbered(7, 0, 3, &["d"]), &request()).unwrap_err();
    assert!(matches!(gap, AppendError::OutOfOrderSequence { sequence: 3, last: 1, .. }));
    produce(&partition, numbered(7, 1, 0, &["e"])).await.unwrap();
    let stale = partition.append(numbered(7, 0, 2, &["c"]), &request()).unwrap_err();
    assert!(matches!(stale, AppendError::InvalidProducerEpoch { epoch: 0, current: 1, .. }));
    assert_eq!(partition.log_end_offset(), 4, "a refused batch takes no offset");
    let view = partition.producers();
    assert_eq!(
        (view.len(), view[0].producer_id, view[0].producer_epoch, view[0].last_sequence),
        (1, 7, 1, 0)
    );
}

#[tokio::test]
async fn a_topics_rules_hold_and_change_while_it_is_written() {
    let machine = Machine::new(4).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[("cleanup.policy", "compact"), ("min.insync.replicas", "2")]).await;
    let few = partition.append(batch(&["x"]), &request()).unwrap_err();
    assert!(matches!(few, AppendError::NotEnoughReplicas { wanted: 2, copies: 1 }));
    node.set("t", "min.insync.replicas", "1").await;
    while partition.config().min_insync_replicas != 1 {
        tokio::task::yield_now().await;
    }
    let keyless = partition.append(batch(&["x"]), &request()).unwrap_err();
    let AppendError::Batch(BatchError::InvalidRecords { records }) = keyless else { panic!("{keyless}") };
    assert_eq!(records[0].index, 0);
    let transactional = {
        let mut builder = BatchBuilder::new(Compression::None).producer(1, 0, 0).transactional();
        builder.push(NewRecord { timestamp_ms: START_MS, key: Some(b"k"), ..NewRecord::default() });
        builder.build()
    };
    assert!(matches!(partition.append(transactional, &request()), Err(AppendError::Transactional)));
    machine.hand.advance(10);
    node.set("t", "message.timestamp.type", "LogAppendTime").await;
    while partition.config().rules.timestamp_type != TimestampType::LogAppendTime {
        tokio::task::yield_now().await;
    }
    let mut keyed = BatchBuilder::new(Compression::Lz4);
    keyed.push(NewRecord { timestamp_ms: 5, key: Some(b"k"), ..NewRecord::default() });
    let appended = produce(&partition, keyed.build()).await.unwrap();
    assert_eq!(appended.log_append_time_ms, START_MS + 10);
    assert_eq!(headers(&partition).await[0].max_timestamp, START_MS + 10);
}

#[tokio::test]
async fn leader_epochs_that_do_not_fit_are_told_apart() {
    let machine = Machine::new(5).await;
    let node = machine.start().await;
    let partition = node.create("t", 1, &[]).await;
    produce(&partition, batch(&["a"])).await.unwrap();
    machine.kill(node).await;
    let node = machine.start().await;
    let partition = node.get("t");
    produce(&partition, batch(&["b"])).await.unwrap();
    let current = partition.leader_epoch();
    let read = |epoch| {
        let request = ReadRequest { current_leader_epoch: Some(epoch), ..ReadRequest::new(0, 100) };
        partition.read_cached(&request).unwrap()
    };
    assert!(read(current).is_ok());
    assert!(matches!(read(current - 1), Err(ReadError::Epoch(EpochError::Fenced { .. }))));
    assert!(matches!(read(current + 1), Err(ReadError::Epoch(EpochError::Unknown { .. }))));
    let since = |epoch, offset| {
        let request = ReadRequest { last_fetched_epoch: Some(epoch), ..ReadRequest::new(offset, 100) };
        partition.read_cached(&request).unwrap().unwrap().diverging_epoch
    };
    assert_eq!(since(0, 1), None);
    assert_eq!(since(0, 2), Some(DivergingEpoch { epoch: 0, end_offset: 1 }));
    assert_eq!(partition.epoch_end_offset(0), Some((0, 1)));
    assert_eq!(partition.epoch_end_offset(current), Some((current, 2)));
    assert_eq!(partition.epoch_end_offset(current + 1), None);
}
