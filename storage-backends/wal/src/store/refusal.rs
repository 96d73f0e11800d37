use crate::WalDead;

/// Why a mirror does not take a frame, a segment or a seal. The copy stays what it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// The copy was asked of a disk that is not here (any more): this node has nothing to say about it.
    #[error("the copy is asked of disk {asked:032x}, this mirror keeps its copies on disk {present:032x}")]
    OtherDisk {
        /// The disk that was asked for.
        asked: u128,
        /// The disk that is here.
        present: u128,
    },
    /// The segment is sealed, or its writer is fenced.
    #[error("segment {segment} is sealed by epoch {epoch}: its writer was fenced")]
    Sealed {
        /// The segment.
        segment: u64,
        /// The epoch of the seal.
        epoch: u64,
    },
    /// The copy is not being written: it was before a restart of this mirror, or its owner went on in another segment.
    #[error("this mirror's copy of segment {segment} takes no more frames")]
    NotOpen {
        /// The segment.
        segment: u64,
    },
    /// The frame is not the one that comes next.
    #[error("frame {found} of segment {segment} came instead of frame {expected}")]
    NotNext {
        /// The segment.
        segment: u64,
        /// The frame that would be next.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// The frame is not what its owner wrote, or not its owner's.
    #[error("a frame for segment {segment} is refused: {reason}")]
    Damaged {
        /// The segment.
        segment: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The owner sent more than was granted, or the mirror has no room for another segment.
    #[error(
        "this mirror has no room for segment {segment} of node {owner}: {taken} of {limit} bytes are granted"
    )]
    NoRoom {
        /// The segment.
        segment: u64,
        /// Its owner.
        owner: u32,
        /// Bytes granted.
        taken: u64,
        /// What may be granted.
        limit: u64,
    },
    /// The copy lacks frames that it had, or may have had: it abstains.
    #[error("this mirror's copy of segment {segment} is damaged: {reason}")]
    Abstains {
        /// The segment.
        segment: u64,
        /// What is known of the damage.
        reason: String,
    },
    /// A later epoch was promised already.
    #[error("segment {segment} is promised to epoch {promised}, epoch {asked} is too old")]
    OldEpoch {
        /// The segment.
        segment: u64,
        /// The epoch of the latest seal.
        promised: u64,
        /// The epoch that asked.
        asked: u64,
    },
    /// The mirror's disk failed, or its log is full.
    #[error("the mirror cannot write: {0}")]
    Log(String),
    /// The mirror's disk failed.
    #[error(transparent)]
    Dead(#[from] WalDead),
}
