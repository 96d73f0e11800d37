//! placeholder
/// A disk in memory.
#[derive(Clone, Debug)]
pub struct SimulatedDisk;
/// Faults.
#[derive(Clone, Debug, Default)]
pub struct SimulatedFaults;
