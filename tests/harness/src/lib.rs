//! Starts, stops, kills and restarts real nodes, and runs the scripts that load and judge them.
//!
//! A node is run as an operator does: binary, properties file, signals, HTTP port. No crate of the product is known
//! here: what a test sees is what a user sees.
//!
//! ```text
//!  tests/*.rs ──> Node ──────> aquifer serve --config … (or, AQUIFER_COMPAT_TARGET=kafka, Apache Kafka)
//!      ├───────> Cluster ──> aquifer quickstart --nodes …
//!      │                            ▲ Kafka protocol, /readyz, /metrics, signals
//!      └───────> Script ───> scripts/*.py of the test's own crate (confluent-kafka), and kcat
//! ```
//!
//! The way in is [`Node::start`].

mod artifacts;
mod cluster;
mod namespaces;
mod node;
mod script;
mod target;

pub use artifacts::{aquifer, kafka_classes, log_configuration, script};
pub use cluster::Cluster;
pub use namespaces::in_own_namespaces;
pub use node::{LIMIT, Node, NodeFailed, http_get, http_get_from};
pub use script::{Script, kcat, python, run_script};
pub use target::Target;
