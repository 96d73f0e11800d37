//! One mirrored segment, from its first frame to its decided end.
//!
//! ```text
//!   owner ── frames, in order ──> copy 0 (its own disk), copies 1.. (mirrors)
//!     │ commit: on `needed` copies            │ sealed for recovery r, then answer: final
//!     v                                       v
//!   acknowledged                       recovery r ── close(end, sealed by r) ──> quorum <── roll ── owner
//! ```

mod bugs;
mod rules;
mod runs;
mod state;
mod step;

use stateright::{Model, Property};

pub use self::bugs::Bug;
pub use self::runs::{holding, limit_of_a_damaged_last_frame, planted};
pub use self::state::{Answer, Copy, Meta, Roll, Segment, Standing};
pub use self::step::Action;

/// Most copies of a segment.
pub const MOST_COPIES: usize = 3;
/// Recoveries that begin, one after the other; all of them may go on at once.
pub const RECOVERIES: usize = 2;

/// What may happen to one segment, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentModel {
    /// Copies, the owner's included (W).
    pub copies: usize,
    /// Copies that must hold a record before it is acknowledged (A).
    pub needed: usize,
    /// Records that the owner writes.
    pub records: u8,
    /// Processes that die, the owner's included. Mirrors may come back.
    pub crashes: u8,
    /// Disks that are lost or replaced.
    pub losses: u8,
    /// Records that rot on a disk.
    pub rots: u8,
    /// Whether the last frame of a copy may be damaged before the empty one that follows it after a moment's idleness: then
    /// it looks like one that was torn.
    pub last_frame_rots: bool,
    /// Whether the owner may roll.
    pub rolls: bool,
    /// The rule that is off.
    pub bug: Option<Bug>,
}

impl SegmentModel {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Trustworthy answers that tell an end: as `aquifer_wal::choose` counts them.
    fn answers(&self) -> usize {
        if self.has(Bug::TooFewAnswers) {
            return (self.copies - self.needed).max(1);
        }
        self.copies - self.needed + 1
    }
}

impl Model for SegmentModel {
    type State = Segment;
    type Action = Action;

    fn init_states(&self) -> Vec<Segment> {
        vec![Segment::opened()]
    }

    fn actions(&self, state: &Segment, actions: &mut Vec<Action>) {
        step::possible(self, state, actions);
    }

    fn next_state(&self, state: &Segment, action: Action) -> Option<Segment> {
        step::after(self, state, action).filter(|next| next != state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        rules::properties()
    }
}
