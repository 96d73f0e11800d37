//! Trimming: of streams, in the metadata; and of the WAL, once objects hold what it has.

use std::collections::VecDeque;
use std::sync::Arc;

use aquifer_client::ProposeError;
use aquifer_image::{MAX_TRIMS_PER_COMMAND, Rejection, TrimStreams};
use aquifer_types::StreamId;
use tokio::time::Instant;

use crate::TrimError;
use crate::lock::lock;
use crate::shared::Shared;

/// Raises the starts of streams, in the metadata first; those that were left out, because this broker does not lead
/// them any more. One of them is no reason to refuse the others.
pub(crate) async fn trim(
    shared: &Arc<Shared>,
    trims: Vec<(StreamId, u64)>,
) -> Result<Vec<StreamId>, TrimError> {
    let (mut ours, mut left_out) = (Vec::with_capacity(trims.len()), Vec::new());
    for (id, new_start) in trims {
        let Some(stream) = lock(&shared.streams).get(&id).cloned() else {
            left_out.push(id);
            continue;
        };
        let end = stream.committed_end();
        if new_start > end {
            return Err(TrimError::OutOfRange { stream: id, new_start, end });
        }
        ours.push((id, new_start));
    }
    for part in ours.chunks(MAX_TRIMS_PER_COMMAND / 10) {
        let mut part = part.to_vec();
        propose(shared, &mut part, &mut left_out).await?;
        for (id, new_start) in part {
            let stream = lock(&shared.streams).get(&id).cloned();
            if let Some(stream) = stream {
                stream.raise_start(new_start);
            }
        }
    }
    Ok(left_out)
}

/// Proposes what of `part` this broker leads; each refusal names one that it does not, and takes it out.
async fn propose(
    shared: &Shared,
    part: &mut Vec<(StreamId, u64)>,
    left_out: &mut Vec<StreamId>,
) -> Result<(), TrimError> {
    while let Some(&(first, _)) = part.first() {
        let command = TrimStreams {
            node: shared.node,
            broker_epoch: shared.broker_epoch,
            now_ms: shared.clock.wall_ms(),
            trims: part.clone(),
        };
        // Idempotent: a start never goes back, so an unknown outcome is simply asked for again by the caller.
        match shared.metadata.propose(command).await {
            Ok(_) => return Ok(()),
            Err(ProposeError::Rejected(Rejection::NotStreamLeader { stream, .. })) => {
                part.retain(|(id, _)| *id != stream);
                left_out.push(stream);
            }
            Err(error) => return Err(TrimError::Metadata { stream: first, reason: error.to_string() }),
        }
    }
    Ok(())
}

/// Offloaded parts of the WAL that wait for their retention to end. Pure.
///
/// Each part reaches from the one before it to its LSN.
#[derive(Debug, Default)]
pub(crate) struct TrimQueue {
    parts: VecDeque<Part>,
}

#[derive(Debug)]
struct Part {
    below: u64,
    bytes: u64,
    due: Instant,
}

impl TrimQueue {
    /// Everything below `below` was offloaded; `bytes` of it since the last call. It may go at `due`.
    pub(crate) fn push(&mut self, below: u64, bytes: u64, due: Instant) {
        match self.parts.back_mut() {
            Some(last) if last.below >= below => last.bytes += bytes,
            _ => self.parts.push_back(Part { below, bytes, due }),
        }
    }

    /// When the oldest part is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.parts.front().map(|part| part.due)
    }

    /// What may be trimmed at `now`: all that is due, and further parts until `excess_bytes` are free.
    pub(crate) fn take(&mut self, now: Instant, excess_bytes: u64) -> Option<u64> {
        let (mut below, mut freed) = (None, 0);
        while let Some(part) = self.parts.front() {
            if part.due > now && freed >= excess_bytes {
                break;
            }
            below = Some(part.below);
            freed += part.bytes;
            self.parts.pop_front();
        }
        below
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn offloaded_parts_stay_until_they_are_due() {
        let mut queue = TrimQueue::default();
        let now = Instant::now();
        queue.push(10, 100, now + Duration::from_secs(60));
        queue.push(10, 5, now + Duration::from_secs(70));
        queue.push(20, 100, now + Duration::from_secs(80));
        assert_eq!(queue.next_due(), Some(now + Duration::from_secs(60)));
        assert_eq!(queue.take(now, 0), None);
        assert_eq!(queue.take(now + Duration::from_secs(60), 0), Some(10));
        assert_eq!(queue.take(now + Duration::from_secs(90), 0), Some(20));
        assert_eq!(queue.next_due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wal_under_pressure_gives_retention_up_as_far_as_needed() {
        let mut queue = TrimQueue::default();
        let now = Instant::now();
        for below in [10, 20, 30] {
            queue.push(below, 100, now + Duration::from_secs(60));
        }
        assert_eq!(queue.take(now, 150), Some(20));
        assert_eq!(queue.take(now, 1), Some(30));
    }
}
