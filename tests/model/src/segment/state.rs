use super::{MOST_COPIES, RECOVERIES};

/// What the quorum knows of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meta {
    /// Its owner writes.
    Open,
    /// The owner was fenced, or registered anew, by the entry of this number.
    Sealing(u8),
    /// It ends here.
    Closed(u8),
}

/// Whether a copy takes frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// No frame came yet: the first one opens it.
    Absent,
    /// It takes the next frame.
    Open,
    /// Its process restarted: no copy goes on.
    Shut,
}

/// One copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Copy {
    /// Its process runs.
    pub up: bool,
    /// Whether it takes frames.
    pub standing: Standing,
    /// Records received, a bit for each.
    pub received: u8,
    /// Records synced, a bit for each.
    pub synced: u8,
    /// The newest recovery that it is sealed for; 0: none.
    pub sealed: u8,
    /// Its disk is gone or was replaced.
    pub lost: bool,
    /// This record rots on the disk; seen when the process restarts and reads it.
    pub rot: Option<u8>,
    /// The process restarted since the segment began: it answers from its disk.
    pub reread: bool,
    /// What its owner heard: a whole prefix.
    pub acknowledged: u8,
    /// History: the longest prefix that ever was synced.
    pub reached: u8,
}

impl Copy {
    /// Records of its synced prefix.
    pub(super) fn prefix(&self) -> u8 {
        prefix(self.synced)
    }
}

/// The length of the prefix without a gap.
pub(super) fn prefix(records: u8) -> u8 {
    records.trailing_ones() as u8
}

/// What a recovery heard from a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The end that it told.
    pub said: u8,
    /// It may have been longer: its last bytes were damaged.
    pub doubtful: bool,
    /// History: what it had synced until then.
    pub had: u8,
}

/// How far the owner's roll is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Roll {
    /// It does not want one.
    Steady,
    /// The quorum was asked to close here, and may take it up at any time from now on.
    Asked(u8),
}

/// The segment, all of its copies, and who recovers it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// In the quorum.
    pub meta: Meta,
    /// History: the end that was decided first.
    pub decided: Option<u8>,
    /// The owner's process runs. It may be fenced and not know it.
    pub owner_runs: bool,
    /// Nothing more is acknowledged.
    pub frozen: bool,
    /// The owner's roll.
    pub roll: Roll,
    /// Records that the owner wrote.
    pub written: u8,
    /// Records acknowledged to producers and shown to consumers. Never goes back.
    pub commit: u8,
    /// The copies; the first is the owner's own.
    pub copies: [Copy; MOST_COPIES],
    /// Recoveries begun.
    pub recoveries: u8,
    /// What each recovery heard from each copy.
    pub answers: [[Option<Answer>; MOST_COPIES]; RECOVERIES],
    /// Deaths so far.
    pub crashes: u8,
    /// Disks lost so far.
    pub losses: u8,
    /// Records rotten so far.
    pub rots: u8,
}

impl Segment {
    /// A segment that was just opened.
    pub fn opened() -> Self {
        let copy = Copy {
            up: true,
            standing: Standing::Absent,
            received: 0,
            synced: 0,
            sealed: 0,
            lost: false,
            rot: None,
            reread: false,
            acknowledged: 0,
            reached: 0,
        };
        Self {
            meta: Meta::Open,
            decided: None,
            owner_runs: true,
            frozen: false,
            roll: Roll::Steady,
            written: 0,
            commit: 0,
            copies: [copy; MOST_COPIES],
            recoveries: 0,
            answers: [[None; MOST_COPIES]; RECOVERIES],
            crashes: 0,
            losses: 0,
            rots: 0,
        }
    }
}
