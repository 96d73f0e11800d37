//! Runs of whole batches, and looking for a time in one.

use bytes::Bytes;

use crate::error::BatchError;
use crate::header::BatchHeader;
use crate::record::Records;

/// Splits bytes that hold whole batches, one after the other. Ends after the first error.
#[derive(Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// The batches of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }
}

impl Iterator for Batches {
    type Item = Result<(BatchHeader, Bytes), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let split = BatchHeader::parse(&rest).and_then(|header| {
            if rest.len() < header.size() {
                return Err(BatchError::Truncated { have: rest.len(), need: header.size() });
            }
            self.rest = rest.slice(header.size()..);
            Ok((header, rest.slice(..header.size())))
        });
        Some(split)
    }
}

/// The first record of `batch` with a timestamp of at least `timestamp_ms` and an offset of at least `from_offset`:
/// its own offset and timestamp, even inside a compressed batch. `None` when there is no such record.
pub fn time_lookup(
    batch: &Bytes,
    timestamp_ms: i64,
    from_offset: i64,
) -> Result<Option<(i64, i64)>, BatchError> {
    let header = BatchHeader::parse(batch)?;
    if header.max_timestamp < timestamp_ms || header.last_offset() < from_offset {
        return Ok(None);
    }
    for record in Records::new(batch)? {
        let record = record?;
        if record.timestamp_ms >= timestamp_ms && record.offset >= from_offset {
            return Ok(Some((record.offset, record.timestamp_ms)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, Compression, NewRecord};

    fn batch(compression: Compression, timestamps: &[i64]) -> Bytes {
        let mut builder = BatchBuilder::new(compression);
        for timestamp_ms in timestamps {
            builder.push(NewRecord {
                timestamp_ms: *timestamp_ms,
                value: Some(b"v"),
                ..NewRecord::default()
            });
        }
        builder.build().freeze()
    }

    #[test]
    fn a_time_is_found_inside_a_compressed_batch() {
        let batch = batch(Compression::Zstd, &[10, 30, 20, 40]);
        assert_eq!(time_lookup(&batch, 5, 0).unwrap(), Some((0, 10)));
        assert_eq!(time_lookup(&batch, 20, 0).unwrap(), Some((1, 30)));
        assert_eq!(time_lookup(&batch, 20, 2).unwrap(), Some((2, 20)));
        assert_eq!(time_lookup(&batch, 40, 0).unwrap(), Some((3, 40)));
        assert_eq!(time_lookup(&batch, 41, 0).unwrap(), None);
    }

    #[test]
    fn a_run_of_batches_splits_into_them_and_a_torn_end_is_an_error() {
        let one = batch(Compression::None, &[1]);
        let two = batch(Compression::Gzip, &[2, 3]);
        let run = Bytes::from([one.clone(), two.clone()].concat());
        let split: Vec<_> = Batches::new(run.clone()).map(|batch| batch.unwrap().1).collect();
        assert_eq!(split, [one, two]);
        let torn: Vec<_> = Batches::new(run.slice(..run.len() - 1)).collect();
        assert!(torn.len() == 2 && torn[0].is_ok() && torn[1].is_err());
    }
}
