//! Idempotent producers: which batches of whom are in the log, so that none is appended twice or out of order.
//!
//! Kafka's rules: a batch with the epoch and the exact sequence range of one of the last five is a duplicate; a newer
//! epoch starts at sequence 0; the next batch continues the sequence, which wraps from 2^31-1 to 0; a producer that
//! is not known here (new, or expired) may begin with any sequence.

use std::collections::BTreeMap;

use aquifer_record::BatchHeader;
use serde::{Deserialize, Serialize};

use crate::error::AppendError;

/// Batches remembered per producer: as many as a client has in flight (`max.in.flight.requests.per.connection`).
pub const REMEMBERED_BATCHES: usize = 5;

/// Producers remembered per partition. Beyond it the one idle for longest is forgotten, which costs that producer
/// the recognition of duplicates and nothing else.
pub const MAX_PRODUCERS: usize = 100_000;

/// A batch that is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) first_sequence: i32,
    pub(crate) last_sequence: i32,
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) timestamp_ms: i64,
}

/// What is known of one producer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    /// When it last appended, by the broker's clock: a producer that copies old records is not idle.
    pub(crate) appended_ms: i64,
    /// The last ones, oldest first, at most [`REMEMBERED_BATCHES`].
    pub(crate) batches: Vec<Remembered>,
}

/// All producers of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Producers(BTreeMap<i64, Producer>);

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Append it.
    Fresh,
    /// It is in the log already, here.
    Duplicate(Remembered),
}

impl Producers {
    /// Judges a client's batch; changes nothing.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<Verdict, AppendError> {
        if !header.has_producer_id() {
            return Ok(Verdict::Fresh);
        }
        let Some(known) = self.0.get(&header.producer_id) else { return Ok(Verdict::Fresh) };
        let (producer_id, sequence) = (header.producer_id, header.base_sequence);
        if header.producer_epoch == known.epoch {
            let last_sequence = header.last_sequence();
            let same = |batch: &&Remembered| {
                batch.first_sequence == sequence && batch.last_sequence == last_sequence
            };
            if let Some(duplicate) = known.batches.iter().find(same) {
                return Ok(Verdict::Duplicate(*duplicate));
            }
            match known.batches.last() {
                Some(last) if sequence != next_sequence(last.last_sequence) => {
                    Err(AppendError::OutOfOrderSequence { producer_id, sequence, last: last.last_sequence })
                }
                _ => Ok(Verdict::Fresh),
            }
        } else if header.producer_epoch < known.epoch {
            Err(AppendError::InvalidProducerEpoch {
                producer_id,
                epoch: header.producer_epoch,
                current: known.epoch,
            })
        } else if sequence != 0 {
            Err(AppendError::OutOfOrderSequence { producer_id, sequence, last: -1 })
        } else {
            Ok(Verdict::Fresh)
        }
    }

    /// Whether a batch is the first that is seen of its producer, and not the first that the producer sent.
    pub(crate) fn begins_late(&self, header: &BatchHeader) -> bool {
        header.has_producer_id() && header.base_sequence != 0 && !self.0.contains_key(&header.producer_id)
    }

    /// Remembers a batch that was appended; `header` has its offsets.
    pub(crate) fn record(&mut self, header: &BatchHeader, now_ms: i64) {
        if !header.has_producer_id() {
            return;
        }
        if self.0.len() >= MAX_PRODUCERS && !self.0.contains_key(&header.producer_id) {
            self.forget_idlest();
        }
        let producer = self.0.entry(header.producer_id).or_insert_with(|| Producer {
            epoch: header.producer_epoch,
            appended_ms: now_ms,
            batches: Vec::with_capacity(1),
        });
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.batches.clear();
        }
        producer.appended_ms = now_ms;
        if producer.batches.len() == REMEMBERED_BATCHES {
            producer.batches.remove(0);
        }
        producer.batches.push(Remembered {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            timestamp_ms: header.max_timestamp,
        });
    }

    /// Forgets producers that appended nothing for `expiration_ms`.
    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.0.retain(|_, producer| now_ms.saturating_sub(producer.appended_ms) < expiration_ms);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All producers by id, for DescribeProducers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.0.iter().map(|(id, producer)| (*id, producer))
    }

    fn forget_idlest(&mut self) {
        let idlest =
            self.0.iter().min_by_key(|(id, producer)| (producer.appended_ms, **id)).map(|(id, _)| *id);
        if let Some(id) = idlest {
            self.0.remove(&id);
        }
    }
}

/// The sequence behind `last`: wraps from 2^31-1 to 0.
fn next_sequence(last: i32) -> i32 {
    last.checked_add(1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aquifer_record::{BatchBuilder, Compression, NewRecord};
    use proptest::prelude::*;

    /// The header of a batch at `base_offset`.
    fn batch(id: i64, epoch: i16, sequence: i32, records: i32, base_offset: i64) -> BatchHeader {
        let mut builder = BatchBuilder::new(Compression::None).producer(id, epoch, sequence);
        for _ in 0..records {
            builder.push(NewRecord::default());
        }
        BatchHeader { base_offset, ..BatchHeader::parse(&builder.build()).unwrap() }
    }

    fn known(batches: &[BatchHeader]) -> Producers {
        let mut producers = Producers::default();
        for header in batches {
            assert_eq!(producers.check(header).unwrap(), Verdict::Fresh);
            producers.record(header, 1000);
        }
        producers
    }

    #[test]
    fn each_of_the_last_five_batches_is_recognised_and_the_sixth_is_out_of_order() {
        let batches: Vec<_> = (0..6).map(|n| batch(1, 0, n * 2, 2, i64::from(n) * 10)).collect();
        let producers = known(&batches);
        for header in &batches[1..] {
            let verdict = producers.check(header).unwrap();
            assert!(matches!(verdict, Verdict::Duplicate(old) if old.base_offset == header.base_offset));
        }
        assert!(matches!(
            producers.check(&batches[0]),
            Err(AppendError::OutOfOrderSequence { last: 11, .. })
        ));
        // The same start with another length is no duplicate.
        assert!(producers.check(&batch(1, 0, 10, 1, 0)).is_err());
    }

    #[test]
    fn a_gap_is_refused_and_another_producer_is_not_concerned() {
        let producers = known(&[batch(1, 0, 0, 3, 0)]);
        assert!(matches!(
            producers.check(&batch(1, 0, 4, 1, 0)),
            Err(AppendError::OutOfOrderSequence { producer_id: 1, sequence: 4, last: 2 })
        ));
        assert_eq!(producers.check(&batch(2, 0, 17, 1, 0)).unwrap(), Verdict::Fresh);
        assert_eq!(producers.check(&batch(1, 0, 3, 1, 0)).unwrap(), Verdict::Fresh);
    }

    #[test]
    fn an_older_epoch_is_fenced_and_a_newer_one_starts_at_zero() {
        let mut producers = known(&[batch(1, 4, 0, 3, 0)]);
        assert!(matches!(
            producers.check(&batch(1, 3, 3, 1, 0)),
            Err(AppendError::InvalidProducerEpoch { epoch: 3, current: 4, .. })
        ));
        assert!(matches!(
            producers.check(&batch(1, 5, 3, 1, 0)),
            Err(AppendError::OutOfOrderSequence { .. })
        ));
        let bumped = batch(1, 5, 0, 1, 3);
        assert_eq!(producers.check(&bumped).unwrap(), Verdict::Fresh);
        producers.record(&bumped, 0);
        assert!(matches!(
            producers.check(&batch(1, 4, 3, 1, 0)),
            Err(AppendError::InvalidProducerEpoch { .. })
        ));
    }

    #[test]
    fn sequences_wrap_around() {
        let producers = known(&[batch(1, 0, i32::MAX - 1, 2, 0)]);
        assert_eq!(producers.check(&batch(1, 0, 0, 1, 2)).unwrap(), Verdict::Fresh);
        let inside = known(&[batch(1, 0, i32::MAX, 2, 0)]);
        assert_eq!(inside.check(&batch(1, 0, 1, 1, 2)).unwrap(), Verdict::Fresh);
        assert!(matches!(inside.check(&batch(1, 0, i32::MAX, 2, 2)).unwrap(), Verdict::Duplicate(_)));
    }

    #[test]
    fn an_idle_producer_expires_and_may_come_back_with_any_sequence() {
        let mut producers = known(&[batch(1, 0, 0, 3, 0)]);
        producers.expire(1999, 1000);
        assert_eq!(producers.len(), 1);
        producers.expire(2000, 1000);
        assert_eq!(producers.len(), 0);
        assert_eq!(producers.check(&batch(1, 0, 77, 1, 0)).unwrap(), Verdict::Fresh);
    }

    proptest! {
        /// A client that retries, reorders and restarts never gets a sequence into the log twice in an epoch.
        #[test]
        fn no_sequence_is_appended_twice(sends in prop::collection::vec((0..3i16, 0..12i32, 1..4i32), 1..80)) {
            let mut producers = Producers::default();
            let mut log: Vec<(i16, i32)> = Vec::new();
            for (epoch, sequence, records) in sends {
                let header = batch(1, epoch, sequence, records, log.len() as i64);
                if let Ok(Verdict::Fresh) = producers.check(&header) {
                    producers.record(&header, 0);
                    log.extend((sequence..sequence + records).map(|sequence| (epoch, sequence)));
                }
            }
            prop_assert!(log.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", log);
        }
    }
}
