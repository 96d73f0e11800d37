//! What an operator is told.

use std::fmt;

use aquifer_client::ProposeError;
use aquifer_image::{Image, Segment};
use aquifer_objects::StoreError;
use aquifer_types::{NodeId, SegmentId};
use aquifer_wal::{Lsn, Member, Undecided};

/// Partitions that a report names; the others are counted.
const NAMED: usize = 8;

/// Why a takeover did not happen.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// Too few copies answer, so that acknowledged records might be missed.
    #[error("{0}")]
    Blocked(Box<Blocked>),
    /// Another recoverer was faster, or the owner came back: look at the metadata again.
    #[error("the takeover of broker {owner} was overtaken: {reason}")]
    Overtaken {
        /// Whose segments they are.
        owner: NodeId,
        /// What the metadata said.
        reason: String,
    },
    /// The copies contradict the metadata.
    #[error("what broker {owner} left in the WAL contradicts the metadata: {reason}")]
    Contradiction {
        /// Whose segments they are.
        owner: NodeId,
        /// What does not fit.
        reason: String,
    },
    /// The store refused the tail. It can be tried again.
    #[error("the tail of a dead broker cannot be uploaded: {0}")]
    Store(#[from] StoreError),
    /// The metadata did not answer, or refuses this broker.
    #[error("the metadata did not take a takeover: {0}")]
    Metadata(#[from] ProposeError),
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Whose segment it is.
    pub owner: NodeId,
    /// The segment.
    pub segment: SegmentId,
    /// What is missing.
    pub undecided: Undecided,
    /// What each copy said that gave no trustworthy answer.
    pub silent: Vec<(Member, String)>,
    /// Partitions with the offset from which on records are waited for.
    pub from: Vec<(String, i32, u64)>,
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner, segment, undecided, silent, from } = self;
        write!(f, "broker {owner} cannot be taken over: of its WAL segment {segment}, {undecided}")?;
        for (member, reason) in silent {
            write!(f, "; {member}: {reason}")?;
        }
        f.write_str(". Records are waited for in")?;
        for (topic, partition, offset) in from.iter().take(NAMED) {
            write!(f, " {topic}-{partition} from offset {offset} on,")?;
        }
        if from.len() > NAMED {
            write!(f, " and {} more partitions,", from.len() - NAMED)?;
        }
        write!(
            f,
            " at most. Bring one of these nodes back with its disk; to give those records up: `aquifer recover {owner} --accept-loss`"
        )
    }
}

impl Blocked {
    pub(super) fn error(
        image: &Image,
        segment: &Segment,
        undecided: Undecided,
        silent: Vec<(Member, String)>,
    ) -> TakeOverError {
        let waits = |(topic, index)| {
            let end = image.stream(image.partition(topic, index)?.data)?.end;
            Some((image.topic(topic)?.name.to_string(), index, end))
        };
        let (owner, segment) = (segment.owner, segment.id);
        let from = image.led_by(owner).filter_map(waits).collect();
        TakeOverError::Blocked(Box::new(Self { owner, segment, undecided, silent, from }))
    }
}

/// What an operator gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// The segment.
    pub segment: SegmentId,
    /// It is ended here, where the longest copy that answered ends.
    pub end: Lsn,
    /// Why its true end is not known.
    pub undecided: Undecided,
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, end, undecided } = self;
        write!(f, "WAL segment {segment} from LSN {end} on: {undecided}")
    }
}
