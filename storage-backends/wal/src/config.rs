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
    /// Where an operator accepts to lose what follows (`wal.accept.loss`), as the error of a refused start names it.
    pub accept_loss: Option<LossPoint>,
}

impl WalConfig {
    /// The least `capacity_bytes`.
    pub const MIN_CAPACITY: u64 = 4 << 20;
    /// The most `frames_in_flight`. A part of the format: recovery looks that many frames ahead.
    pub const MAX_IN_FLIGHT: usize = 8;
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            capacity_bytes: 1 << 30,
            idle_frame: Duration::from_millis(5),
            frames_in_flight: 4,
            zeroing_bytes_per_second: 256 << 20,
            accept_loss: None,
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
