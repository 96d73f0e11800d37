//! DeleteRecords and retention: raising the start of the log.

use aquifer_image::Image;
use aquifer_image::retention::new_start;
use aquifer_stream::TrimError;
use aquifer_types::StreamId;

use crate::error::DeleteError;
use crate::partition::{Partition, kafka_offset, stream_offset};

impl Partition {
    /// Deletes all records before `offset`; -1 means up to the high watermark. The first offset of the log afterwards,
    /// which is larger than asked for when it was so before.
    ///
    /// # Errors
    /// See [`DeleteError`].
    pub async fn delete_records(&self, offset: i64) -> Result<i64, DeleteError> {
        let config = self.config();
        if !config.delete {
            return Err(DeleteError::Policy { policy: config.cleanup_policy().to_owned() });
        }
        self.raise_log_start(offset).await
    }

    /// Deletes as [`delete_records`](Self::delete_records), whatever the topic's cleanup policy: for a coordinator,
    /// which has written what is still valid behind `offset`.
    ///
    /// # Errors
    /// See [`DeleteError`].
    pub async fn raise_log_start(&self, offset: i64) -> Result<i64, DeleteError> {
        if self.is_closed() {
            return Err(DeleteError::NotLeader);
        }
        let high_watermark = self.high_watermark();
        let offset = if offset == -1 { high_watermark } else { offset };
        if offset < 0 || offset > high_watermark {
            return Err(DeleteError::OutOfRange { offset, high_watermark });
        }
        if offset > self.log_start_offset() {
            self.stream().trim(stream_offset(offset)).await.map_err(|error| match error {
                TrimError::Closed(_) => DeleteError::NotLeader,
                TrimError::OutOfRange { .. } => DeleteError::OutOfRange { offset, high_watermark },
                TrimError::Metadata { .. } => DeleteError::Metadata(error.to_string()),
            })?;
            self.trimmed();
        }
        Ok(self.log_start_offset())
    }

    /// What retention would delete now: the stream and its new start.
    pub(crate) fn expired(&self, image: &Image, now_ms: i64) -> Option<(StreamId, u64)> {
        let config = self.config();
        if self.is_closed() || !config.delete {
            return None;
        }
        let stream = self.stream_id();
        let start = new_start(image, stream, config.retention, self.stream().tail_bytes(), now_ms)?;
        (kafka_offset(start) > self.log_start_offset()).then_some((stream, start))
    }

    /// The start of the stream moved.
    pub(crate) fn trimmed(&self) {
        let log_start = self.log_start_offset();
        self.state().trim(log_start);
    }
}
