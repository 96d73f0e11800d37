//! Aquifer's own benchmark: the same load, by the same client, on Aquifer and on a real Apache Kafka on one
//! machine, in turns; medians, ratios of one run, and the page `docs/performance.md`. The same for clusters of both,
//! and for how long producers wait when nodes of them die or partitions move.
//!
//! ```text
//!   scenarios (name, layout, goals) ──> run: layouts × repeats × scenarios × systems, in turns
//!                                       │            │
//!       broker: nodes of Aquifer | of Kafka          load: librdkafka (feature `librdkafka`)
//!                                       │            │
//!                   meter: /proc ──> figures ──> medians ──> terminal | JSON | page with plots
//! ```
//!
//! It knows no crate of the product: what it measures is what a user of the binary gets. The way in is the
//! `aquifer-bench` program; `tests/bench/run` installs what it needs, builds and starts it.

#![cfg(feature = "librdkafka")]

mod broker;
mod cli;
mod error;
mod figures;
mod layout;
mod load;
mod machine;
mod measure;
mod meter;
mod outcome;
mod plot;
mod report;
mod run;
mod scenario;
mod station;
mod table;

pub use broker::{Broker, Sizes, System};
pub use cli::main;
pub use error::BenchError;
pub use figures::{Figures, Metric};
pub use layout::Layout;
pub use machine::Machine;
pub use outcome::{Conditions, Outcome, Row};
pub use scenario::{Curve, Event, Goal, Produce, Scenario, Work};
pub use table::{GROUPS, SCENARIOS};
