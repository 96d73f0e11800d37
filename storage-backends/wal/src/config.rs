use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Who writes here. Every frame carries it, so that a disk from elsewhere is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A hash of the cluster's id.
    pub cluster: u64,
    /// The disk's uuid, kept by the node beside its own id, so that a replaced disk is noticed.
    pub disk: u128,
    /// The node's id.
    pub owner: u32,
}

/// The settings of a WAL, validated by their owner.
#[derive(Clone, Debug)]
pub struct WalConfig {
    /// What all files together may take, in bytes (`wal.size`). At least [`WalConfig::MIN_CAPACITY`].
    pub capacity_bytes: u64,
    /// After how much idleness an empty frame settles that the last one was written whole.
    pub idle_frame: Duration,
    /// Frames in flight at most, 1 to [`WalConfig::MAX_IN_FLIGHT`].
    pub frames_in_flight: usize,
    /// How fast new files are zeroed behind a running node, in bytes per second. A writer that waits for a file
    /// lifts the bound.
    pub zeroing_bytes_per_second: u64,
    /// Size of a file of the ring, whole blocks; `None`: a sixteenth of the capacity, 1 to 64 MiB.
    pub file_bytes: Option<u64>,
    /// Where an operator accepts to lose what follows (`wal.accept.loss`), as the error of a refused start names it.
    pub accept_loss: Option<LossPoint>,
    /// Nothing that an earlier process left is needed: damage ends what is recovered, and never refuses a start.
    pub disposable: bool,
}

impl WalConfig {
    /// The least `capacity_bytes`.
    pub const MIN_CAPACITY: u64 = 4 << 20;
    /// The most `frames_in_flight`. A part of the format: recovery looks that many frames ahead.
    pub const MAX_IN_FLIGHT: usize = 8;
    /// Files that the capacity holds at least: one is written, one is about to be, the others wait to be trimmed.
    const MIN_FILES: u64 = 4;

    /// The size of a file of the ring.
    pub(crate) fn ring_file_bytes(&self) -> u64 {
        let block = aquifer_disk::BLOCK as u64;
        let bytes = self.file_bytes.unwrap_or((self.capacity_bytes / 16).clamp(1 << 20, 64 << 20));
        (bytes.min(self.capacity_bytes / Self::MIN_FILES) / block * block).max(block)
    }
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            capacity_bytes: 1 << 30,
            idle_frame: Duration::from_millis(5),
            frames_in_flight: 4,
            zeroing_bytes_per_second: 256 << 20,
            file_bytes: None,
            accept_loss: None,
            disposable: false,
        }
    }
}

/// A frame of a segment, written `SEGMENT:SEQUENCE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossPoint {
    /// The segment's id.
    pub segment: u64,
    /// The frame's number in it.
    pub sequence: u64,
}

impl fmt::Display for LossPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.sequence)
    }
}

impl FromStr for LossPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (segment, sequence) = text.split_once(':')?;
            Some(Self { segment: segment.parse().ok()?, sequence: sequence.parse().ok()? })
        };
        parse().ok_or_else(|| {
            format!("'{text}' is not SEGMENT:SEQUENCE, two numbers as the refused start printed them")
        })
    }
}
