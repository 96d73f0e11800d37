//! Reading a partition from its log start.

use std::sync::Arc;

use aquifer_partition::{Partition, ReadError, ReadRequest};
use aquifer_record::{BatchError, Batches, Records};
use aquifer_runtime::Clock;
use thiserror::Error;
use tokio::{sync::mpsc, time::Instant};
use tracing::info;

use super::Message;
use crate::{
    GroupError,
    event::{Now, Response},
    schema::SchemaError,
    shard::{Shard, replayed},
};

/// Read at once.
const READ_BYTES: usize = 1024 * 1024;

#[derive(Debug, Error)]
pub(super) enum LoadError {
    #[error("reading at offset {offset}: {source}")]
    Read { offset: i64, source: ReadError },
    #[error("the batch at offset {offset} is unreadable: {reason}")]
    Batch { offset: i64, reason: String },
    #[error("the record at offset {offset}: {source}")]
    Record { offset: i64, source: SchemaError },
    #[error("nothing can be read at offset {offset}, below the high watermark {end}")]
    Gap { offset: i64, end: i64 },
}

/// Fills the shard. Whoever asks meanwhile is told to come back.
pub(super) async fn load(
    shard: &mut Shard,
    partition: &Arc<Partition>,
    clock: &Clock,
    mailbox: &mut mpsc::Receiver<Message>,
) -> Result<(), LoadError> {
    let started = Instant::now();
    // Only the owner writes here, so nothing comes behind this.
    let end = partition.high_watermark();
    let start = partition.log_start_offset();
    let mut offset = start;
    while offset < end {
        let request = ReadRequest::new(offset, READ_BYTES);
        let reading = partition.read(&request);
        tokio::pin!(reading);
        let read = loop {
            tokio::select! {
                read = &mut reading => break read,
                Some(message) = mailbox.recv() => refuse(message),
            }
        };
        let read = read.map_err(|source| LoadError::Read { offset, source })?;
        let before = offset;
        for bytes in read.records {
            for batch in Batches::new(bytes) {
                let (header, batch) = batch.map_err(|error| unreadable(offset, &error))?;
                if header.end_offset() <= offset {
                    continue;
                }
                if !header.is_control() {
                    replay(shard, &batch, offset, Now { wall_ms: clock.wall_ms(), timer_ms: 0 })?;
                }
                offset = header.end_offset();
            }
        }
        if offset == before {
            return Err(LoadError::Gap { offset, end });
        }
    }
    info!(
        partition = partition.id().index,
        records = end - start,
        groups = shard.group_count(),
        took_ms = started.elapsed().as_millis(),
        "groups loaded"
    );
    Ok(())
}

fn replay(shard: &mut Shard, batch: &bytes::Bytes, from: i64, now: Now) -> Result<(), LoadError> {
    for record in Records::new(batch).map_err(|error| unreadable(from, &error))? {
        let record = record.map_err(|error| unreadable(from, &error))?;
        let offset = record.offset;
        let (Some(key), true) = (&record.key, offset >= from) else { continue };
        let taken = replayed(key, record.value).and_then(|record| shard.replay(record, now));
        taken.map_err(|source| LoadError::Record { offset, source })?;
    }
    Ok(())
}

fn unreadable(offset: i64, error: &BatchError) -> LoadError {
    LoadError::Batch { offset, reason: error.to_string() }
}

fn refuse(message: Message) {
    if let Message::Ask { reply, .. } = message {
        let _ = reply.send(Response::Refused(GroupError::CoordinatorLoadInProgress));
    }
}
