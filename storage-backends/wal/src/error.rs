use std::path::PathBuf;

use aquifer_disk::DiskError;

use crate::{LossPoint, Record};

/// Why an append was refused. Nothing of the record is in the log then.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// No room until something is offloaded and trimmed, or written. Retriable.
    #[error("the WAL is full: {used} of {limit} bytes of {what} are taken; {remedy}", what = limit_kind.what(), remedy = limit_kind.remedy())]
    Full {
        /// Which limit.
        limit_kind: FullLimit,
        /// Bytes taken.
        used: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The record is larger than [`Record::MAX_PAYLOAD`].
    #[error("a record of {0} bytes is larger than the WAL takes ({max} bytes)", max = Record::MAX_PAYLOAD)]
    TooLarge(usize),
    /// The device failed.
    #[error(transparent)]
    Dead(#[from] WalDead),
    /// [`crate::Wal::close`] was called.
    #[error("the WAL is closed")]
    Closed,
}

/// The limits behind [`AppendError::Full`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullLimit {
    /// `wal.size`: what is not offloaded yet.
    Capacity,
    /// What is queued in memory because the disk is slower than its writers.
    Queue,
}

impl FullLimit {
    fn what(self) -> &'static str {
        match self {
            Self::Capacity => "wal.size",
            Self::Queue => "the queue in memory",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Capacity => {
                "space comes back when records are offloaded: check that the object store (store.url) answers, or raise wal.size"
            }
            Self::Queue => "the WAL's disk is slower than its writers: retry",
        }
    }
}

/// The WAL's device failed, or its writer did: nothing is acknowledged any more by this process.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the WAL is dead: {reason}")]
pub struct WalDead {
    /// What happened first.
    pub reason: String,
}

/// Why a WAL cannot be opened or started.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refused or failed; an I/O error is never taken for the end of the log.
    #[error("cannot open the WAL: {0}")]
    Disk(#[from] DiskError),
    /// The filesystem cannot hold the log.
    #[error(
        "{path} (wal.dir): the WAL needs {needed} more bytes of its {capacity} (wal.size), the filesystem has {available} \
         free; free {} bytes there, or lower wal.size, or set wal.dir to a larger filesystem", .needed.saturating_sub(*.available)
    )]
    NoSpace {
        /// The directory.
        path: PathBuf,
        /// `wal.size` in bytes.
        capacity: u64,
        /// Bytes that are not reserved yet.
        needed: u64,
        /// What the filesystem has left for this process, in bytes.
        available: u64,
    },
    /// The directory belongs to somebody else.
    #[error("{path}: this WAL belongs to {what} {found}, but this node has {expected}; {remedy}")]
    Foreign {
        /// The file that says so.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What is on the disk.
        found: String,
        /// What this node was started with.
        expected: String,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// Another format version.
    #[error(
        "{path}: WAL format version {found}, this release reads version {supported}; start the release that wrote it and \
         let it stop gracefully (that leaves an empty WAL), or upgrade this one"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version on disk.
        found: u16,
        /// The version that this release reads.
        supported: u16,
    },
    /// The identity file is unreadable while log files exist.
    #[error(
        "{path}: both copies of the WAL's identity are damaged, so it cannot be told whose log this is; restore the file, or move the directory away to give up what is in it"
    )]
    IdentityDamaged {
        /// The file.
        path: PathBuf,
    },
    /// Bytes that were durable once are damaged.
    #[error("{0}")]
    Corrupt(Box<Corruption>),
    /// The store of mirrored segments holds what no mirror writes.
    #[error(
        "the store of mirrored segments cannot be read: {0}; move its directory away, the owners' other copies remain"
    )]
    Mirror(String),
    /// The segment's id does not grow.
    #[error(
        "segment {segment} cannot be started: the WAL holds segment {newest} already; the metadata is older than the WAL (was metadata.dir restored or emptied?)"
    )]
    StaleSegment {
        /// The id that was to be started.
        segment: u64,
        /// The newest on disk.
        newest: u64,
    },
}

/// Damage in the middle of the log, and what is known to be lost by it.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{path}: the WAL is damaged at byte {position} (segment {}, frame {}): {cause}. The frame was durable once, so records that \
     were acknowledged are gone: {}. If the disk can be repaired or restored, do that. To give up everything from this \
     frame on, start once with wal.accept.loss={at}", at.segment, at.sequence, Lost(.lost)
)]
pub struct Corruption {
    /// The file.
    pub path: PathBuf,
    /// Byte position of the damaged frame in it.
    pub position: u64,
    /// Which frame.
    pub at: LossPoint,
    /// What is wrong with it.
    pub cause: String,
    /// The known ranges of offsets that are lost.
    pub lost: Vec<LostRange>,
}

/// Offsets of a stream that are known to be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRange {
    /// The stream.
    pub stream: u64,
    /// First lost offset, if a record before it is known.
    pub first: Option<u64>,
    /// The offset after the last lost one, if a record after it is known.
    pub end: Option<u64>,
}

struct Lost<'a>(&'a [LostRange]);

impl std::fmt::Display for Lost<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("of which streams cannot be told from what is left");
        }
        for (index, LostRange { stream, first, end }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let bound = |offset: &Option<u64>| offset.map_or("?".to_owned(), |offset| offset.to_string());
            write!(f, "{separator}stream {stream} offsets {}..{}", bound(first), bound(end))?;
        }
        Ok(())
    }
}
