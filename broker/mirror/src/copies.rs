use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_peer::{CallError, Peers};
use aquifer_stream::{Copies, CopyError};
use aquifer_types::{DiskId, NodeId};
use aquifer_wal::{CopyOf, Lsn, Member, Record, Recovered, RecoveredSegment, SealedTail, Verdict};
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
    segments: Arc<Mutex<BTreeMap<u64, RecoveredSegment>>>,
}

impl OwnCopies {
    /// What the WAL on `disk` of `node` recovered.
    pub fn new(node: NodeId, disk: DiskId, recovered: &Recovered) -> Self {
        let segments = recovered.segments.iter().map(|segment| (segment.id, segment.clone())).collect();
        let member = Member { node: node.get(), disk: disk.get().as_u128() };
        Self { member, segments: Arc::new(Mutex::new(segments)) }
    }

    /// Lets go of everything: it was taken over.
    pub fn forget(&self) {
        self.segments().clear();
    }

    fn find(&self, segment: u64) -> Result<RecoveredSegment, CopyError> {
        let found = self.segments().get(&segment).cloned();
        found.ok_or_else(|| CopyError::Abstains("this node's own WAL has nothing of it".to_owned()))
    }

    fn segments(&self) -> MutexGuard<'_, BTreeMap<u64, RecoveredSegment>> {
        // Only ever read or cleared.
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail(&self, segment: u64) -> Result<SealedTail, CopyError> {
        let found = self.find(segment)?;
        let end = found.records.last().map_or(Lsn(0), |(lsn, _)| Lsn(lsn.0 + 1));
        Ok(SealedTail { end, commit: Lsn(0), doubtful: found.verdict != Verdict::Clean })
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
            Some(own) => own.find(of.segment).map(|found| found.records),
            None => self.read(member, of).await,
        }
    }
}
