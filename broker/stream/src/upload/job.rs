//! One upload, from the durable cut to the applied commit.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aquifer_client::ProposeError;
use aquifer_image::{CommitObject, Outcome, PrepareObjects, Rejection};
use aquifer_objects::{Effect, ErrorKind};
use aquifer_types::{ObjectId, StreamId};
use aquifer_wal::{Lsn, WalDead};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::put::{Written, commit_ranges, put};
use crate::marker;
use crate::shared::{Shared, object_key};
use crate::stream::Cut;

/// First pause after a failed attempt; it doubles up to [`LONGEST_PAUSE`]. The store retries by itself first.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause: how late an upload may notice that the store is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What no retry can mend. The broker must stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// What was appended may not be durable.
    #[error("nothing can be offloaded any more: {0}")]
    Wal(#[from] WalDead),
    /// The metadata refuses our commits.
    #[error("the metadata quorum refuses what this broker offloads: {0}")]
    Refused(Rejection),
}

/// What one object will hold.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) cuts: Vec<Cut>,
    pub(crate) bytes: u64,
    /// All cuts are durable once everything below this is.
    pub(crate) durable_below: Lsn,
    /// Flushes up to this one are done with this job.
    pub(crate) flush: Option<u64>,
}

impl Default for Job {
    fn default() -> Self {
        Job { cuts: Vec::new(), bytes: 0, durable_below: Lsn(0), flush: None }
    }
}

impl Job {
    pub(crate) fn add(&mut self, cut: Cut) {
        self.bytes += cut.bytes;
        self.cuts.push(cut);
    }

    /// Leaves out what is of this stream, data or checkpoints, if it is a checkpoint that was only to be written anew: its
    /// partition was handed over meanwhile, with nothing left here. False if there are records, which only we had.
    fn leave_out(&mut self, stream: StreamId) -> bool {
        let of_stream = |cut: &Cut| {
            cut.stream.data == stream || cut.checkpoint.as_ref().is_some_and(|(meta, _)| *meta == stream)
        };
        let before = self.cuts.len();
        self.cuts.retain(|cut| !(of_stream(cut) && cut.batches.is_empty()));
        self.cuts.len() < before
    }
}

/// A job whose commit was applied here.
pub(crate) struct Done {
    pub(crate) job: Job,
    pub(crate) gone: HashSet<StreamId>,
    /// Size of the object, if there was anything to upload.
    pub(crate) object_bytes: Option<u64>,
}

/// Performs a job. `turn` resolves when the job before it has committed, `committed` tells the next one.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut job: Job,
    turn: Option<oneshot::Receiver<()>>,
    committed: oneshot::Sender<()>,
) -> Result<Done, UploadError> {
    if let Some(last) = job.durable_below.0.checked_sub(1) {
        shared.wal.committed(Lsn(last)).await?;
    }
    let mut turn = turn;
    let mut pause = Pause::default();
    let (gone, object_bytes) = loop {
        if job.cuts.is_empty() {
            wait_for(&mut turn).await;
            break (HashSet::new(), None);
        }
        let (object, written) = store_object(&shared, &job, &mut pause).await?;
        wait_for(&mut turn).await;
        match commit(&shared, object, &written).await? {
            Committed::Yes { gone } => break (gone, Some(written.object_bytes)),
            Committed::GivenUp => {
                warn!(%object, "the object was given up before it was committed: uploading again");
                pause.after_failure(&shared).await;
            }
            Committed::Led { rejection } => {
                if !led(&rejection).is_some_and(|stream| job.leave_out(stream)) {
                    return Err(UploadError::Refused(rejection));
                }
                debug!(%rejection, "a checkpoint that was written anew came after its partition went away");
            }
        }
    };
    fault!(shared, Committed);
    // Nobody listens if this was the last job.
    let _ = committed.send(());
    Ok(Done { job, gone, object_bytes })
}

/// What came of a commit.
enum Committed {
    /// It was applied; these streams are deleted.
    Yes { gone: HashSet<StreamId> },
    /// The object was given up meanwhile and must be uploaded again.
    GivenUp,
    /// Another broker leads a stream of it.
    Led { rejection: Rejection },
}

/// The stream that another broker leads, if that is why.
fn led(rejection: &Rejection) -> Option<StreamId> {
    match rejection {
        Rejection::NotStreamLeader { stream, .. } => Some(*stream),
        _ => None,
    }
}

/// Waits until the job before has committed. If it failed, the uploader ends, and this wait with it.
async fn wait_for(turn: &mut Option<oneshot::Receiver<()>>) {
    if let Some(turn) = turn.take()
        && turn.await.is_err()
    {
        std::future::pending::<()>().await;
    }
}

/// Grows with each failure in a row.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Pause(FIRST_PAUSE)
    }
}

impl Pause {
    async fn after_failure(&mut self, shared: &Shared) {
        shared.gauges.upload_failures.fetch_add(1, Ordering::Relaxed);
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

/// Writes the job's object, however long the store makes us wait.
async fn store_object(
    shared: &Shared,
    job: &Job,
    pause: &mut Pause,
) -> Result<(ObjectId, Written), UploadError> {
    let mut prepared = None;
    loop {
        if !shared.store_checked.load(Ordering::Acquire) {
            if let Err(reason) =
                marker::check_now(&shared.store, &shared.metadata.image(), shared.cluster).await
            {
                warn!(reason, "no upload before the store is known to be ours");
                pause.after_failure(shared).await;
                continue;
            }
            shared.store_checked.store(true, Ordering::Release);
        }
        let object = match prepared.take() {
            Some(object) => object,
            None => prepare(shared, pause).await?,
        };
        fault!(shared, Prepared);
        let key = object_key(object);
        match put(shared, job, object, &key).await {
            Ok(written) => {
                fault!(shared, Put);
                debug!(key, bytes = written.object_bytes, streams = job.cuts.len(), "uploaded");
                return Ok((object, written));
            }
            Err(error) => {
                // A name that may be taken, now or later, is not used again: the sweeper clears it away.
                if error.effect == Effect::None && error.kind != ErrorKind::AlreadyExists {
                    prepared = Some(object);
                }
                warn!(%error, "an upload failed and is tried again; the WAL keeps its records");
                pause.after_failure(shared).await;
            }
        }
    }
}

async fn prepare(shared: &Shared, pause: &mut Pause) -> Result<ObjectId, UploadError> {
    loop {
        let command = PrepareObjects {
            node: shared.node,
            broker_epoch: shared.broker_epoch,
            count: 1,
            now_ms: shared.clock.wall_ms(),
            time_limit_ms: i64::try_from(shared.config.prepared_limit.as_millis()).unwrap_or(i64::MAX),
        };
        match shared.metadata.propose(command).await {
            Ok(Outcome::ObjectsPrepared { first, .. }) => return Ok(first),
            Ok(other) => unreachable!("PrepareObjects is answered by ObjectsPrepared, not {other:?}"),
            Err(ProposeError::Rejected(rejection)) => return Err(UploadError::Refused(rejection)),
            // An id that was prepared without our knowing expires and is swept.
            Err(error) => {
                warn!(%error, "no object id for an upload yet");
                pause.after_failure(shared).await;
            }
        }
    }
}

/// Commits the object. An outcome that is unknown is resolved by asking again: the image answers a repeated commit as it
/// answered the first.
async fn commit(shared: &Shared, object: ObjectId, written: &Written) -> Result<Committed, UploadError> {
    let ranges = commit_ranges(&written.ranges);
    let mut pause = Pause::default();
    loop {
        let command = CommitObject {
            node: shared.node,
            broker_epoch: shared.broker_epoch,
            object,
            size_bytes: written.object_bytes,
            now_ms: shared.clock.wall_ms(),
            ranges: ranges.clone(),
        };
        match shared.metadata.propose(command).await {
            Ok(Outcome::ObjectCommitted { gone }) => {
                return Ok(Committed::Yes { gone: gone.into_iter().collect() });
            }
            Ok(other) => unreachable!("CommitObject is answered by ObjectCommitted, not {other:?}"),
            Err(ProposeError::Rejected(
                Rejection::ObjectExpired { .. }
                | Rejection::UnknownObject { .. }
                | Rejection::CommitConflict { .. },
            )) => return Ok(Committed::GivenUp),
            Err(ProposeError::Rejected(rejection @ Rejection::NotStreamLeader { .. })) => {
                return Ok(Committed::Led { rejection });
            }
            Err(ProposeError::Rejected(rejection)) => return Err(UploadError::Refused(rejection)),
            Err(error) => {
                warn!(%error, %object, "a commit is not known to have happened: asking again");
                pause.after_failure(shared).await;
            }
        }
    }
}
