use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::oneshot;

use crate::directory::RawFile;
use crate::{AlignedBuf, DeviceFailure, DiskError};

/// What an engine's thread is asked to do. It owns the memory and the open file until it answers.
#[derive(Debug)]
pub(crate) enum Operation {
    Read {
        file: Arc<RawFile>,
        position: u64,
        /// Its length is how much to read.
        buffer: AlignedBuf,
        reply: oneshot::Sender<Result<AlignedBuf, DiskError>>,
    },
    Write {
        file: Arc<RawFile>,
        position: u64,
        blocks: Arc<AlignedBuf>,
        reply: oneshot::Sender<Result<(), DiskError>>,
    },
}

impl Operation {
    /// Answers without having done it. Who asked may be gone; nobody else wants to know.
    pub(crate) fn refuse(self, error: DiskError) {
        match self {
            Self::Read { reply, .. } => drop(reply.send(Err(error))),
            Self::Write { reply, .. } => drop(reply.send(Err(error))),
        }
    }

    pub(crate) fn file(&self) -> &RawFile {
        match self {
            Self::Read { file, .. } | Self::Write { file, .. } => file,
        }
    }

    /// For messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Read { position, buffer, .. } => format!("read of {} bytes at {position}", buffer.len()),
            Self::Write { position, blocks, .. } => format!("write of {} bytes at {position}", blocks.len()),
        }
    }
}

/// Between the callers and an engine's thread. Its length is bounded by the callers: each waits for what it asked.
#[derive(Debug)]
pub(crate) struct Mailbox {
    posted: Mutex<Posted>,
    wake: Wake,
    failure: OnceLock<DeviceFailure>,
}

#[derive(Debug, Default)]
struct Posted {
    operations: VecDeque<Operation>,
    closed: bool,
}

#[derive(Debug)]
enum Wake {
    Condition(Condvar),
    /// An eventfd that the ring reads.
    Event(File),
}

impl Mailbox {
    /// For a thread that waits in [`wait`](Self::wait).
    pub(crate) fn with_condition() -> Self {
        Self::new(Wake::Condition(Condvar::new()))
    }

    /// For a thread that waits for the event counter.
    pub(crate) fn with_event(event: File) -> Self {
        Self::new(Wake::Event(event))
    }

    fn new(wake: Wake) -> Self {
        Self { posted: Mutex::default(), wake, failure: OnceLock::new() }
    }

    pub(crate) fn post(&self, operation: Operation) {
        if let Some(failure) = self.failure() {
            return operation.refuse(failure.clone().into());
        }
        let mut posted = self.posted();
        let was_empty = posted.operations.is_empty();
        posted.operations.push_back(operation);
        drop(posted);
        // The thread takes all there is, so that one wake-up per non-empty mailbox is enough.
        if was_empty {
            self.ring_the_bell();
        }
    }

    /// Asks the thread to end once everything posted is done.
    pub(crate) fn close(&self) {
        self.posted().closed = true;
        self.ring_the_bell();
    }

    /// Moves everything posted to `into`; whether the mailbox is closed.
    pub(crate) fn take(&self, into: &mut VecDeque<Operation>) -> bool {
        let mut posted = self.posted();
        into.append(&mut posted.operations);
        posted.closed
    }

    /// Waits until there is something, and takes it; whether the mailbox is closed.
    pub(crate) fn wait(&self, into: &mut VecDeque<Operation>) -> bool {
        let Wake::Condition(condition) = &self.wake else { unreachable!("a ring waits for its event") };
        let mut posted = condition
            .wait_while(self.posted(), |posted| posted.operations.is_empty() && !posted.closed)
            .unwrap_or_else(PoisonError::into_inner);
        into.append(&mut posted.operations);
        posted.closed
    }

    pub(crate) fn failure(&self) -> Option<&DeviceFailure> {
        self.failure.get()
    }

    /// Ends the use of the device; the first failure is the one that is told.
    pub(crate) fn fail(&self, failure: DeviceFailure) -> &DeviceFailure {
        self.failure.get_or_init(|| {
            tracing::error!(%failure, "the device is dead");
            failure
        })
    }

    fn ring_the_bell(&self) {
        match &self.wake {
            Wake::Condition(condition) => condition.notify_one(),
            Wake::Event(event) => {
                // Fails only when the counter is at its end, and then the ring wakes anyway.
                let _ = (&*event).write(&1_u64.to_ne_bytes());
            }
        }
    }

    fn posted(&self) -> MutexGuard<'_, Posted> {
        // Pushes and appends leave it whole even if they panic.
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
