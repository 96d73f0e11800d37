//! The pure state of a partition: where the log ends, whose batches are in it, which epochs wrote it.

use aquifer_record::{BatchHeader, Origin};
use aquifer_stream::Lsn;
use tokio::time::Instant;

use crate::checkpoint::Checkpoint;
use crate::epochs::Epochs;
use crate::error::{AppendError, OpenError};
use crate::producers::{Producers, Remembered, Verdict};

/// Everything that the append path decides by. Behind one short lock in [`crate::Partition`].
#[derive(Debug)]
pub(crate) struct State {
    leader_epoch: i32,
    end: i64,
    epochs: Epochs,
    producers: Producers,
    /// The newest append of this process, for waiting on behalf of duplicates.
    last_lsn: Option<Lsn>,
    closed: bool,
    held: bool,
    /// When a client's batch was last refused though nothing was wrong with it.
    refused_at: Option<Instant>,
}

/// What an append does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Give the batch this base offset and leader epoch, append it, then [`State::appended`].
    Append { base_offset: i64, leader_epoch: i32 },
    /// It is in the log already.
    Duplicate(Remembered),
}

impl State {
    /// The state at `checkpoint`, for a log that starts at `log_start`.
    pub(crate) fn restore(checkpoint: Checkpoint, log_start: i64) -> Self {
        let Checkpoint { cut, epochs, producers } = checkpoint;
        let mut state = Self {
            leader_epoch: -1,
            end: cut,
            epochs,
            producers,
            last_lsn: None,
            closed: false,
            held: false,
            refused_at: None,
        };
        state.epochs.trim(log_start);
        state
    }

    /// Takes up a batch that was appended after the checkpoint, as recovery found it.
    pub(crate) fn replay(&mut self, header: &BatchHeader, now_ms: i64) -> Result<(), OpenError> {
        if header.end_offset() <= self.end {
            return Ok(());
        }
        if header.base_offset < self.end {
            let reason = format!("it straddles the checkpoint at {}", self.end);
            return Err(OpenError::Replay { offset: header.base_offset.unsigned_abs(), reason });
        }
        self.epochs.assign(header.partition_leader_epoch, header.base_offset);
        self.producers.record(header, now_ms);
        self.end = header.end_offset();
        Ok(())
    }

    /// The replay is over and the stream ends at `end`, which is further only if a checkpoint was never written.
    pub(crate) fn replayed(&mut self, end: i64) {
        assert!(end >= self.end, "a stream never ends before its own batches");
        self.end = end;
    }

    /// This node leads from here on, or goes on to lead under a newer epoch.
    pub(crate) fn lead(&mut self, leader_epoch: i32) {
        if leader_epoch > self.leader_epoch {
            self.leader_epoch = leader_epoch;
            self.epochs.assign(leader_epoch, self.end);
        }
    }

    /// Decides about a batch; changes nothing. `behind_refused`: another one was refused lately though nothing was wrong with it,
    /// and this one may have been sent behind it.
    pub(crate) fn plan(
        &self,
        header: &BatchHeader,
        origin: Origin,
        behind_refused: bool,
    ) -> Result<Plan, AppendError> {
        if self.closed || self.held {
            return Err(AppendError::NotLeader);
        }
        if header.is_transactional() {
            return Err(AppendError::Transactional);
        }
        // A coordinator's batches have no sequence.
        if origin == Origin::Client {
            match self.producers.check(header) {
                Ok(Verdict::Duplicate(old)) => return Ok(Plan::Duplicate(old)),
                Ok(Verdict::Fresh) if behind_refused && self.producers.begins_late(header) => {
                    return Err(behind(header));
                }
                Ok(Verdict::Fresh) => {}
                Err(AppendError::OutOfOrderSequence { .. }) if behind_refused => {
                    return Err(behind(header));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Plan::Append { base_offset: self.end, leader_epoch: self.leader_epoch })
    }

    /// A client's batch was refused then though nothing was wrong with it.
    pub(crate) fn refused(&mut self, at: Instant) {
        self.refused_at = Some(at);
    }

    /// When that happened last.
    pub(crate) fn refused_at(&self) -> Option<Instant> {
        self.refused_at
    }

    /// The batch is in the log; `header` has its offsets.
    pub(crate) fn appended(&mut self, header: &BatchHeader, origin: Origin, lsn: Lsn, now_ms: i64) {
        assert_eq!(header.base_offset, self.end, "offsets are assigned under the lock");
        if origin == Origin::Client {
            self.producers.record(header, now_ms);
        }
        self.last_lsn = Some(lsn);
        self.end = header.end_offset();
    }

    /// The newest append since the start; what recovery found is durable.
    pub(crate) fn last_lsn(&self) -> Option<Lsn> {
        self.last_lsn
    }

    /// Nothing is appended until [`resume`](Self::resume).
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    /// Appends go on.
    pub(crate) fn resume(&mut self) {
        self.held = false;
    }

    /// Nothing more is appended.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    pub(crate) fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    pub(crate) fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Records before `log_start` are gone.
    pub(crate) fn trim(&mut self, log_start: i64) {
        self.epochs.trim(log_start);
    }

    pub(crate) fn expire_producers(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.expire(now_ms, expiration_ms);
    }

    /// The state at this moment, to be encoded outside the lock.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { cut: self.end, epochs: self.epochs.clone(), producers: self.producers.clone() }
    }
}

fn behind(header: &BatchHeader) -> AppendError {
    AppendError::BehindRefused { producer_id: header.producer_id, sequence: header.base_sequence }
}
