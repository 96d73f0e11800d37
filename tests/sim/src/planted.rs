//! Bugs planted on purpose, to see that the checkers find them.

use std::str::FromStr;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// The disk acknowledges what a power cut takes away.
    LyingDisk,
    /// The store loses objects that it has acknowledged.
    LosingStore,
    /// The quorum's log forgets what it has synced when the power is cut.
    ForgetfulLog,
    /// A producer uses a sequence again for other records.
    ReusedSequence,
    /// A producer sends again without a sequence what it had no answer for.
    UnmarkedRetry,
}

impl Planted {
    /// All of them.
    pub const ALL: [Planted; 5] = [
        Planted::LyingDisk,
        Planted::LosingStore,
        Planted::ForgetfulLog,
        Planted::ReusedSequence,
        Planted::UnmarkedRetry,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::LyingDisk => "lying-disk",
            Self::LosingStore => "losing-store",
            Self::ForgetfulLog => "forgetful-log",
            Self::ReusedSequence => "reused-sequence",
            Self::UnmarkedRetry => "unmarked-retry",
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
