//! A whole node in one process, spoken to over a pipe as a Kafka client speaks: the quorum, the WAL's disk
//! and the object store are the simulated twins.

mod admin;
mod client;
mod connections;
mod groups;
mod node;
mod openings;
mod reassignments;
mod records;
mod versions;
