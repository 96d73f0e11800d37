//! Deletes objects that nobody needs: the controller decides, this performs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aquifer_controller::{Duty, Policy, due};
use aquifer_image::Command;
use aquifer_types::ObjectId;
use futures::StreamExt;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::shared::{Shared, object_key};

/// Deletions in flight at once.
const DELETES_IN_FLIGHT: usize = 8;
/// How often the store itself is asked for left-overs of interrupted uploads.
const LEFTOVER_INTERVAL: Duration = Duration::from_secs(3600);

/// Sweeps until the streams stop.
pub(crate) async fn run(shared: Arc<Shared>) -> Result<(), String> {
    let stop = shared.stop.clone();
    let sweeping = async {
        let mut next_leftovers = Instant::now() + LEFTOVER_INTERVAL;
        loop {
            sleep(shared.config.sweep_interval).await;
            // In somebody else's store our numbers name somebody else's objects.
            if !shared.store_checked.load(Ordering::Acquire) {
                continue;
            }
            round(&shared).await;
            if Instant::now() >= next_leftovers {
                next_leftovers = Instant::now() + LEFTOVER_INTERVAL;
                // Nothing that is being uploaded is as old as the time limit of a prepared object.
                if let Err(error) = shared.store.sweep(shared.config.prepared_limit).await {
                    warn!(%error, "left-overs of uploads stay for now");
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
