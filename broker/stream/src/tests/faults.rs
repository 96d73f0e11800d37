use std::sync::Mutex;

use tokio::sync::watch;

use crate::lock::lock;

/// Where the uploader can be stopped for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// An object id was prepared, nothing is in the store.
    Prepared,
    /// The object is in the store, nobody knows.
    Put,
    /// The object is committed, the WAL still has everything.
    Committed,
}

/// Stops the uploader at a stage, as if the process had died there.
#[derive(Debug)]
pub(crate) struct Faults {
    stop_at: Mutex<Option<Stage>>,
    stopped: watch::Sender<bool>,
}

impl Default for Faults {
    fn default() -> Self {
        Faults { stop_at: Mutex::new(None), stopped: watch::Sender::new(false) }
    }
}

impl Faults {
    /// From now on the first upload that comes to `stage` stays there.
    pub(crate) fn stop_at(&self, stage: Stage) {
        *lock(&self.stop_at) = Some(stage);
    }

    /// Waits until an upload has stopped.
    pub(crate) async fn stopped(&self) {
        let mut stopped = self.stopped.subscribe();
        stopped.wait_for(|stopped| *stopped).await.expect("we hold the sender");
    }

    pub(crate) async fn reached(&self, stage: Stage) {
        if *lock(&self.stop_at) == Some(stage) {
            self.stopped.send_replace(true);
            std::future::pending::<()>().await;
        }
    }
}
