use bytes::Bytes;

use super::codec::{Reader, SchemaError, Writer};

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OffsetCommitValue {
    pub(crate) offset: i64,
    /// -1 if unknown.
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    pub(crate) commit_timestamp_ms: i64,
    /// Set by clients that ask for their own retention; only version 1 has it.
    pub(crate) expire_timestamp_ms: Option<i64>,
}

impl OffsetCommitValue {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::default();
        // Version 1 is the only one with an expiry, version 3 the first with a leader epoch.
        out.int16(if self.expire_timestamp_ms.is_some() { 1 } else { 3 });
        out.int64(self.offset);
        if self.expire_timestamp_ms.is_none() {
            out.int32(self.leader_epoch);
        }
        out.string(&self.metadata);
        out.int64(self.commit_timestamp_ms);
        if let Some(expire_timestamp_ms) = self.expire_timestamp_ms {
            out.int64(expire_timestamp_ms);
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, SchemaError> {
        let mut reader = Reader::new("OffsetCommitValue", bytes);
        let version = reader.int16()?;
        if !(0..=4).contains(&version) {
            return Err(reader.unknown_version(version));
        }
        let offset = reader.int64()?;
        let leader_epoch = if version >= 3 { reader.int32()? } else { -1 };
        let metadata = if version >= 4 { reader.compact_string()? } else { reader.string()? };
        let commit_timestamp_ms = reader.int64()?;
        let expire_timestamp_ms =
            if version == 1 { Some(reader.int64()?).filter(|at| *at != -1) } else { None };
        if version >= 4 {
            reader.skip_tagged_fields()?;
        }
        Ok(Self { offset, leader_epoch, metadata, commit_timestamp_ms, expire_timestamp_ms })
    }
}
