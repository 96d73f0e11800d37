//! Deletes objects that nobody needs: the controller decides, this performs. Objects that little is needed of are set
//! free: a checkpoint lies in the object of the last records before it, and outlives them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aquifer_controller::{Duty, Policy, due};
use aquifer_image::{Command, Image, ObjectState};
use aquifer_objects::StoreError;
use aquifer_types::ObjectId;
use futures::StreamExt;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::lock::lock;
use crate::shared::{OBJECTS_PER_FOLDER, Shared, object_folder, object_key, object_of};

/// Deletions in flight at once.
const DELETES_IN_FLIGHT: usize = 8;
/// Folders that are listed at a time in search of objects that nobody knows: a million ids.
const FOLDERS_PER_LOOK: u64 = 1_000;
/// An object smaller than this is not worth another one.
const WASTEFUL_FROM_BYTES: u64 = 64 << 10;
/// Nor is one of which more than this share is needed, in percent.
const WASTEFUL_BELOW_PERCENT: u64 = 5;

/// Sweeps until the streams stop.
pub(crate) async fn run(shared: Arc<Shared>) -> Result<(), String> {
    let stop = shared.stop.clone();
    let sweeping = async {
        let mut next_leftovers = Instant::now() + shared.config.leftover_interval;
        let mut below = None;
        loop {
            sleep(shared.config.sweep_interval).await;
            // In somebody else's store our numbers name somebody else's objects.
            if !shared.store_checked.load(Ordering::Acquire) {
                continue;
            }
            round(&shared).await;
            renew_checkpoints(&shared);
            if Instant::now() >= next_leftovers {
                next_leftovers = Instant::now() + shared.config.leftover_interval;
                // Nothing that is being uploaded is as old as the time limit of a prepared object.
                if let Err(error) = shared.store.sweep(shared.config.prepared_limit).await {
                    warn!(%error, "left-overs of uploads stay for now");
                }
                match remove_strays(&shared, below).await {
                    Ok(left) => below = left,
                    Err(error) => warn!(%error, "objects that the metadata do not know stay for now"),
                }
            }
        }
    };
    stop.run_until_cancelled(sweeping).await;
    Ok(())
}

/// Does what is due now.
pub(crate) async fn round(shared: &Shared) {
    let policy = Policy { removal_delay_ms: shared.config.removal_delay_ms };
    let image = shared.metadata.image();
    for duty in due(&image, &policy, shared.clock.wall_ms()) {
        match duty {
            Duty::Propose(command) => propose(shared, command).await,
            Duty::DeleteObjects(objects) => {
                let deleted = delete(shared, objects).await;
                if !deleted.is_empty() {
                    shared.gauges.objects_deleted.fetch_add(deleted.len() as u64, Ordering::Relaxed);
                    propose(shared, Duty::deleted(deleted)).await;
                }
            }
        }
    }
}

/// Deletes what is in the store and was forgotten by the metadata: a PUT may take effect after its object was given up and
/// deleted, as that of a process that was stopped for hours. One broker does it for all, the newest objects first, a part at a time:
/// looks below folder `below`, or from the end on, and returns where the next look goes on.
async fn remove_strays(shared: &Shared, below: Option<u64>) -> Result<Option<u64>, StoreError> {
    let image = shared.metadata.image();
    let first = image.brokers().find(|broker| broker.fenced.is_none());
    if first.is_none_or(|broker| broker.node != shared.node) {
        return Ok(None);
    }
    // Ids are given out once and in order: one that this image knew and knows no more never comes back.
    let known = image.next_object().get();
    let end = below.unwrap_or_else(|| known.div_ceil(OBJECTS_PER_FOLDER));
    let begin = end.saturating_sub(FOLDERS_PER_LOOK);
    for folder in (begin..end).rev() {
        let stored = shared.store.list(&object_folder(folder)).await?;
        let ids = stored.iter().filter_map(|object| object_of(&object.key));
        let strays: Vec<_> = ids.filter(|id| id.get() < known && image.object(*id).is_none()).collect();
        if !strays.is_empty() {
            let deleted = delete(shared, strays).await.len();
            info!(deleted, folder, "deleted objects that the metadata do not know any more");
            shared.gauges.objects_deleted.fetch_add(deleted as u64, Ordering::Relaxed);
        }
    }
    Ok((begin > 0).then_some(begin))
}

/// Has the newest checkpoints written anew that keep a large object alive of which nearly all is deleted. Without it
/// every partition that was written once would hold its last object for ever, whatever its retention.
fn renew_checkpoints(shared: &Shared) {
    let image = shared.metadata.image();
    let streams: Vec<_> = lock(&shared.streams).values().cloned().collect();
    let renewing: BTreeMap<_, _> = streams
        .into_iter()
        .filter(|stream| {
            let newest = stream.meta().and_then(|meta| image.last_range(meta));
            newest.is_some_and(|range| is_wasteful(&image, range.object))
        })
        .map(|stream| (stream.data, stream))
        .collect();
    if renewing.is_empty() {
        return;
    }
    debug!(partitions = renewing.len(), "writing checkpoints anew, to set their objects free");
    *lock(&shared.renewing) = renewing;
    shared.signals.flush_asked.fetch_add(1, Ordering::AcqRel);
    shared.signals.wake.notify_one();
}

fn is_wasteful(image: &Image, object: ObjectId) -> bool {
    match image.object(object) {
        Some(ObjectState::Committed { commit, live_bytes, .. }) => {
            commit.size_bytes >= WASTEFUL_FROM_BYTES
                && live_bytes.saturating_mul(100) < commit.size_bytes.saturating_mul(WASTEFUL_BELOW_PERCENT)
        }
        _ => false,
    }
}

async fn delete(shared: &Shared, objects: Vec<ObjectId>) -> Vec<ObjectId> {
    let deletions = objects.into_iter().map(|object| async move {
        let key = object_key(object);
        match shared.store.discard(&key).await {
            Ok(()) => {
                shared.cold.forget(object);
                debug!(key, "deleted");
                Some(object)
            }
            Err(error) => {
                warn!(%error, "an object that nobody needs stays for now");
                None
            }
        }
    });
    let deletions = futures::stream::iter(deletions).buffer_unordered(DELETES_IN_FLIGHT);
    deletions.filter_map(|deleted| async move { deleted }).collect().await
}

async fn propose(shared: &Shared, command: Command) {
    if let Err(error) = shared.metadata.propose(command).await {
        debug!(%error, "a round of sweeping is left to the next one");
    }
}
