//! One partition from leader to leader: segments one after the other, objects, trims, takeovers and hand-overs.
//!
//! ```text
//!   owner ── records ──> segment 1 ── roll ──> segment 2 …      each on its own disk and on one mirror, both needed
//!     │ PUT                  └────── left by a dead process ──────┐
//!     v                                                           v
//!   object ── CommitObject ──> metadata <── TakeOver ── recoverers, two at once
//!                                 ^── HandOver ── owner, to the heir
//! ```
//!
//! One stream, whose offsets are the LSNs. What is asked of the metadata may take effect at any later time, or never; then the
//! owner does not know, and asks the same again. Only processes die here; copies that are damaged or lost are in
//! [`crate::segment`].

mod bugs;
mod metadata;
mod owner;
mod recoverer;
mod rules;
mod runs;
mod state;

use stateright::{Model, Property};

pub use self::bugs::Bug;
pub use self::runs::{holding, planted};
pub use self::state::{Chain, HandOver, Leader, Meta, Object, Owner, Range, Segment, Tail};

/// Copies of each segment; both are needed for an acknowledgement.
pub const COPIES: usize = 2;
/// Who recovers at the same time.
pub const RECOVERERS: usize = 2;

/// What may happen, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainModel {
    /// Records that producers send.
    pub records: u8,
    /// Rolls.
    pub rolls: u8,
    /// Times that the owner is taken for dead, whether or not it is.
    pub fences: u8,
    /// Times that its process is started anew.
    pub restarts: u8,
    /// Times that an operator asks for a move to the heir; each may be withdrawn.
    pub moves: u8,
    /// The rule that is off.
    pub bug: Option<Bug>,
}

impl ChainModel {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }
}

/// One step of anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A producer sends a record; the owner takes it.
    Append,
    /// This copy of the present segment holds one record more.
    Write(usize),
    /// The owner moves its high watermark; producers and consumers see it.
    Commit,
    /// The owner puts what is committed and not offloaded into the store, and asks the metadata to commit it.
    Put,
    /// The metadata takes up the owner's CommitObject.
    Offload,
    /// The owner hears what became of its CommitObject.
    Offloaded,
    /// The owner trims its WAL.
    Trim,
    /// The owner freezes its segment and asks for the next one.
    Roll,
    /// The metadata takes up the RollSegment.
    Rolled,
    /// The owner goes on in the next segment.
    Resume,
    /// An operator asks for a move.
    Move,
    /// An operator withdraws it.
    Withdraw,
    /// The owner stops admitting, to hand the partition over.
    Hold,
    /// The owner asks for the HandOver.
    AskHandOver,
    /// The owner gives the hand-over up for now, and admits again.
    GiveUp,
    /// The metadata takes up the HandOver.
    HandOver,
    /// The heir appends, acknowledges and offloads a record.
    HeirAppends,
    /// The metadata fences the owner.
    Fence,
    /// The owner's process dies.
    Die,
    /// A new process of the owner's broker registers.
    Register,
    /// It serves: nothing is left of the earlier one.
    Serve,
    /// This recoverer seals and reads this copy of each segment that was left.
    Find(usize, usize),
    /// The metadata takes up the TakeOver of this recoverer.
    TakeOver(usize),
}

impl Model for ChainModel {
    type State = Chain;
    type Action = Action;

    fn init_states(&self) -> Vec<Chain> {
        vec![Chain::registered()]
    }

    fn actions(&self, state: &Chain, actions: &mut Vec<Action>) {
        owner::possible(self, state, actions);
        metadata::possible(self, state, actions);
        recoverer::possible(state, actions);
    }

    fn next_state(&self, state: &Chain, action: Action) -> Option<Chain> {
        let mut next = state.clone();
        match action {
            Action::Fence => metadata::fence(self, &mut next),
            Action::Move => metadata::start_move(&mut next),
            Action::Withdraw => next.moving = 0,
            Action::Register => metadata::register(&mut next),
            Action::Offload => metadata::offload(self, &mut next),
            Action::Rolled => metadata::roll(self, &mut next),
            Action::HandOver => metadata::hand_over(self, &mut next),
            Action::HeirAppends => metadata::heir_appends(&mut next),
            Action::TakeOver(by) => metadata::take_over(self, &mut next, by),
            Action::Find(by, copy) => recoverer::find(self, &mut next, by, copy),
            action => owner::step(self, &mut next, action),
        }
        Some(next).filter(|next| next != state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        rules::properties()
    }
}
