use std::io;
use std::sync::Arc;

use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use super::backend::LogBackend;
use crate::raft::TypeConfig;

/// Callbacks that may wait for a sync; raft waits when it is full, which is the back-pressure.
const QUEUE: usize = 1_024;

/// Who is told when everything written so far is durable.
pub(super) enum Waiter {
    Append(IOFlushed<TypeConfig>),
    Vote(oneshot::Sender<io::Result<()>>),
}

pub(super) type SyncQueue = mpsc::Sender<Waiter>;

pub(super) fn queue() -> (SyncQueue, mpsc::Receiver<Waiter>) {
    mpsc::channel(QUEUE)
}

/// Answers all that wait by one sync, then those that came meanwhile by the next: group commit by back-pressure.
///
/// A failed sync is final. The pages that it could not write may be clean now, so a second sync would say
/// success over data that is lost; every later waiter gets the first error.
pub(super) async fn run(
    backend: Arc<dyn LogBackend>,
    mut queue: mpsc::Receiver<Waiter>,
) -> Result<(), io::Error> {
    let mut waiters = Vec::with_capacity(QUEUE);
    let mut failure: Option<io::Error> = None;
    while queue.recv_many(&mut waiters, QUEUE).await > 0 {
        if failure.is_none() {
            let pause = backend.begin_sync();
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let backend = backend.clone();
            let synced = aquifer_runtime::blocking(move || backend.sync()).await;
            failure = synced.unwrap_or_else(|panic| Err(io::Error::other(panic))).err();
        }
        for waiter in waiters.drain(..) {
            let result = match &failure {
                None => Ok(()),
                Some(error) => Err(copy(error)),
            };
            match waiter {
                Waiter::Append(callback) => callback.io_completed(result),
                // The receiver is gone only if raft is.
                Waiter::Vote(sender) => drop(sender.send(result)),
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the metadata log could not be synced: {error}"))
}
