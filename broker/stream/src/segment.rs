//! WAL segments in the metadata.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aquifer_client::{MetadataClient, ProposeError};
use aquifer_image::{CloseSegment, OpenSegment, Outcome, ReleaseSegment, SegmentMember, SegmentState};
use aquifer_runtime::OnEnd;
use aquifer_types::{BrokerEpoch, DiskId, NodeId, SegmentId};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::OpenError;
use crate::lock::lock;
use crate::shared::Shared;

/// Pause between two attempts of the background release.
const PAUSE: Duration = Duration::from_secs(1);

/// The segments that this process writes or wrote, and how many copies the present one has.
#[derive(Debug)]
pub(crate) struct Segments {
    listed: Mutex<Listed>,
    copies: AtomicI32,
    rolls: AtomicU64,
}

#[derive(Debug)]
struct Listed {
    present: SegmentId,
    /// Each with its end, oldest first, until everything before that is offloaded.
    closed: Vec<(SegmentId, u64)>,
}

impl Segments {
    /// The first segment, with so many copies.
    pub(crate) fn new(present: SegmentId, copies: usize) -> Self {
        let segments = Self {
            listed: Mutex::new(Listed { present, closed: Vec::new() }),
            copies: AtomicI32::new(0),
            rolls: AtomicU64::new(0),
        };
        segments.set_copies(copies);
        segments
    }

    /// The present one ended here, the next one has so many copies.
    pub(crate) fn rolled(&self, end_lsn: u64, next: SegmentId, copies: usize) {
        let mut listed = lock(&self.listed);
        let before = std::mem::replace(&mut listed.present, next);
        listed.closed.push((before, end_lsn));
        drop(listed);
        self.rolls.fetch_add(1, Ordering::Relaxed);
        self.set_copies(copies);
    }

    pub(crate) fn set_copies(&self, copies: usize) {
        self.copies.store(i32::try_from(copies).unwrap_or(i32::MAX), Ordering::Release);
    }

    pub(crate) fn copies(&self) -> i32 {
        self.copies.load(Ordering::Acquire)
    }

    pub(crate) fn rolls(&self) -> u64 {
        self.rolls.load(Ordering::Relaxed)
    }

    /// Takes out the closed ones of which nothing from `floor` on is needed.
    pub(crate) fn take_closed(&self, floor: u64) -> impl Iterator<Item = (SegmentId, u64)> + use<> {
        let mut listed = lock(&self.listed);
        let done: Vec<_> = listed.closed.extract_if(.., |(_, end_lsn)| *end_lsn <= floor).collect();
        done.into_iter()
    }

    /// All of them, the present one ending at `end_lsn`.
    pub(crate) fn all(&self, end_lsn: u64) -> Vec<(SegmentId, u64)> {
        let listed = lock(&self.listed);
        listed.closed.iter().copied().chain([(listed.present, end_lsn)]).collect()
    }
}

/// Opens the segment that this process writes.
pub(crate) async fn open(
    metadata: &MetadataClient,
    (node, broker_epoch): (NodeId, BrokerEpoch),
    disk: DiskId,
    members: Vec<SegmentMember>,
    needed: u32,
) -> Result<SegmentId, OpenError> {
    let command = OpenSegment { node, broker_epoch, disk, members, needed };
    match metadata.propose(command).await {
        Ok(Outcome::SegmentOpened { segment }) => Ok(segment),
        Ok(other) => unreachable!("OpenSegment is answered by SegmentOpened, not {other:?}"),
        Err(error) => Err(OpenError::Segment(error.to_string())),
    }
}

/// Fixes the ends of segments of which nothing is needed, and forgets them. Safe to repeat.
pub(crate) async fn release(shared: &Shared, segments: &[(SegmentId, u64)]) -> Result<(), ProposeError> {
    let (node, broker_epoch) = (shared.node, shared.broker_epoch);
    for &(segment, end_lsn) in segments {
        let image = shared.metadata.image();
        let Some(found) = image.segment(segment) else { continue };
        if !matches!(found.state, SegmentState::Closed { .. }) {
            shared.metadata.propose(CloseSegment { segment, node, broker_epoch, end_lsn }).await?;
        }
        shared.metadata.propose(ReleaseSegment { segment, node, broker_epoch }).await?;
    }
    Ok(())
}

/// The same behind everybody's back, until it is done.
pub(crate) fn release_in_background(shared: &Arc<Shared>, segments: Vec<(SegmentId, u64)>) {
    let task = Arc::clone(shared);
    shared.tasks.spawn("segment-release", OnEnd::Continue, async move {
        let stop = task.stop.clone();
        let done = stop.run_until_cancelled(async {
            loop {
                match release(&task, &segments).await {
                    Ok(()) => {
                        return info!(count = segments.len(), "all of the earlier WAL segments is offloaded");
                    }
                    Err(ProposeError::Rejected(rejection)) => {
                        return warn!(%rejection, "earlier WAL segments stay listed");
                    }
                    Err(_) => sleep(PAUSE).await,
                }
            }
        });
        done.await;
        Ok::<_, String>(())
    });
}
