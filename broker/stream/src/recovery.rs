//! What an earlier process left in the WAL, split by stream. Pure.

use std::collections::BTreeMap;

use aquifer_image::Image;
use aquifer_types::{SegmentId, StreamId};
use aquifer_wal::Recovered;

use crate::{Batch, Describe, OpenError};

/// The part of the WAL that no committed object has.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    /// Per stream its batches with their LSNs, in offset order, beginning at the stream's committed end.
    pub(crate) tails: BTreeMap<StreamId, Vec<(u64, Batch)>>,
    /// The LSN after the last recovered record.
    pub(crate) end_lsn: u64,
    /// Where each recovered segment ends.
    pub(crate) segment_ends: BTreeMap<SegmentId, u64>,
    /// Records that were offloaded already.
    pub(crate) offloaded: u64,
    /// Records of streams that were deleted.
    pub(crate) orphaned: u64,
}

/// Splits recovered records by stream and checks them against what the metadata has committed.
///
/// Records below a stream's committed end are dropped, as are those of streams that no longer exist. What is left
/// must continue each stream without a gap and without an overlap.
pub(crate) fn split(image: &Image, recovered: Recovered, describe: Describe) -> Result<Recovery, OpenError> {
    let mut recovery = Recovery::default();
    let mut ends = BTreeMap::<StreamId, u64>::new();
    for segment in recovered.segments {
        for (lsn, record) in segment.records {
            recovery.end_lsn = recovery.end_lsn.max(lsn.0 + 1);
            recovery.segment_ends.insert(SegmentId(segment.id), lsn.0 + 1);
            let id = StreamId(record.stream);
            let Some(stream) = image.stream(id) else {
                recovery.orphaned += 1;
                continue;
            };
            if record.end_offset <= stream.end {
                recovery.offloaded += 1;
                continue;
            }
            let (first, end) = (record.first_offset, record.end_offset);
            let expected = ends.get(&id).copied().unwrap_or(stream.end);
            if first > expected {
                return Err(OpenError::Gap { stream: id, expected, found: first });
            }
            if first < expected || end <= first {
                return Err(OpenError::Overlap { stream: id, expected, first, end });
            }
            let described = describe(&record.payload);
            let described = described.ok_or(OpenError::NotABatch { stream: id, first, end })?;
            let batch = Batch {
                first,
                end,
                records: described.records,
                max_timestamp_ms: described.max_timestamp_ms,
                payload: record.payload,
            };
            ends.insert(id, end);
            recovery.tails.entry(id).or_default().push((lsn.0, batch));
        }
    }
    Ok(recovery)
}
