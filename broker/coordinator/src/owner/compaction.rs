//! Keeping the log short: the live state is written anew at the tail, then the log start moves before it.
//!
//! See `docs/decisions/` for why. It goes slice by slice between requests: a group is written as it is at that
//! moment, and what changes later is in the log behind it, so replay from the first slice gives the present state.

use std::{future::pending, pin::Pin, sync::Arc};

use aquifer_partition::{DeleteError, Partition};
use tracing::{info, warn};

use super::log::{BATCH_BYTES, Log};
use crate::shard::Shard;

/// A log of so few records is left alone.
const MIN_RECORDS: i64 = 20_000;
/// Otherwise this many records per live one are let grow, so that each record is rewritten seldom.
const RECORDS_PER_LIVE: i64 = 4;
/// After a look that led to nothing, the log may grow this much before the next.
const LOOK_EVERY: i64 = 2_000;

type Trim = Pin<Box<dyn Future<Output = Result<i64, DeleteError>> + Send>>;

#[derive(Default)]
enum Step {
    #[default]
    Idle,
    /// Slices are being written; the groups up to `after` are done.
    Writing {
        start_offset: i64,
        after: Option<String>,
    },
    /// All is written; the log start moves when it is durable.
    Settling {
        start_offset: i64,
        end_offset: i64,
    },
    Trimming(Trim),
}

#[derive(Default)]
pub(super) struct Compaction {
    step: Step,
    /// Log end at which to look again.
    next_look: i64,
}

impl Compaction {
    pub(super) fn is_writing(&self) -> bool {
        matches!(self.step, Step::Writing { .. })
    }

    /// Goes on if what it waits for is there. Cheap when there is nothing to do.
    pub(super) fn next(&mut self, log: &Log, shard: &Shard) {
        match &self.step {
            Step::Idle => self.look(log.partition(), shard),
            Step::Settling { start_offset, end_offset } if log.is_durable(*end_offset) => {
                let (partition, start_offset) = (Arc::clone(log.partition()), *start_offset);
                let trim = async move { partition.raise_log_start(start_offset).await };
                self.step = Step::Trimming(Box::pin(trim));
            }
            Step::Settling { .. } | Step::Writing { .. } | Step::Trimming(_) => {}
        }
    }

    fn look(&mut self, partition: &Partition, shard: &Shard) {
        let end = partition.log_end_offset();
        if end < self.next_look {
            return;
        }
        self.next_look = end + LOOK_EVERY;
        let records = end - partition.log_start_offset();
        if records < MIN_RECORDS {
            return;
        }
        let live = i64::try_from(shard.live_records()).unwrap_or(i64::MAX);
        if records > live.saturating_mul(RECORDS_PER_LIVE) {
            info!(partition = partition.id().index, records, live, "writing the live groups anew");
            self.step = Step::Writing { start_offset: end, after: None };
        }
    }

    pub(super) fn write_slice(&mut self, shard: &Shard, log: &mut Log, now_ms: i64) {
        let Step::Writing { start_offset, after } = &mut self.step else { return };
        let slice = shard.slice(after.as_deref(), BATCH_BYTES);
        if let Err(error) = log.append(&slice.records, now_ms) {
            warn!(partition = %log.name(), "the live groups were not written anew: {error}");
            return self.give_up(log.partition());
        }
        match slice.last_group {
            Some(group_id) => *after = Some(group_id),
            None => {
                let end_offset = log.partition().log_end_offset();
                self.step = Step::Settling { start_offset: *start_offset, end_offset };
            }
        }
    }

    /// Resolves when the log start has moved; waits forever while nothing moves it.
    pub(super) async fn trimmed(&mut self) {
        let Step::Trimming(trim) = &mut self.step else { return pending().await };
        match trim.await {
            Ok(log_start_offset) => info!(log_start_offset, "the log before the live groups is gone"),
            Err(error) => warn!("the log start was not moved, which is tried again later: {error}"),
        }
        self.step = Step::Idle;
    }

    fn give_up(&mut self, partition: &Partition) {
        self.next_look = partition.log_end_offset() + MIN_RECORDS;
        self.step = Step::Idle;
    }
}
