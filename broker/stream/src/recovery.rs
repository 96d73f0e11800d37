//! What an earlier process left in the WAL, split by stream. Pure.

use std::collections::{BTreeMap, BTreeSet};

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

/// What is done where a stream's records do not continue: something before them is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gaps {
    /// That is an error.
    Refused,
    /// An operator gave up what is missing: what follows it cannot be kept either.
    GivenUp,
}

/// Splits recovered records by stream and checks them against what the metadata has committed.
///
/// Records below a stream's committed end are dropped, as are those of streams that no longer exist. What is left
/// must continue each stream without a gap and without an overlap.
pub(crate) fn split(
    image: &Image,
    recovered: Recovered,
    gaps: Gaps,
    describe: Describe,
) -> Result<Recovery, OpenError> {
    let mut recovery = Recovery::default();
    let mut ends = BTreeMap::<StreamId, u64>::new();
    let mut cut = BTreeSet::new();
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
            if gaps == Gaps::GivenUp && (first > expected || cut.contains(&id)) {
                cut.insert(id);
                continue;
            }
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

#[cfg(test)]
mod tests {
    use aquifer_image::{Bootstrap, Command, CreateTopic, Endpoint, RegisterBroker, SecurityProtocol};
    use aquifer_types::{ClusterId, NodeId, TopicId};
    use aquifer_wal::{Lsn, Record, RecoveredSegment, Verdict};
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::Description;

    /// A cluster with one partition, whose streams are empty; and the id of its data stream.
    fn image() -> (Image, u64) {
        let mut image = Image::new();
        let id = TopicId(Uuid::from_u128(5));
        let commands: [Command; 3] = [
            Bootstrap { cluster_id: ClusterId(Uuid::from_u128(1)) }.into(),
            RegisterBroker {
                node: NodeId(1),
                incarnation: Uuid::from_u128(2),
                endpoints: vec![Endpoint {
                    listener: "PLAINTEXT".to_owned(),
                    host: "localhost".to_owned(),
                    port: 9092,
                    security: SecurityProtocol::Plaintext,
                }],
                rack: None,
            }
            .into(),
            CreateTopic {
                name: "t".to_owned(),
                id,
                replication_factor: 1,
                configs: Vec::new(),
                leaders: vec![NodeId(1)],
            }
            .into(),
        ];
        for command in commands {
            image.apply(image.applied().next(), &command).expect("valid");
        }
        let data = image.partition(id, 0).expect("created").data.get();
        (image, data)
    }

    fn describe(payload: &[u8]) -> Option<Description> {
        (payload != b"bad").then_some(Description { records: 1, max_timestamp_ms: 0 })
    }

    fn split_records(records: &[(u64, u64, u64)], payload: &'static [u8]) -> Result<Recovery, OpenError> {
        split_with(Gaps::Refused, records, payload)
    }

    fn split_with(
        gaps: Gaps,
        records: &[(u64, u64, u64)],
        payload: &'static [u8],
    ) -> Result<Recovery, OpenError> {
        let (image, data) = image();
        let record = |(at, &(stream, first_offset, end_offset)): (usize, &(u64, u64, u64))| {
            let stream = if stream == 0 { data } else { stream };
            let payload = Bytes::from_static(payload);
            (Lsn(at as u64 + 40), Record { stream, first_offset, end_offset, payload })
        };
        let records = records.iter().enumerate().map(record).collect();
        let segment = RecoveredSegment { id: 9, records, verdict: Verdict::Clean };
        let recovered = Recovered { segments: vec![segment], ..Recovered::default() };
        split(&image, recovered, gaps, describe)
    }

    #[test]
    fn records_continue_the_stream_and_deleted_streams_are_dropped() {
        let recovery = split_records(&[(0, 0, 3), (999, 7, 8), (0, 3, 4)], b"fine").expect("contiguous");
        let tail: Vec<_> = recovery.tails.values().flatten().map(|(lsn, b)| (*lsn, b.first, b.end)).collect();
        assert_eq!(tail, [(40, 0, 3), (42, 3, 4)]);
        assert_eq!((recovery.orphaned, recovery.offloaded, recovery.end_lsn), (1, 0, 43));
        assert_eq!(recovery.segment_ends, BTreeMap::from([(SegmentId(9), 43)]));
    }

    #[test]
    fn a_gap_is_an_error_that_names_the_offsets() {
        let error = split_records(&[(0, 0, 3), (0, 5, 6)], b"fine").expect_err("3 and 4 are missing");
        assert!(matches!(error, OpenError::Gap { expected: 3, found: 5, .. }), "{error}");
        assert!(error.to_string().contains("3..5"), "{error}");
        let error = split_records(&[(0, 1, 2)], b"fine").expect_err("0 is missing");
        assert!(matches!(error, OpenError::Gap { expected: 0, found: 1, .. }), "{error}");
    }

    #[test]
    fn a_gap_that_was_given_up_ends_its_stream() {
        let records = [(0, 0, 3), (0, 5, 6), (0, 3, 4)];
        let recovery = split_with(Gaps::GivenUp, &records, b"fine").expect("what is whole is kept");
        let tail: Vec<_> = recovery.tails.values().flatten().map(|(_, b)| (b.first, b.end)).collect();
        assert_eq!(tail, [(0, 3)]);
    }

    #[test]
    fn a_duplicate_is_an_error() {
        let error = split_records(&[(0, 0, 3), (0, 2, 4)], b"fine").expect_err("2 is there twice");
        assert!(matches!(error, OpenError::Overlap { expected: 3, first: 2, end: 4, .. }), "{error}");
    }

    #[test]
    fn a_payload_that_is_no_batch_is_an_error() {
        let error = split_records(&[(0, 0, 3)], b"bad").expect_err("not a batch");
        assert!(matches!(error, OpenError::NotABatch { first: 0, end: 3, .. }), "{error}");
    }
}
