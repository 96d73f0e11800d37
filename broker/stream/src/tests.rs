//! Whole streams on a simulated disk, a store and a quorum in memory; a node dies as often as a test likes.

mod basics;
mod damage;
mod durable_in_store;
mod faults;
mod history;
mod kills;
mod mirrored;
mod pressure;
mod replay;
mod sweeping;
mod takeover;
mod world;

pub(crate) use faults::{Faults, Stage};
