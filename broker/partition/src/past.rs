//! What a partition knows of its past when it opens.

use aquifer_record::BatchHeader;
use aquifer_stream::{ReadRequest, Stream};

use crate::checkpoint::Checkpoint;
use crate::error::OpenError;

/// One read of what was offloaded after the checkpoint.
const READ_BYTES: usize = 4 << 20;

/// The newest checkpoint, and the batches that committed objects hold after it. There are some when the last leader died: who
/// took over its tail committed it without knowing what a checkpoint is.
#[derive(Debug, Default)]
pub(crate) struct Past {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) after: Vec<BatchHeader>,
}

impl Past {
    /// Reads it from the store.
    pub(crate) async fn load(stream: &Stream) -> Result<Self, OpenError> {
        let failed = |error: aquifer_stream::ReadError| OpenError::Load(error.to_string());
        let checkpoint = match stream.load_checkpoint().await.map_err(failed)? {
            Some(bytes) => Checkpoint::decode(&bytes)?,
            None => Checkpoint::default(),
        };
        let end = stream.offloaded_end();
        let mut next = checkpoint.cut.unsigned_abs().max(stream.start());
        let mut after = Vec::new();
        while next < end {
            let request = ReadRequest { limit: end, ..ReadRequest::new(next, READ_BYTES) };
            let batches = stream.read(&request).await.map_err(failed)?;
            let Some(last) = batches.last() else { break };
            next = last.end;
            for batch in &batches {
                let unreadable =
                    |error| OpenError::Replay { offset: batch.first, reason: format!("{error}") };
                after.push(BatchHeader::parse(&batch.payload).map_err(unreadable)?);
            }
        }
        Ok(Self { checkpoint, after })
    }
}
