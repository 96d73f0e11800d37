//! Takeover of what a dead broker left in the WAL.
//!
//! ```text
//!   segments that it left ── seal every copy, all at once ──> the longest clean tail of enough answers
//!         │ its frames, split by stream
//!         v
//!   one object ── PrepareObjects, PUT ──> TakeOver: ends, ranges and new leaders in one entry
//! ```
//!
//! Any broker may do it, and several at once: the metadata takes the first entry whose seals are the present ones, the others
//! start over and find nothing left. Too few answers block it, and the report says what is waited for.

mod ends;
mod report;

use std::fmt;
use std::future::Future;

use aquifer_client::{MetadataClient, ProposeError};
use aquifer_image::{Image, Outcome, PrepareObjects, RecoveredObject, Rejection, SegmentEnd, TakeOver};
use aquifer_objects::Store;
use aquifer_runtime::Clock;
use aquifer_types::{BrokerEpoch, NodeId, ObjectId, SegmentId, TopicId};
use aquifer_wal::{CopyOf, Lsn, Member, Record, Recovered, RecoveredSegment, SealedTail, Verdict};
use tracing::{info, warn};

pub use self::report::{Blocked, GivenUp, TakeOverError};
use crate::format::Origin;
use crate::recovery::{self, Gaps, Recovery};
use crate::shared::object_key;
use crate::upload::{commit_ranges, put_object};
use crate::{Batch, Describe};

/// How long an object of a takeover may stay uncommitted: a recoverer that dies leaves nothing for longer.
const PREPARED_LIMIT_MS: i64 = 300_000;

/// The ways to copies of segments: the mirrors' stores, wherever they are, and what an owner that came back has itself.
pub trait Copies: Send + Sync {
    /// Asks a member to seal its copy for a recovery of this epoch.
    fn seal(
        &self,
        member: Member,
        of: CopyOf,
        epoch: u64,
    ) -> impl Future<Output = Result<SealedTail, CopyError>> + Send;

    /// Reads the records of a copy that was sealed, in order.
    fn records(
        &self,
        member: Member,
        of: CopyOf,
    ) -> impl Future<Output = Result<Vec<(Lsn, Record)>, CopyError>> + Send;
}

/// Why a copy does not answer. Both count as no answer; the text is for the report.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CopyError {
    /// It may answer later. Implementations bound how long they wait.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// It has nothing trustworthy to say.
    #[error("it abstains: {0}")]
    Abstains(String),
}

/// What a takeover works with.
pub struct Recoverer<C> {
    /// The ways to the copies.
    pub copies: C,
    /// The metadata, with this broker registered.
    pub metadata: MetadataClient,
    /// The object store.
    pub store: Store,
    /// Wall time.
    pub clock: Clock,
    /// This broker.
    pub node: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// Knows what a payload is.
    pub describe: Describe,
}

impl<C> fmt::Debug for Recoverer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recoverer").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Whether an operator gives up what cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Rather wait.
    Refused,
    /// Go on with what answers, and say what is given up.
    Accepted,
}

/// What a takeover did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Segments that it ended.
    pub segments: Vec<SegmentId>,
    /// Records that were in the WAL alone, in WAL records.
    pub records: u64,
    /// What was given up; empty unless loss was accepted.
    pub given_up: Vec<GivenUp>,
}

/// What is about to become one entry.
struct Found {
    ends: Vec<SegmentEnd>,
    recovery: Recovery,
    given_up: Vec<GivenUp>,
}

impl<C: Copies> Recoverer<C> {
    /// Ends what processes of `owner` that are dead left in the WAL, and moves its partitions to brokers that live; to nobody
    /// if `owner` came back, this broker or another: it goes on leading them. Safe to repeat and to run in several places.
    ///
    /// # Errors
    /// [`TakeOverError::Blocked`] until more copies answer; the others say what may be tried again.
    pub async fn take_over(&self, owner: NodeId, loss: Loss) -> Result<Taken, TakeOverError> {
        let image = self.metadata.image();
        let found = self.find(&image, owner, loss).await?;
        let segments: Vec<_> = found.ends.iter().map(|end| end.segment).collect();
        let leaders = leaders(&image, owner);
        if segments.is_empty() && leaders.is_empty() {
            return Ok(Taken::default());
        }
        let records = found.recovery.tails.values().map(|tail| tail.len() as u64).sum();
        let objects = match self.upload(&image, found.recovery).await? {
            Some(object) => vec![object],
            None => Vec::new(),
        };
        let command = TakeOver {
            node: self.node,
            broker_epoch: self.broker_epoch,
            owner,
            segments: found.ends,
            objects,
            leaders,
            now_ms: self.clock.wall_ms(),
        };
        self.propose(&command).await?;
        info!(%owner, ?segments, records, partitions = command.leaders.len(), "took over what a broker left");
        for lost in &found.given_up {
            warn!(%owner, %lost, "gave up what no copy has that answers");
        }
        Ok(Taken { segments, records, given_up: found.given_up })
    }

    /// Finds out where the segments end and what is in them past the committed ends.
    async fn find(&self, image: &Image, owner: NodeId, loss: Loss) -> Result<Found, TakeOverError> {
        let left = image.segments_left_by(owner);
        let tails = left.map(|segment| ends::find(&self.copies, image, segment, loss));
        let tails = futures::future::try_join_all(tails).await?;
        let (mut ends, mut segments, mut given_up) = (Vec::new(), Vec::new(), Vec::new());
        for tail in tails {
            let (id, verdict) = (tail.end.segment.get(), Verdict::Clean);
            ends.push(tail.end);
            segments.push(RecoveredSegment { id, records: tail.records, verdict });
            given_up.extend(tail.given_up);
        }
        if owner == self.node {
            segments.extend(self.unmirrored(image).await);
            segments.sort_by_key(|segment| segment.id);
        }
        let gaps = match loss {
            Loss::Refused => Gaps::Refused,
            Loss::Accepted => Gaps::GivenUp,
        };
        let recovery =
            recovery::split(image, Recovered { segments, ..Recovered::default() }, gaps, self.describe)
                .map_err(|error| TakeOverError::Contradiction { owner, reason: error.to_string() })?;
        Ok(Found { ends, recovery, given_up })
    }

    /// What this node's own disk alone has: segments that were written while nobody mirrored them. Mirrored ones may continue
    /// them.
    async fn unmirrored(&self, image: &Image) -> Vec<RecoveredSegment> {
        let mut found = Vec::new();
        for segment in image.segments_of(self.node).filter(|segment| segment.members.is_empty()) {
            let (own, copy) = ends::own_copy(segment);
            // Of its present segment, and of a disk that was wiped, it has nothing; a gap tells if that matters.
            if let Ok(records) = self.copies.records(own, copy).await {
                found.push(RecoveredSegment { id: segment.id.get(), records, verdict: Verdict::Clean });
            }
        }
        found
    }

    /// Puts the tails of all streams into one object.
    async fn upload(
        &self,
        image: &Image,
        recovery: Recovery,
    ) -> Result<Option<RecoveredObject>, TakeOverError> {
        if recovery.tails.is_empty() {
            return Ok(None);
        }
        let object = self.prepare().await?;
        let cluster = image.cluster_id().expect("segments are left in a cluster that was formed");
        let origin = Origin {
            object: object.get(),
            cluster: *cluster.get().as_bytes(),
            node: u64::from(self.node.get()),
            broker_epoch: self.broker_epoch.get(),
            created_ms: self.clock.wall_ms(),
        };
        let tails = recovery.tails.iter().flat_map(|(stream, tail)| {
            tail.iter().map(|(_, batch): &(u64, Batch)| {
                (crate::format::StreamKind::Data, stream.get(), batch.clone())
            })
        });
        let tails: Vec<_> = tails.collect();
        let bytes = tails.iter().map(|(.., batch)| batch.payload.len() as u64).sum();
        let written = put_object(&self.store, origin, tails, bytes, &object_key(object)).await?;
        Ok(Some(RecoveredObject {
            object,
            size_bytes: written.object_bytes,
            ranges: commit_ranges(&written.ranges),
        }))
    }

    async fn prepare(&self) -> Result<ObjectId, TakeOverError> {
        let command = PrepareObjects {
            node: self.node,
            broker_epoch: self.broker_epoch,
            count: 1,
            now_ms: self.clock.wall_ms(),
            time_limit_ms: PREPARED_LIMIT_MS,
        };
        match self.metadata.propose(command).await? {
            Outcome::ObjectsPrepared { first, .. } => Ok(first),
            other => unreachable!("PrepareObjects is answered by ObjectsPrepared, not {other:?}"),
        }
    }

    /// Proposes until the outcome is known: a repeated entry is answered as the first was.
    async fn propose(&self, command: &TakeOver) -> Result<(), TakeOverError> {
        let what = format!("the takeover of broker {}", command.owner);
        match self.metadata.propose_until_known(command.clone(), &what).await {
            Ok(_) => Ok(()),
            Err(Rejection::TakeOverConflict { reason, .. }) => {
                Err(TakeOverError::Overtaken { owner: command.owner, reason })
            }
            Err(rejection) => Err(ProposeError::from(rejection).into()),
        }
    }
}

/// Who leads next, unless the owner came back, or a tail that only it has keeps the partitions with it.
fn leaders(image: &Image, owner: NodeId) -> Vec<(TopicId, i32, NodeId)> {
    let live = image.broker(owner).is_some_and(|owner| owner.fenced.is_none());
    let only_there = image.segments_of(owner).any(|segment| segment.members.is_empty());
    if live || only_there { Vec::new() } else { aquifer_controller::successors(image, owner) }
}
