use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_peer::{CallError, Peers};
use aquifer_stream::{Copies, CopyError};
use aquifer_types::{DiskId, NodeId};
use aquifer_wal::{Absence, CopyOf, Lsn, Member, Record, Recovered, RecoveredSegment, SealedTail, Verdict};
use tokio::time::Instant;

use crate::channels::{Read, Seal, Sealed, WAL_READ, WAL_SEAL, decode, encode, split_frames};

/// How long a member may take to answer: it syncs a promise, or reads from memory.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long all of one copy may take to be read.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// What this node's own disk has of the segments that an earlier process of it left.
///
/// It is final without a seal: that process is gone, and this one writes other segments. What was recovered and not synced
/// before may be less the next time, but then nobody was told that it was durable.
#[derive(Clone, Debug)]
pub struct OwnCopies {
    member: Member,
    /// `None` once that is over: what this process writes is not known here.
    left: Arc<Mutex<Option<Left>>>,
}

/// What an earlier process left in the WAL.
#[derive(Debug)]
struct Left {
    segments: BTreeMap<u64, RecoveredSegment>,
    /// What is to be said of a segment that is not there: on the disk where the WAL was before, nothing of it was ever durable, or
    /// all of it is in objects. `None` if that cannot be said.
    not_there: Option<SealedTail>,
}

impl OwnCopies {
    /// What the WAL on `disk` of `node` recovered.
    pub fn new(node: NodeId, disk: DiskId, recovered: &Recovered) -> Self {
        let not_there = match recovered.absence {
            Absence::Certain => Some(SealedTail::default()),
            Absence::Doubtful => Some(SealedTail { doubtful: true, ..SealedTail::default() }),
            Absence::Unknown => None,
        };
        let segments = recovered.segments.iter().map(|segment| (segment.id, segment.clone())).collect();
        let member = Member { node: node.get(), disk: disk.get().as_u128() };
        Self { member, left: Arc::new(Mutex::new(Some(Left { segments, not_there }))) }
    }

    /// Lets go of everything: it was taken over.
    pub fn forget(&self) {
        *self.left() = None;
    }

    fn left(&self) -> MutexGuard<'_, Option<Left>> {
        // Only ever read or cleared.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail(&self, segment: u64) -> Result<SealedTail, CopyError> {
        let left = self.left();
        let found = left.as_ref().and_then(|left| match left.segments.get(&segment) {
            Some(found) => {
                let end = found.records.last().map_or(Lsn(0), |(lsn, _)| Lsn(lsn.0 + 1));
                Some(SealedTail { end, commit: Lsn(0), doubtful: found.verdict != Verdict::Clean })
            }
            None => left.not_there,
        });
        found.ok_or_else(|| CopyError::Abstains("this node's own WAL has nothing of it".to_owned()))
    }

    fn records(&self, segment: u64) -> Result<Vec<(Lsn, Record)>, CopyError> {
        self.tail(segment)?;
        let left = self.left();
        let found = left.as_ref().and_then(|left| left.segments.get(&segment));
        Ok(found.map_or(Vec::new(), |found| found.records.clone()))
    }
}

/// The ways to copies: over the internal port, and on this node's own disk.
#[derive(Clone, Debug)]
pub struct PeerCopies {
    peers: Peers,
    own: Option<OwnCopies>,
}

impl PeerCopies {
    /// Copies on other nodes, and `own` if this node has some.
    pub fn new(peers: Peers, own: Option<OwnCopies>) -> Self {
        Self { peers, own }
    }

    fn own(&self, member: Member) -> Option<&OwnCopies> {
        self.own.as_ref().filter(|own| own.member == member)
    }

    async fn read(&self, member: Member, of: CopyOf) -> Result<Vec<(Lsn, Record)>, CopyError> {
        let mut frames = Vec::new();
        let deadline = Instant::now() + READ_LIMIT;
        loop {
            let asked = encode(&Read { copy: of.into(), from: frames.len() });
            let limit = deadline.saturating_duration_since(Instant::now()).min(ANSWER_LIMIT);
            let answer = self.peers.call(NodeId(member.node), &WAL_READ, asked, limit).await;
            let part = split_frames(answer.map_err(unreachable)?).ok_or_else(|| {
                CopyError::Abstains("it answers with something else than frames".to_owned())
            })?;
            if part.is_empty() {
                return aquifer_wal::records(of.segment, frames).map_err(CopyError::Abstains);
            }
            frames.extend(part);
        }
    }
}

fn unreachable(error: CallError) -> CopyError {
    CopyError::Unreachable(error.to_string())
}

impl Copies for PeerCopies {
    async fn seal(&self, member: Member, of: CopyOf, epoch: u64) -> Result<SealedTail, CopyError> {
        if let Some(own) = self.own(member) {
            return own.tail(of.segment);
        }
        let asked = encode(&Seal { copy: of.into(), epoch });
        let answer = self.peers.call(NodeId(member.node), &WAL_SEAL, asked, ANSWER_LIMIT).await;
        let sealed: Sealed = decode(&answer.map_err(unreachable)?).map_err(CopyError::Abstains)?;
        sealed.into_tail().map_err(CopyError::Abstains)
    }

    async fn records(&self, member: Member, of: CopyOf) -> Result<Vec<(Lsn, Record)>, CopyError> {
        match self.own(member) {
            Some(own) => own.records(of.segment),
            None => self.read(member, of).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// Of a WAL in which segment 7 has no records.
    fn own(absence: Absence, verdict: Verdict) -> OwnCopies {
        let segments = vec![RecoveredSegment { id: 7, records: Vec::new(), verdict }];
        OwnCopies::new(NodeId(1), DiskId(Uuid::from_u128(2)), &Recovered { segments, absence })
    }

    #[test]
    fn a_whole_log_tells_that_a_segment_was_never_written() {
        let own = own(Absence::Certain, Verdict::Clean);
        for segment in [7, 8] {
            assert_eq!(own.tail(segment).expect("it answers"), SealedTail::default());
            assert!(own.records(segment).expect("it answers").is_empty());
        }
    }

    #[test]
    fn a_log_that_is_new_or_lost_something_has_nothing_to_say_of_what_is_not_there() {
        let lost = own(Absence::Unknown, Verdict::Clean);
        assert!(matches!(lost.tail(8), Err(CopyError::Abstains(_))));
        assert!(matches!(lost.records(8), Err(CopyError::Abstains(_))));
        // As of what is there: the others are asked too.
        let damaged = own(Absence::Doubtful, Verdict::DamagedLast);
        for segment in [7, 8] {
            assert!(damaged.tail(segment).is_ok_and(|tail| tail.doubtful));
        }
    }

    #[test]
    fn what_this_process_writes_is_not_known_here() {
        let own = own(Absence::Certain, Verdict::Clean);
        own.forget();
        for segment in [7, 8] {
            assert!(matches!(own.tail(segment), Err(CopyError::Abstains(_))));
        }
    }
}
