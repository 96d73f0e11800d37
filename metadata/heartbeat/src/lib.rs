//! Who of the brokers lives: heartbeats, probes and fences.
//!
//! Each broker runs a [`Heart`]; each controller runs [`start_controller`], which decides only while its member leads
//! the metadata quorum. [`Port`] is the internal port they share with everything else between the nodes of a cluster.
//!
//! ```text
//!   Heart ──> HEARTBEAT ──> active controller: Liveness ── silent for a session ──> FenceBroker
//!                                  ^                                                    ^
//!   Peers::gone ── its connections broke ──> probe: refused, or another process ────────┘
//! ```
//!
//! It does not know what a fence means for partitions, nor how a port is opened.

mod active;
mod port;

pub use active::{HEARTBEAT, Heart, start_controller};
pub use port::{Port, address, instance};
