use std::fmt;

use bytes::Bytes;

use crate::Absence;

/// A record's place in the log: 0, 1, 2, … over all segments and restarts. Ends are exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is appended, and what recovery gives back: opaque bytes that cover offsets of one stream.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The stream.
    pub stream: u64,
    /// Its first offset.
    pub first_offset: u64,
    /// The offset after its last one.
    pub end_offset: u64,
    /// The bytes. They may be larger than a frame, up to [`Record::MAX_PAYLOAD`].
    pub payload: Bytes,
}

impl Record {
    /// The largest payload in bytes.
    pub const MAX_PAYLOAD: usize = 256 << 20;
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, first_offset, end_offset, payload } = self;
        write!(f, "Record(stream {stream}, {first_offset}..{end_offset}, {} bytes)", payload.len())
    }
}

/// What an earlier process left behind and nobody trimmed, in LSN order.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The segments, oldest first; LSNs go on growing from one to the next.
    pub segments: Vec<RecoveredSegment>,
    /// What is to be made of segments that are not among them.
    pub absence: Absence,
}

/// One segment's records. A recovered segment is never appended to.
#[derive(Clone, Debug)]
pub struct RecoveredSegment {
    /// The id it was started with.
    pub id: u64,
    /// Its records that were not trimmed. All that was acknowledged is there; some that was not may be.
    pub records: Vec<(Lsn, Record)>,
    /// How it ended.
    pub verdict: Verdict,
}

/// How recovery found the end of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Zeros or an older generation follow.
    Clean,
    /// Writes were in flight when the process or the machine stopped. Nothing of them was acknowledged.
    Torn,
    /// Damaged bytes follow, and no later frame tells more: the last write was torn, as far as this copy knows.
    DamagedLast,
    /// Damaged in the middle; the operator chose to go on without the rest ([`crate::WalConfig::accept_loss`]).
    LossAccepted,
}
