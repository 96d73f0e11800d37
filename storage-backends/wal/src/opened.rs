use std::sync::Arc;

use aquifer_disk::Disk;
use aquifer_runtime::TaskGroup;

use crate::{Identity, OpenError, Recovered, Wal, WalConfig};

/// A WAL whose past was read and whose future has not begun.
#[derive(Debug)]
pub struct Opened {
    /// What an earlier process left. Take it out with [`std::mem::take`] before starting.
    pub recovered: Recovered,
    /// Whether the directory was blank: a new node, or a disk that was replaced or wiped.
    pub blank: bool,
}

/// Opens a WAL's directory and scans all that was not trimmed.
///
/// A blank directory is made ours. Space for `config.capacity_bytes` is reserved at once, so that a disk that is too
/// small is told now ([`aquifer_disk::DiskError::NoSpace`]) and not in the middle of a write.
pub async fn open(config: WalConfig, disk: Arc<dyn Disk>, identity: Identity) -> Result<Opened, OpenError> {
    let _ = (config, disk, identity);
    todo!("lands next")
}

impl Opened {
    /// Begins a segment and hands out the log. Recovered records stay on disk until they are trimmed.
    ///
    /// `segment` is an id that the metadata quorum gave out for this (a raft log index, so it grows). `sink` is called on
    /// the writer's task with the tags of records that became durable, in LSN order and before anybody who waits
    /// in [`Wal::committed`] wakes; it must be quick and should drain the vector.
    ///
    /// The writer runs in `tasks` and ends, after writing what was appended, when the group stops or at [`Wal::close`].
    pub async fn start<T: Send + 'static>(
        self,
        segment: u64,
        sink: impl FnMut(&mut Vec<T>) + Send + 'static,
        tasks: &TaskGroup,
    ) -> Result<Wal<T>, OpenError> {
        let _ = (segment, sink, tasks);
        todo!("lands next")
    }
}
