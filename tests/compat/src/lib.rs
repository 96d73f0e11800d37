//! Real Kafka clients against the real `aquifer` binary.
//!
//! Nodes and scripts are `aquifer-harness`'s; what is added here are Kafka's own Java tools, many of them in one JVM.
//!
//! The way in is [`Node::start`]. With `AQUIFER_COMPAT_TARGET=kafka` the same tests run against a real
//! Apache Kafka: what fails there is a fault of the test.

mod java;

pub use aquifer_harness::{
    Cluster, LIMIT, Node, NodeFailed, Script, Target, aquifer, http_get, kcat, python, run_script, script,
};
pub use java::{JavaTools, ToolOutput};
