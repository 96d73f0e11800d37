//! A whole cluster in one thread, from one seed.
//!
//! Metadata quorum, heartbeats, brokers with their WAL, streams, partitions and group coordinators run as they are, on simulated
//! disks, network, store and clocks. From the seed follow the cluster's shape, what clients do, what goes wrong and when: the same seed gives
//! the same run, to the last line of its trace.
//!
//! ```text
//!   seed ──> Scenario ──> World: machines ── supervisor ──> Process (quorum, WAL, streams, partitions, groups)
//!                           │       disk, metadata, clock        │
//!                           ├── SimulatedNetwork <──────────────>┤
//!                           ├── SimulatedStore   <──────────────>┘
//!                           ├── nemesis: kills, cuts, outages, moves …
//!                           ├── operator: drains, joins, replaces, takes out for good
//!                           └── producers, consumers, groups ──> Checkers: one file per invariant ──> Trace, its hash
//! ```
//!
//! Way in: [`Scenario::new`] and [`run`]; the binary runs many seeds, each in a process of its own (`runner`).

mod checkers;
mod clients;
mod machine;
mod nemesis;
mod operator;
mod planted;
mod process;
mod scenario;
mod simulation;
mod supervisor;
mod trace;
mod world;

pub use planted::Planted;
pub use scenario::{Fault, Scenario, WalMode};
pub use simulation::{Outcome, run};
pub use trace::Trace;
