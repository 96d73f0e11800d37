//! Raft's log: one adaptor to openraft's contract over two backends, sled and memory.
//!
//! ```text
//!   openraft ── append(entries, callback) ──> RaftLog ── write (visible, ordered) ──> LogBackend
//!                                                │                                      ▲
//!                                                └─ callbacks ─> sync task ── sync ─────┘
//!                                  one sync answers every callback that waits when it begins
//! ```

mod backend;
mod entry;
mod memory;
mod sled;
mod store;
mod sync;

pub(crate) use backend::LogBackend;
pub(crate) use entry::{EntryError, FORMAT};
pub use memory::MemoryStorage;
pub(crate) use sled::SledLog;
pub(crate) use store::RaftLog;

#[cfg(test)]
mod history;
#[cfg(test)]
mod tests;
