/// What a read asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRequest {
    /// The first batch returned contains this offset.
    pub offset: u64,
    /// Batches that end beyond this offset are not returned (a last stable offset); the committed end always limits.
    pub limit: u64,
    /// Payload bytes wanted at most.
    pub max_bytes: usize,
    /// Return the first batch even when it is larger than `max_bytes`, so that a reader always gets on.
    pub min_one_batch: bool,
}

impl ReadRequest {
    /// Up to `max_bytes` from `offset`, at least one batch, up to the committed end.
    pub fn new(offset: u64, max_bytes: usize) -> Self {
        ReadRequest { offset, limit: u64::MAX, max_bytes, min_one_batch: true }
    }
}

/// What a committed object holds of a stream, for retention and time look-ups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRange {
    /// First offset.
    pub first: u64,
    /// Offset after the last one.
    pub end: u64,
    /// Records.
    pub records: u64,
    /// Bytes of the batches.
    pub bytes: u64,
    /// Largest timestamp.
    pub max_timestamp_ms: i64,
}

/// How to search a stream by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeQuery {
    /// The first batch whose largest timestamp is at least this.
    AtOrAfter(i64),
    /// The first of the batches with the largest timestamp of all.
    Largest,
}
