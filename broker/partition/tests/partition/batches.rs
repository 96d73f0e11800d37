//! What producers send, and what comes back.

use aquifer_partition::{Acks, AppendError, AppendRequest, Appended, Partition, ReadRequest};
use aquifer_record::{BatchBuilder, BatchHeader, Batches, Compression, NewRecord, Origin, Records};
use bytes::BytesMut;

use crate::machine::START_MS;

/// A producer's request with acks=all.
pub(crate) fn request() -> AppendRequest {
    AppendRequest { origin: Origin::Client, acks: Acks::All, zstd_allowed: true, buffer_bytes: 0 }
}

/// One with acks=1.
pub(crate) fn leader_request() -> AppendRequest {
    AppendRequest { acks: Acks::Leader, ..request() }
}

/// A batch with these values, one millisecond apart.
pub(crate) fn batch(values: &[&str]) -> BytesMut {
    builder(values).build()
}

/// The same of an idempotent producer.
pub(crate) fn numbered(id: i64, epoch: i16, sequence: i32, values: &[&str]) -> BytesMut {
    builder(values).producer(id, epoch, sequence).build()
}

fn builder(values: &[&str]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Compression::None);
    for (timestamp_ms, value) in (START_MS..).zip(values) {
        builder.push(NewRecord { timestamp_ms, key: None, value: Some(value.as_bytes()), headers: &[] });
    }
    builder
}

/// A compressed batch with a record at each of these times.
pub(crate) fn timed(compression: Compression, timestamps: &[i64]) -> BytesMut {
    let mut builder = BatchBuilder::new(compression);
    for timestamp_ms in timestamps {
        let value = timestamp_ms.to_string();
        builder.push(NewRecord {
            timestamp_ms: *timestamp_ms,
            value: Some(value.as_bytes()),
            ..NewRecord::default()
        });
    }
    builder.build()
}

/// Appends and waits until it is durable.
pub(crate) async fn produce(partition: &Partition, batch: BytesMut) -> Result<Appended, AppendError> {
    let appended = partition.append(batch, &request())?;
    appended.ticket.clone().wait().await.expect("the disk works");
    Ok(appended)
}

/// Everything from `from` to the high watermark, read in pieces of `max_bytes`: offset and value of each record.
pub(crate) async fn consume(partition: &Partition, from: i64, max_bytes: usize) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    let mut next = from;
    while next < partition.high_watermark() {
        let read = partition.read(&ReadRequest::new(next, max_bytes)).await.unwrap();
        assert!(!read.records.is_empty(), "there is more up to the high watermark");
        for batch in read.records.into_iter().flat_map(Batches::new) {
            let (header, batch) = batch.unwrap();
            assert!(
                header.base_offset <= next && next < header.end_offset(),
                "batches are whole and in order"
            );
            for record in Records::new(&batch).unwrap() {
                let record = record.unwrap();
                if record.offset >= next {
                    found.push((record.offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
                }
            }
            next = header.end_offset();
        }
    }
    found
}

/// The headers of all batches.
pub(crate) async fn headers(partition: &Partition) -> Vec<BatchHeader> {
    let read = partition.read(&ReadRequest::new(partition.log_start_offset(), usize::MAX)).await.unwrap();
    read.records.into_iter().flat_map(Batches::new).map(|batch| batch.unwrap().0).collect()
}
