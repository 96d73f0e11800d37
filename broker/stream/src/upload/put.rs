//! Lays a job out as an object and hands it to the store.

use aquifer_image::StreamRange;
use aquifer_objects::{Store, StoreError};
use aquifer_types::{ObjectId, StreamId};
use bytes::Bytes;

use super::job::Job;
use crate::Batch;
use crate::format::{Finished, ObjectWriter, Origin, StreamKind, WrittenRange};
use crate::shared::Shared;

/// Objects above this are streamed to the store in parts.
const SINGLE_PUT_BYTES: u64 = 128 << 20;
/// So are objects of small batches above this: small batches are copied together, and the copies of a whole
/// object are not to be in memory beside their originals.
const SINGLE_PUT_SMALL_BATCHES_BYTES: u64 = 8 << 20;
/// What counts as small, on average.
const SMALL_BATCH_BYTES: u64 = 8 << 10;
/// Parts are handed on in portions of this size.
const PORTION_BYTES: usize = 1 << 20;

/// An object in the store, not yet committed.
pub(crate) struct Written {
    pub(crate) object_bytes: u64,
    pub(crate) ranges: Vec<WrittenRange>,
}

/// Writes the job's object under `key`.
pub(crate) async fn put(
    shared: &Shared,
    job: &Job,
    object: ObjectId,
    key: &str,
) -> Result<Written, StoreError> {
    let origin = Origin {
        object: object.get(),
        cluster: *shared.cluster.get().as_bytes(),
        node: u64::from(shared.node.get()),
        broker_epoch: shared.broker_epoch.get(),
        created_ms: shared.clock.wall_ms(),
    };
    put_object(&shared.store, origin, batches(job).collect(), job.bytes, key).await
}

/// Writes an object of these batches, which are in the order of the format and have `bytes` bytes together.
pub(crate) async fn put_object(
    store: &Store,
    origin: Origin,
    batches: Vec<(StreamKind, u64, Batch)>,
    bytes: u64,
    key: &str,
) -> Result<Written, StoreError> {
    let mut writer = ObjectWriter::new(origin);
    let mut sink = Sink::open(store, bytes, batches.len() as u64, key).await?;
    for (kind, stream, batch) in batches {
        writer.add(kind, stream, batch);
        if writer.ready_bytes() >= PORTION_BYTES {
            sink.write(writer.take_parts()).await?;
            // Checksums are work: acks come first.
            tokio::task::yield_now().await;
        }
    }
    let Finished { parts, object_bytes, ranges } = writer.finish();
    sink.write(parts).await?;
    sink.finish().await?;
    Ok(Written { object_bytes, ranges })
}

/// What was written, as the metadata takes it.
pub(crate) fn commit_ranges(written: &[WrittenRange]) -> Vec<StreamRange> {
    let range = |range: &WrittenRange| StreamRange {
        stream: StreamId(range.stream),
        first: range.first,
        end: range.end,
        records: range.records,
        bytes: range.bytes,
        max_timestamp_ms: range.max_timestamp_ms,
        replaces_older: range.kind == StreamKind::Meta,
    };
    written.iter().map(range).collect()
}

/// All batches in the order of the format: data streams, then meta streams, each by id.
fn batches(job: &Job) -> impl Iterator<Item = (StreamKind, u64, Batch)> {
    let mut cuts: Vec<_> = job.cuts.iter().collect();
    cuts.sort_unstable_by_key(|cut| cut.stream.data);
    let mut checkpoints: Vec<_> = job.cuts.iter().filter_map(|cut| cut.checkpoint.as_ref()).collect();
    checkpoints.sort_unstable_by_key(|(meta, _)| *meta);
    let data = cuts.into_iter().flat_map(|cut| {
        cut.batches.iter().map(|batch| (StreamKind::Data, cut.stream.data.get(), batch.clone()))
    });
    let meta = checkpoints.into_iter().map(|(meta, batch)| (StreamKind::Meta, meta.get(), batch.clone()));
    data.chain(meta)
}

enum Sink<'a> {
    Single { store: &'a Store, key: &'a str, parts: Vec<Bytes> },
    Streamed(Box<aquifer_objects::Upload>),
}

impl<'a> Sink<'a> {
    async fn open(store: &'a Store, bytes: u64, batches: u64, key: &'a str) -> Result<Self, StoreError> {
        let small = bytes / batches.max(1) < SMALL_BATCH_BYTES;
        let limit = if small { SINGLE_PUT_SMALL_BATCHES_BYTES } else { SINGLE_PUT_BYTES };
        if bytes <= limit {
            return Ok(Sink::Single { store, key, parts: Vec::new() });
        }
        Ok(Sink::Streamed(Box::new(store.upload(key).await?)))
    }

    async fn write(&mut self, new: Vec<Bytes>) -> Result<(), StoreError> {
        match self {
            Sink::Single { parts, .. } => parts.extend(new),
            Sink::Streamed(upload) => {
                for part in new {
                    upload.write(part).await?;
                }
            }
        }
        Ok(())
    }

    async fn finish(self) -> Result<(), StoreError> {
        match self {
            Sink::Single { store, key, parts } => store.put_new(key, parts).await,
            Sink::Streamed(upload) => upload.finish().await,
        }
    }
}
