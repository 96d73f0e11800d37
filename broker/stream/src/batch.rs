use bytes::Bytes;

/// What a stream is made of: opaque bytes that cover the offsets `first..end`.
///
/// For a partition it is one or more whole Kafka record batches; nothing in this crate looks
/// inside. Cheap to clone: `payload` is a slice of the buffer it arrived in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Offset of the first record.
    pub first: u64,
    /// Offset after the last record; greater than `first`.
    pub end: u64,
    /// Records, for statistics and retention.
    pub records: u32,
    /// Largest timestamp of the records, milliseconds since the Unix epoch.
    pub max_timestamp_ms: i64,
    /// The bytes.
    pub payload: Bytes,
}

/// What the WAL does not keep of a batch and a recovery must find out from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Records in the payload.
    pub records: u32,
    /// Largest timestamp.
    pub max_timestamp_ms: i64,
}

/// Reads a payload's [`Description`]; `None` when the bytes are not what an append wrote.
/// Given by the layer above, which knows what a payload is.
pub type Describe = fn(&[u8]) -> Option<Description>;
