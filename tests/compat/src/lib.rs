//! Real Kafka clients against the real `aquifer` binary.
//!
//! This crate is a harness for its own tests. It knows how to start, stop, kill and restart a node as an
//! operator does (binary, properties file, signals, HTTP port), and how to run kcat, Python scripts
//! and Kafka's Java tools. It does not know any crate of the product: what a test sees is what a
//! user sees.
//!
//! ```text
//!  tests/*.rs ──> Node ──────> aquifer serve --config … (or, AQUIFER_COMPAT_TARGET=kafka, Apache Kafka)
//!      ├───────> Cluster ──> aquifer quickstart --nodes …
//!      │                            ▲ Kafka protocol, /readyz, signals
//!      ├───────> Script ───> scripts/*.py (confluent-kafka, kafka-python, aiokafka) and kcat
//!      └───────> JavaTools ─> scripts/Tools.java: many tools in one JVM
//! ```
//!
//! The way in is [`Node::start`]. With `AQUIFER_COMPAT_TARGET=kafka` the same tests run against a real
//! Apache Kafka: what fails there is a fault of the test.

mod artifacts;
mod cluster;
mod java;
mod node;
mod script;
mod target;

pub use artifacts::{aquifer, script};
pub use cluster::Cluster;
pub use java::{JavaTools, ToolOutput};
pub use node::{LIMIT, Node, NodeFailed, http_get};
pub use script::{Script, kcat, run_script};
pub use target::Target;
