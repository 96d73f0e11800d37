//! Partitions on a whole node below the sockets: simulated disk, store in memory, a quorum of one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod acks;
mod append;
mod batches;
mod deaths;
mod durable_in_store;
mod histories;
mod idle;
mod long_polls;
mod machine;
mod moves;
mod offsets;
mod registry;
mod restarts;
mod trims;
