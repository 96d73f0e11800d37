//! Whole streams on a simulated disk, a store in memory and a quorum in memory.

mod faults;

pub(crate) use faults::{Faults, Stage};
