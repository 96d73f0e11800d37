use std::fmt;
use std::path::PathBuf;

/// How a write is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncStrategy {
    /// `RWF_DSYNC` on the write itself: best where the device has FUA or no volatile cache.
    Dsync,
    /// A write with a linked `fdatasync`: best where a flush follows anyway.
    LinkedSync,
    /// Writes, then one `fdatasync` for all that were waiting (the thread engine).
    BatchedSync,
    /// The simulated disk.
    Simulated,
}

impl fmt::Display for SyncStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dsync => "RWF_DSYNC",
            Self::LinkedSync => "write with linked fdatasync",
            Self::BatchedSync => "batched fdatasync",
            Self::Simulated => "simulated",
        })
    }
}

/// A device as it was found at start.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// The directory.
    pub path: PathBuf,
    /// `io_uring`, `threads` or `simulated`.
    pub engine: &'static str,
    /// How a write is made durable.
    pub sync: SyncStrategy,
    /// Whether the page cache is bypassed.
    pub direct: bool,
    /// The filesystem's type, as `statfs` knows it.
    pub filesystem: String,
    /// What sysfs tells about the block device; `None` where there is none to ask (overlayfs, tmpfs, btrfs).
    pub block_device: Option<BlockDevice>,
    /// Median time of a durable 4 KiB write at start, in microseconds.
    pub commit_us: Option<u64>,
    /// A class an operator recognises, from the two above.
    pub class: &'static str,
}

/// The queue attributes of a block device, from `/sys/dev/block`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDevice {
    /// The disk's name, e.g. `nvme0n1`.
    pub name: String,
    /// Logical sector size in bytes.
    pub sector: u64,
    /// Whether the device has a volatile write cache that must be flushed.
    pub write_back: bool,
    /// Whether a single write can be forced through that cache.
    pub fua: bool,
    /// Whether it spins.
    pub rotational: bool,
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} engine, {}, {}", self.path.display(), self.engine, self.sync, self.filesystem)?;
        match &self.block_device {
            Some(device) => write!(
                f,
                " on {} (sector {}, {} cache{}{})",
                device.name,
                device.sector,
                if device.write_back { "write-back" } else { "write-through" },
                if device.fua { ", FUA" } else { "" },
                if device.rotational { ", rotational" } else { "" },
            )?,
            None => write!(f, " on a device that sysfs does not show")?,
        }
        if let Some(commit_us) = self.commit_us {
            write!(f, ", a durable 4 KiB write takes {commit_us} us")?;
        }
        write!(f, ": {}", self.class)
    }
}
