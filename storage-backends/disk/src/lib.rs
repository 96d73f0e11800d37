//! Block I/O on one directory of one device: aligned reads and durable writes, several at a time.
//!
//! This crate knows nothing of what is written. It is the only one with `unsafe`. Its way in is [`open`] for a real
//! directory, and [`SimulatedDisk`] for a test.
//!
//! ```text
//!            Disk (directory) ── BlockFile::read / write ──> Pending (a future)
//!              ├─ io_uring engine   O_DIRECT, one thread with a ring, several operations in flight
//!              ├─ threads engine    pread/pwrite and one fdatasync per batch; must be asked for
//!              └─ simulated engine  from a seed: lost caches, torn and reordered writes, errors, rot, crash
//! ```

mod buffer;
mod device;
mod directory;
mod disk;
mod engine;
mod error;
mod info;
mod mailbox;
mod open;
mod probe;
mod sim;
mod sys;
mod threads;
mod uring;

pub use buffer::{AlignedBuf, BufferPool};
pub use disk::{BlockFile, Disk, FileEntry, Pending};
pub use error::{DeviceFailure, DiskError};
pub use info::{BlockDevice, DeviceInfo, SyncStrategy};
pub use open::{DiskOptions, Engine, open};
pub use sim::{SimulatedDisk, SimulatedFaults};

/// The unit of all positions and lengths, in bytes: no common device has larger sectors, and no page is smaller.
pub const BLOCK: usize = 4096;
