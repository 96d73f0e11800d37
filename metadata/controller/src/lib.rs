//! The controller's decisions: pure functions of (image, policy, now).
//!
//! Whoever runs the controller calls [`due`] on every new image and every few seconds, does each
//! [`Duty`], and asks again. Nothing is remembered between two calls: what was not done, or was done
//! and not recorded, is simply due again, so that a controller may die anywhere and another one go on.
//! [`place`] chooses the leaders of new partitions, [`evacuate`] those of partitions whose broker leaves, [`successors`] those
//! of partitions whose broker died, [`balance`] what moves so that each broker leads its share, [`mirrors`] the mirrors of a
//! WAL segment. [`Liveness`] is the active controller's memory of whom it heard, and says who is to be fenced; [`Rebalance`]
//! is its memory of how long nothing happened, and says what moves now. [`stop_hazards`] are the reasons not to stop a node.
//!
//! It does not know how duties are carried out: no raft, no object store, no clock, no tasks.
//!
//! ```text
//!   Image, now ──> due() ──> ExpirePrepared ────────────────────────────> propose
//!                       └──> DeleteObjects ──> delete from the store ──> propose RemoveObjects
//! ```

mod balance;
mod duties;
mod evacuation;
mod liveness;
mod mirrors;
mod placement;
mod rebalance;
mod stopping;

pub use balance::{MAX_MOVES_PER_ROUND, balance};
pub use duties::{Duty, MAX_DELETES_PER_ROUND, Policy, due, next_due_ms};
pub use evacuation::evacuate;
pub use liveness::Liveness;
pub use mirrors::{may_mirror, mirrors, successors};
pub use placement::{PlaceError, place};
pub use rebalance::Rebalance;
pub use stopping::{Hazard, Voters, stop_hazards};
