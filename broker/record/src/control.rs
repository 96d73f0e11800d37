//! Control records: transaction markers and what KRaft writes.

use crate::record::Record;

/// The kind of a control record, from its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlType {
    /// The transaction was aborted.
    Abort,
    /// The transaction was committed.
    Commit,
    /// Kinds that only Kafka's own metadata log has, and those of the future.
    Other(i16),
}

/// A control record, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlRecord {
    /// What it says.
    pub kind: ControlType,
    /// Epoch of the transaction coordinator that wrote a marker; -1 for other kinds.
    pub coordinator_epoch: i32,
}

impl ControlRecord {
    /// Decodes a record of a control batch; `None` when it is not one.
    pub fn parse(record: &Record) -> Option<Self> {
        // Key: version, type. Value of a marker: version, coordinator epoch. Later versions only append fields.
        let key = record.key.as_ref()?.first_chunk::<4>()?;
        let kind = match i16::from_be_bytes([key[2], key[3]]) {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            other => return Some(Self { kind: ControlType::Other(other), coordinator_epoch: -1 }),
        };
        let value = record.value.as_ref()?.first_chunk::<6>()?;
        let coordinator_epoch = i32::from_be_bytes([value[2], value[3], value[4], value[5]]);
        Some(Self { kind, coordinator_epoch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_commit_marker_is_recognised() {
        let record = Record {
            offset: 4,
            timestamp_ms: 0,
            key: Some(Bytes::from_static(&[0, 0, 0, 1])),
            value: Some(Bytes::from_static(&[0, 0, 0, 0, 0, 9])),
            headers: vec![],
        };
        let marker = ControlRecord::parse(&record);
        assert_eq!(marker, Some(ControlRecord { kind: ControlType::Commit, coordinator_epoch: 9 }));
        assert_eq!(ControlRecord::parse(&Record { key: None, ..record }), None);
    }
}
