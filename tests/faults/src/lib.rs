//! What a node does under fire, judged by a history of what was acknowledged.
//!
//! Each test makes its faults with real means (signals, mounts, a proxy in front of a real store, a changed clock),
//! while clients write down what they were told; afterwards everything is read back and compared.
//!
//! ```text
//!   Load ── scripts/produce.py ──> node under fire ──> scripts/read.py
//!             │ "acknowledged"                              │ "there"
//!             └──────────────> History::check <─────────────┘
//! ```
//!
//! A cluster has a network of its own, whose hosts are namespaces: [`HostCluster`], [`Network`], [`ClusterFault`].
//!
//! The short form runs in CI. `AQUIFER_FAULTS=full` asks for the full one: `tests/run faults --full`.

mod cluster_fault;
mod disk;
mod faulty;
mod history;
mod host_cluster;
mod hostile;
mod load;
mod network;
mod scale;
mod steady;
mod write_log;

pub use cluster_fault::{ClusterFault, Faults};
pub use disk::{Failing, FailingDisk, SmallDisk};
pub use faulty::{FalseClock, away, memory_mib, settled};
pub use history::{Expected, History, Kept, Loss};
pub use host_cluster::{HostCluster, Role};
pub use hostile::{Hostile, fetch, framed};
pub use load::{Load, read};
pub use network::{Network, Place};
pub use scale::{Scale, asked, measured, rounds};
pub use steady::{Steady, Times};
pub use write_log::WriteLog;
