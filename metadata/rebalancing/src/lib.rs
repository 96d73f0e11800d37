//! Who leads what when brokers come and go: moves that nobody asked for one by one, and nodes that leave.
//!
//! ```text
//!   a broker that stops: depart ──> StopBroker ──┐
//!   an operator: DrainBroker, Decommission ──────┤
//!                                                v
//!   the active controller: start ──> MovePartitions, until it leads nothing
//!                               └──> decommissioned: its vote is taken, UnregisterBroker, no learner any more
//! ```
//!
//! What shall move is decided by `aquifer-controller`; how a partition moves is the brokers' business.

mod active;
mod departure;

pub use active::{start, voters};
pub use departure::{depart, until_others_have_stopped};
