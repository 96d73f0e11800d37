//! The machine's edge that is not a disk, a network or a store: time, randomness and tasks.
//!
//! Everything above takes these as values, so that the simulator can own them: a run is then a
//! function of its seed. This crate knows nothing of what runs on it.
//!
//! ```text
//!   Clock  ── wall_ms() ──>  records, retention, retries in the metadata
//!   Random ── u64, uuid ──>  ids, jitter
//!   TaskGroup ── spawn(name, rule, future) ──> joined at shutdown, first failure stops the node
//!   blocking ── work ──> a thread of tokio's pool; in place where there is but one thread
//!   Pool ── run(future, moves) ──> other threads, from the moment on at which it is bulky
//! ```
//!
//! Monotonic time is tokio's own (`tokio::time`), which a test pauses and advances.

mod blocking;
mod clock;
mod pool;
mod random;
mod tasks;

pub use blocking::{Unfinished, blocking};
pub use clock::{Clock, SimulatedClock};
pub use pool::Pool;
pub use random::Random;
pub use tasks::{Failure, OnEnd, TaskGroup};
pub use tokio_util::sync::CancellationToken;
