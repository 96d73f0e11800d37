use std::sync::Arc;
use std::time::Duration;

use aquifer_disk::{Disk, DiskError};
use aquifer_runtime::CancellationToken;
use tokio::sync::{mpsc, watch};

use crate::ring::{Name, RingFile, Zeroer};

/// Surplus files that wait to be removed; a full queue leaves a file in the directory until the next start.
const REMOVALS: usize = 64;
/// After a full filesystem refused a file.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the writer wants of the keeper.
#[derive(Debug)]
pub(crate) struct Demand {
    hurry: watch::Sender<bool>,
    removals: mpsc::Sender<RingFile>,
    extras: mpsc::Sender<u64>,
}

impl Demand {
    /// The writer waits for a file: zero it as fast as the disk can.
    pub(crate) fn hurry(&self) {
        self.hurry.send_if_modified(|hurry| !std::mem::replace(hurry, true));
    }

    /// One more file of so many bytes; it comes as the others do. False if one is on its way.
    pub(crate) fn extra(&self, bytes: u64) -> bool {
        self.extras.try_send(bytes).is_ok()
    }

    /// This file is not needed any more.
    pub(crate) fn remove(&self, file: RingFile) {
        if self.removals.try_send(file).is_err() {
            tracing::debug!("a surplus WAL file stays until the next start");
        }
    }
}

/// Zeroes the ring's files behind the start, at a bounded pace, adds one when asked to, and removes surplus ones.
pub(crate) struct Keeper {
    disk: Arc<dyn Disk>,
    zeroing: Vec<RingFile>,
    bytes_per_second: u64,
    zeroed: mpsc::Sender<RingFile>,
    hurry: watch::Receiver<bool>,
    removals: mpsc::Receiver<RingFile>,
    extras: mpsc::Receiver<u64>,
}

impl Keeper {
    /// A keeper and the writer's ends: zeroed files, and its demands.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        zeroing: Vec<RingFile>,
        bytes_per_second: u64,
    ) -> (Self, mpsc::Receiver<RingFile>, Demand) {
        let (zeroed, zeroed_receiver) = mpsc::channel(zeroing.len().max(1));
        let (hurry_sender, hurry) = watch::channel(false);
        let (removal_sender, removals) = mpsc::channel(REMOVALS);
        let (extra_sender, extras) = mpsc::channel(1);
        let demand = Demand { hurry: hurry_sender, removals: removal_sender, extras: extra_sender };
        (Self { disk, zeroing, bytes_per_second, zeroed, hurry, removals, extras }, zeroed_receiver, demand)
    }

    /// Runs until the writer has `ended`; an error is the disk's.
    pub(crate) async fn run(self, ended: CancellationToken) -> Result<(), DiskError> {
        let Self { disk, zeroing, bytes_per_second, zeroed, hurry, mut removals, mut extras } = self;
        let zero = async {
            for file in zeroing {
                let pace = |bytes| pace(hurry.clone(), bytes, bytes_per_second);
                let ready = Zeroer::new(disk.clone(), file).run(pace).await?;
                tracing::debug!(file = ready.name, "zeroed a file of the WAL");
                if zeroed.send(ready).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        let remove = async {
            while let Some(file) = removals.recv().await {
                disk.remove(&file.name).await?;
            }
            Ok(())
        };
        let add = async {
            while let Some(bytes) = extras.recv().await {
                let file = add(&disk, bytes).await?;
                tracing::info!(
                    file = file.name,
                    "a file more for the WAL: its rolls came faster than uploads"
                );
                if zeroed.send(file).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        tokio::select! {
            done = async { tokio::try_join!(zero, remove, add) } => done.map(drop),
            () = ended.cancelled() => Ok(()),
        }
    }
}

/// A new zeroed file, as soon as the filesystem has room for it.
async fn add(disk: &Arc<dyn Disk>, bytes: u64) -> Result<RingFile, DiskError> {
    loop {
        let name = Name::next(&disk.list().await?).to_string();
        match disk.create(&name, bytes).await {
            Ok(file) => {
                return Zeroer::new(disk.clone(), RingFile { name, file })
                    .run(|_| std::future::ready(()))
                    .await;
            }
            Err(error @ DiskError::NoSpace { .. }) => {
                tracing::warn!(%error, "the WAL waits for a file to go on in; again in {RETRY_AFTER:?}");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits as long as so many bytes should take, unless the writer waits for them.
async fn pace(mut hurry: watch::Receiver<bool>, bytes: usize, bytes_per_second: u64) {
    if *hurry.borrow_and_update() {
        return;
    }
    let time = Duration::from_secs_f64(bytes as f64 / bytes_per_second.max(1) as f64);
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        // A writer that is gone hurries nobody, and ends this task besides.
        _ = hurry.changed() => {}
    }
}
