//! The member's side of mirroring: copies of other nodes' segments, on a disk of our own.
//!
//! ```text
//!   link ── frame ──> MirrorCopy::append ── checked, in order ──> a log of our own ──> durable ──> Progress
//!                                                                   │ (one for all copies: their frames share syncs)
//!   recoverer ── seal(segment, epoch) ──────────────────────────────┤
//!             <─ SealedTail, only once the seal is durable ─────────┘
//! ```
//!
//! The log is the same as an owner's: the same files, group commit and recovery rule; its records are frames and seals.
//! What is in it is also in memory, so that a recovery need not read the disk. What all copies need of it is kept by
//! writing what is old and still needed again at its end, before it is in the way.

mod copy;
mod entry;
mod ledger;
mod refusal;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aquifer_disk::Disk;
use aquifer_runtime::TaskGroup;
use bytes::Bytes;
use tokio::sync::watch;

use self::entry::Entry;
pub(crate) use self::entry::Frame;
use self::ledger::Ledger;
pub use self::refusal::Refusal;
use crate::{Identity, Lsn, OpenError, SealedTail, Wal, WalConfig, WalDead};

/// Above this share of its log, in percent, what is old and still needed is written again at the end.
const CROWDED_PERCENT: u64 = 75;
/// How many entries are written again for each one that comes in: enough to get ahead of them.
const CARRIED_PER_FRAME: usize = 2;

/// The settings of a mirror.
#[derive(Clone, Debug)]
pub struct MirrorStoreConfig {
    /// The log that it keeps copies in.
    pub wal: WalConfig,
    /// Segments that may be mirrored here at a time: each is granted an equal share of half of the log.
    pub segments: u64,
}

impl Default for MirrorStoreConfig {
    fn default() -> Self {
        Self { wal: WalConfig::default(), segments: 4 }
    }
}

impl MirrorStoreConfig {
    /// What may be granted. The other half is for what copies keep each other from being overwritten, and for padding.
    fn grantable_bytes(&self) -> u64 {
        self.wal.capacity_bytes / 2
    }

    /// What one segment is granted before something of it is trimmed.
    fn window_bytes(&self) -> u64 {
        self.grantable_bytes() / self.segments.max(1)
    }
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Its first frames that are durable.
    pub frames: u64,
    /// Bytes of frames that its owner may send in all.
    pub granted_bytes: u64,
}

/// Copies of other nodes' segments. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MirrorStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    wal: Wal<Tag>,
    ledger: Arc<Mutex<Ledger>>,
    identity: Identity,
}

/// What to do once an entry is durable.
#[derive(Debug)]
enum Tag {
    /// Tell the owner.
    Frame { progress: watch::Sender<Progress>, frames: u64 },
    /// Nothing: who sealed waits for it.
    Seal,
    /// What lay there is not needed there any more.
    Carried { from: Lsn, to: Arc<std::sync::OnceLock<Lsn>> },
}

/// Where a copy of a segment is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyOf {
    /// The segment.
    pub segment: u64,
    /// Its owner.
    pub owner: u32,
    /// The disk that the metadata names for this member.
    pub disk: u128,
}

impl MirrorStore {
    /// Opens the store, with what an earlier process kept in it.
    ///
    /// # Errors
    /// As for a log of our own. [`OpenError::Corrupt`] means that copies are damaged: this disk must abstain, by going on
    /// under another uuid in an empty directory.
    pub async fn open(
        config: MirrorStoreConfig,
        disk: Arc<dyn Disk>,
        identity: Identity,
        tasks: &TaskGroup,
    ) -> Result<Self, OpenError> {
        let mut opened = crate::open(config.wal.clone(), disk, identity).await?;
        let recovered = std::mem::take(&mut opened.recovered);
        let ledger = Ledger::recover(config, recovered).map_err(OpenError::Mirror)?;
        tracing::info!(copies = ledger.copies(), "opened the store of mirrored segments");
        let ledger = Arc::new(Mutex::new(ledger));
        let for_sink = ledger.clone();
        let run = opened.newest_segment() + 1;
        let wal = opened.start(run, move |tags: &mut Vec<Tag>| durable(&for_sink, tags), tasks).await?;
        Ok(Self(Arc::new(Inner { wal, ledger, identity })))
    }

    /// The disk's uuid: what makes this mirror a member.
    pub fn disk(&self) -> u128 {
        self.0.identity.disk
    }

    /// Opens a copy of a segment that its owner begins to write.
    ///
    /// # Errors
    /// The owner is fenced, the segment is known already, or there is no room for another one.
    pub fn begin(&self, of: CopyOf) -> Result<MirrorCopy, Refusal> {
        self.check_disk(of.disk)?;
        self.ledger().begin(of.owner, of.segment)?;
        Ok(MirrorCopy { store: self.clone(), of })
    }

    /// Promises a segment to a recovery of this epoch: no frame is taken any more. Answers, once the promise is durable, what
    /// the copy holds; that is final.
    ///
    /// # Errors
    /// The copy has to abstain, or a later epoch was promised.
    pub async fn seal(&self, of: CopyOf, epoch: u64) -> Result<SealedTail, Refusal> {
        self.check_disk(of.disk)?;
        let place = self.ledger().seal(of.owner, of.segment, epoch, |entry| self.log(&entry, Tag::Seal))?;
        self.0.wal.committed(place).await?;
        Ok(self.ledger().sealed(of.segment)?.tail())
    }

    /// Frames of a sealed copy from the `from`th on that it keeps, until they are more than `max_bytes`; none at the end.
    ///
    /// # Errors
    /// The copy is not sealed, or has to abstain.
    pub fn read(&self, of: CopyOf, from: usize, max_bytes: usize) -> Result<Vec<Bytes>, Refusal> {
        self.check_disk(of.disk)?;
        Ok(self.ledger().sealed(of.segment)?.read(from, max_bytes))
    }

    /// Forgets the copies of segments that are not `needed`: the metadata has released them.
    pub fn retain(&self, needed: impl FnMut(u64) -> bool) {
        self.ledger().retain(needed);
        self.trim();
    }

    /// How many segments have a copy here.
    pub fn copies(&self) -> usize {
        self.ledger().copies()
    }

    /// How full its log is.
    pub fn usage(&self) -> crate::Usage {
        self.0.wal.usage()
    }

    /// The failure that ended it, if one did.
    pub fn failure(&self) -> Option<WalDead> {
        self.0.wal.failure()
    }

    /// Writes what came in, and ends.
    ///
    /// # Errors
    /// The disk failed.
    pub async fn close(&self) -> Result<(), WalDead> {
        self.0.wal.close().await
    }

    fn check_disk(&self, asked: u128) -> Result<(), Refusal> {
        let present = self.disk();
        if asked == present { Ok(()) } else { Err(Refusal::OtherDisk { asked, present }) }
    }

    fn log(&self, entry: &Entry, tag: Tag) -> Result<Lsn, Refusal> {
        self.0.wal.append(entry.record(), tag).map_err(|error| match error {
            crate::AppendError::Dead(dead) => Refusal::Dead(dead),
            other => Refusal::Log(other.to_string()),
        })
    }

    fn append(&self, of: CopyOf, frame: Bytes) -> Result<(), Refusal> {
        let segment = of.segment;
        let frame = Frame::check(frame).map_err(|reason| Refusal::Damaged { segment, reason })?;
        if frame.header.identity.cluster != self.0.identity.cluster {
            let reason = "it comes from another cluster".to_owned();
            return Err(Refusal::Damaged { segment, reason });
        }
        // First, so that a log that is nearly full gets emptier all the same.
        self.make_room();
        self.ledger().accept(segment, &frame, |entry, copy| {
            let tag = Tag::Frame { progress: copy.progress.clone(), frames: frame.header.sequence + 1 };
            self.log(&entry, tag)
        })?;
        self.trim();
        Ok(())
    }

    /// Writes the oldest entries that are still needed again at the end of the log, if it gets crowded.
    fn make_room(&self) {
        let usage = self.0.wal.usage();
        if usage.used_bytes * 100 < usage.capacity_bytes * CROWDED_PERCENT {
            return;
        }
        let mut ledger = self.ledger();
        for _ in 0..CARRIED_PER_FRAME {
            let Some((from, entry)) = ledger.carry() else { return };
            let to = Arc::new(std::sync::OnceLock::new());
            // A log that is too full for this refuses the owners' frames as well, which tells them.
            let Ok(place) = self.log(&entry, Tag::Carried { from, to: to.clone() }) else {
                return ledger.not_carried(from);
            };
            to.set(place).expect("it was just made");
        }
    }

    /// Lets go of what no copy needs.
    fn trim(&self) {
        let committed = self.0.wal.usage().committed;
        let floor = self.ledger().floor().unwrap_or(committed);
        self.0.wal.trim(floor.min(committed));
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.0.ledger)
    }
}

/// A copy that is being written. Dropping it ends that: the owner's link is gone.
#[derive(Debug)]
pub struct MirrorCopy {
    store: MirrorStore,
    of: CopyOf,
}

impl MirrorCopy {
    /// Takes the next frame. It is durable when [`progress`](Self::progress) counts it.
    ///
    /// # Errors
    /// Nothing was taken, and nothing will be after it: the link is to be ended.
    pub fn append(&self, frame: Bytes) -> Result<(), Refusal> {
        self.store.append(self.of, frame)
    }

    /// How far the copy is; what the owner is to be told.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        let ledger = self.store.ledger();
        match ledger.copy(self.of.segment) {
            Some(copy) => copy.progress.subscribe(),
            // Released meanwhile: nobody waits for it.
            None => watch::channel(Progress::default()).1,
        }
    }
}

impl Drop for MirrorCopy {
    fn drop(&mut self) {
        self.store.ledger().close(self.of.segment);
    }
}

/// The log's sink.
fn durable(ledger: &Mutex<Ledger>, tags: &mut Vec<Tag>) {
    for tag in tags.drain(..) {
        match tag {
            Tag::Frame { progress, frames } => {
                progress.send_modify(|progress| progress.frames = progress.frames.max(frames));
            }
            Tag::Seal => {}
            Tag::Carried { from, to } => {
                let mut ledger = lock(ledger);
                let to = *to.get().expect("its place was noted under the lock that is held now");
                ledger.moved(from, to);
            }
        }
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    // Copies are changed only after the log took what changes them: a panic leaves at most an unacknowledged frame.
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
