//! WAL segments in the metadata.

use std::sync::Arc;
use std::time::Duration;

use aquifer_client::{MetadataClient, ProposeError};
use aquifer_image::{CloseSegment, OpenSegment, Outcome, ReleaseSegment, SegmentState};
use aquifer_runtime::OnEnd;
use aquifer_types::{BrokerEpoch, DiskId, NodeId, SegmentId};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::OpenError;
use crate::shared::Shared;

/// Pause between two attempts of the background release.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens the segment that this process writes.
pub(crate) async fn open(
    metadata: &MetadataClient,
    node: NodeId,
    broker_epoch: BrokerEpoch,
    disk: DiskId,
) -> Result<SegmentId, OpenError> {
    let command = OpenSegment { node, broker_epoch, disk, members: Vec::new(), needed: 0 };
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
