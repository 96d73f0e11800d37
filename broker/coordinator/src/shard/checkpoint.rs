//! The live state as records, slice by slice.

use std::ops::Bound;

use super::Shard;
use crate::{event::LogRecord, group::group_key, offsets::offset_record};

/// Some groups' records, and where to go on.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) records: Vec<LogRecord>,
    /// The last group in the slice; `None` if no group is left.
    pub(crate) last_group: Option<String>,
}

impl Shard {
    /// How many records the live state needs.
    pub(crate) fn live_records(&self) -> usize {
        let needed = |group: &super::Group| group.offsets.len() + usize::from(group.state.written.is_some());
        self.groups.values().map(needed).sum()
    }

    /// The records of whole groups after `after`, until `max_bytes` are reached; one group at least.
    pub(crate) fn slice(&self, after: Option<&str>, max_bytes: usize) -> Slice {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut slice = Slice { records: Vec::new(), last_group: None };
        let mut bytes = 0;
        for (group_id, group) in self.groups.range::<str, _>((from, Bound::Unbounded)) {
            if bytes >= max_bytes {
                break;
            }
            let first = slice.records.len();
            if let Some(value) = &group.state.written {
                slice.records.push(LogRecord { key: group_key(group_id), value: Some(value.clone()) });
            }
            let offsets = group.offsets.iter();
            slice
                .records
                .extend(offsets.map(|(partition, value)| offset_record(group_id, &partition, Some(value))));
            bytes += slice.records[first..].iter().map(LogRecord::size).sum::<usize>();
            slice.last_group = Some(group_id.clone());
        }
        slice
    }
}

impl LogRecord {
    /// About what it takes in a batch.
    pub(crate) fn size(&self) -> usize {
        /// Lengths and deltas of a record, at most.
        const OVERHEAD: usize = 24;
        self.key.len() + self.value.as_ref().map_or(0, bytes::Bytes::len) + OVERHEAD
    }
}
