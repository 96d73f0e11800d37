//! The way from a writer to a mirror in the same process, with a wire that can be slow, stuck or cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aquifer_runtime::{CancellationToken, OnEnd, TaskGroup};
use aquifer_wal::{CopyOf, Mirror, MirrorAcks, MirrorCopy, MirrorStore};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// What happens to all frames and answers between two nodes. Outlives links.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire {
    latency_ms: Arc<AtomicU64>,
    stuck: Arc<AtomicBool>,
    cut: CancellationToken,
}

impl Wire {
    pub(crate) fn new(latency_ms: u64) -> Self {
        let wire = Self::default();
        wire.latency_ms.store(latency_ms, Ordering::Relaxed);
        wire
    }

    /// Nothing arrives any more, and nobody is told.
    pub(crate) fn stick(&self) {
        self.stuck.store(true, Ordering::Relaxed);
    }

    /// The connection ends.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }

    async fn pass(&self) {
        sleep(Duration::from_millis(self.latency_ms.load(Ordering::Relaxed))).await;
        if self.stuck.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

#[derive(Debug)]
pub(crate) struct Link(mpsc::UnboundedSender<Bytes>);

impl Mirror for Link {
    fn send(&mut self, frame: Bytes) {
        // The other end is gone once the wire is cut; the acks said so.
        let _ = self.0.send(frame);
    }
}

impl Link {
    pub(crate) fn connect(
        store: Option<MirrorStore>,
        of: CopyOf,
        wire: Wire,
        acks: MirrorAcks,
        tasks: &TaskGroup,
    ) -> Box<dyn Mirror> {
        let (sender, frames) = mpsc::unbounded_channel();
        tasks.spawn("link", OnEnd::Continue, async move {
            let result = match store {
                None => Err("nobody is there".to_owned()),
                Some(store) => tokio::select! {
                    result = serve(&store, of, &wire, frames, &acks) => result,
                    () = wire.cut.cancelled() => Err("its connection ended".to_owned()),
                },
            };
            if let Err(reason) = result {
                acks.lost(reason);
            }
            Ok::<_, String>(())
        });
        Box::new(Self(sender))
    }
}

async fn serve(
    store: &MirrorStore,
    of: CopyOf,
    wire: &Wire,
    mut frames: mpsc::UnboundedReceiver<Bytes>,
    acks: &MirrorAcks,
) -> Result<(), String> {
    wire.pass().await;
    let copy: MirrorCopy = store.begin(of).map_err(|refusal| refusal.to_string())?;
    let mut progress = copy.progress();
    let forward = async {
        loop {
            let told = *progress.borrow_and_update();
            wire.pass().await;
            acks.durable(told.frames);
            acks.granted(told.granted_bytes);
            if progress.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let receive = async {
        while let Some(frame) = frames.recv().await {
            wire.pass().await;
            copy.append(frame).map_err(|refusal| refusal.to_string())?;
        }
        Ok(())
    };
    tokio::select! {
        result = receive => result,
        () = forward => unreachable!("it goes on for ever"),
    }
}
