//! Bugs planted on purpose, to see that the checkers find them.
//!
//! They are on this side of the seams: simulated twins that break what the real thing promises, and clients or nodes that are
//! wired wrongly. The product's code knows nothing of them, but for the setting of its quorum that [`Planted::LeadsOn`] turns.

use std::str::FromStr;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// The disks acknowledge what a power cut takes away.
    LyingDisk,
    /// The quorum's log forgets in a power cut what it has synced last.
    ForgetfulLog,
    /// The store loses objects that it has acknowledged.
    LosingStore,
    /// The store damages objects.
    RottingStore,
    /// A mirror's disk is replaced by a blank one that keeps its id.
    BlankMirror,
    /// Produce is answered before the records are durable.
    EarlyAnswer,
    /// Whatever is in the store and not committed is deleted at once.
    EagerSweeper,
    /// Nobody collects what uploads left behind.
    IdleSweeper,
    /// A producer uses a sequence again for other records.
    ReusedSequence,
    /// A producer sends again without a sequence what it had no answer for.
    UnmarkedRetry,
    /// Two producers are given the same id.
    SharedProducerId,
    /// A leader of the quorum that restarts leads on in its term.
    LeadsOn,
    /// A controller whose disk was replaced comes back as the voter that it was.
    BlankVoter,
    /// The active controller does nothing about brokers that leave.
    IdleController,
    /// The leader of a group gives a partition to two members.
    CarelessAssignor,
    /// Committed offsets are deleted as other records are.
    ExpiringOffsets,
}

impl Planted {
    /// All of them.
    pub const ALL: [Planted; 16] = [
        Planted::LyingDisk,
        Planted::ForgetfulLog,
        Planted::LosingStore,
        Planted::RottingStore,
        Planted::BlankMirror,
        Planted::EarlyAnswer,
        Planted::EagerSweeper,
        Planted::IdleSweeper,
        Planted::ReusedSequence,
        Planted::UnmarkedRetry,
        Planted::SharedProducerId,
        Planted::LeadsOn,
        Planted::BlankVoter,
        Planted::IdleController,
        Planted::CarelessAssignor,
        Planted::ExpiringOffsets,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::LyingDisk => "lying-disk",
            Self::ForgetfulLog => "forgetful-log",
            Self::LosingStore => "losing-store",
            Self::RottingStore => "rotting-store",
            Self::BlankMirror => "blank-mirror",
            Self::EarlyAnswer => "early-answer",
            Self::EagerSweeper => "eager-sweeper",
            Self::IdleSweeper => "idle-sweeper",
            Self::ReusedSequence => "reused-sequence",
            Self::UnmarkedRetry => "unmarked-retry",
            Self::SharedProducerId => "shared-producer-id",
            Self::LeadsOn => "leads-on",
            Self::BlankVoter => "blank-voter",
            Self::IdleController => "idle-controller",
            Self::CarelessAssignor => "careless-assignor",
            Self::ExpiringOffsets => "expiring-offsets",
        }
    }
}

impl FromStr for Planted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|planted| planted.name() == text);
        found.ok_or_else(|| format!("'{text}' is none of {}", names()))
    }
}
