use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Who keeps a copy of a segment: a node and the disk that it keeps it on. Opaque here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The node's id.
    pub node: u32,
    /// Its disk's uuid: another disk has nothing to say about the segment.
    pub disk: u128,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} (disk {:032x})", self.node, self.disk)
    }
}

/// The way to one member's copy of one segment.
///
/// ```text
///   writer ── send(frame 0), send(frame 1), … ──> link ~~~> the member's MirrorStore
///      ^                                                        │ durable
///      └────────────── MirrorAcks::durable(n), granted(bytes) <─┘
/// ```
///
/// - Frames arrive whole, each once, in the order of the calls; a link that cannot keep that calls
///   [`MirrorAcks::lost`] and delivers nothing more. It never starts again: the next segment has a link of its own.
/// - [`send`](Self::send) never blocks. What a link holds is bounded by what the member granted: the writer sends
///   no more.
/// - Dropping the link ends it. What was sent before may or may not arrive.
pub trait Mirror: fmt::Debug + Send {
    /// Hands on the segment's next frame: the same bytes that are being written to the owner's disk.
    fn send(&mut self, frame: Bytes);
}

/// Where a link reports what its member says. Cheap to clone; reports only ever grow, so that a late or repeated one
/// does no harm.
#[derive(Clone, Debug)]
pub struct MirrorAcks {
    board: Arc<Board>,
    place: usize,
}

impl MirrorAcks {
    /// The member's copy holds the segment's first `frames` frames durably.
    pub fn durable(&self, frames: u64) {
        self.report(|told| told.frames = told.frames.max(frames));
    }

    /// The member takes the segment's first `bytes` bytes of frames.
    pub fn granted(&self, bytes: u64) {
        self.report(|told| told.granted_bytes = told.granted_bytes.max(bytes));
    }

    /// The member will not get any more frames of this segment. The first reason is the one that is told.
    pub fn lost(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.report(|told| _ = told.lost.get_or_insert(reason));
    }

    fn report(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.board.told()[self.place]);
        self.board.changed.notify_one();
    }
}

/// What a member told so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) frames: u64,
    pub(crate) granted_bytes: u64,
    pub(crate) lost: Option<String>,
}

/// What all members of a segment told. Links write, the writer reads.
#[derive(Debug, Default)]
pub(crate) struct Board {
    told: Mutex<Vec<Told>>,
    pub(crate) changed: Notify,
}

impl Board {
    pub(crate) fn for_members(count: usize) -> Arc<Self> {
        Arc::new(Self { told: Mutex::new(vec![Told::default(); count]), changed: Notify::new() })
    }

    pub(crate) fn acks(self: &Arc<Self>, place: usize) -> MirrorAcks {
        MirrorAcks { board: self.clone(), place }
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Vec<Told>> {
        // Each change under the lock is whole even if what follows it panics.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
