//! Lays a job out as an object and hands it to the store.

use aquifer_objects::{Store, StoreError};
use aquifer_types::ObjectId;
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
    let mut writer = ObjectWriter::new(Origin {
        object: object.get(),
        cluster: *shared.cluster.get().as_bytes(),
        node: u64::from(shared.node.get()),
        broker_epoch: shared.broker_epoch.get(),
        created_ms: shared.clock.wall_ms(),
    });
    let mut sink = Sink::open(&shared.store, job, key).await?;
    for (kind, stream, batch) in batches(job) {
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
    async fn open(store: &'a Store, job: &Job, key: &'a str) -> Result<Self, StoreError> {
        let batches: u64 = job.cuts.iter().map(|cut| cut.batches.len() as u64).sum();
        let small = job.bytes / batches.max(1) < SMALL_BATCH_BYTES;
        let limit = if small { SINGLE_PUT_SMALL_BATCHES_BYTES } else { SINGLE_PUT_BYTES };
        if job.bytes <= limit {
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
