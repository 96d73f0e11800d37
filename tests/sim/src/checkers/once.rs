use std::collections::BTreeMap;

use super::{Checker, Observation};
use crate::clients::RecordId;

/// A record that an idempotent producer sent, however often, is in the log at one offset.
#[derive(Debug, Default)]
pub(crate) struct EachRecordIsThereOnce {
    seen: BTreeMap<(i32, RecordId), i64>,
}

impl Checker for EachRecordIsThereOnce {
    fn name(&self) -> &'static str {
        "each record is there once"
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), String> {
        let Observation::Read { partition, records, .. } = *observation else { return Ok(()) };
        for &(offset, record) in records {
            match self.seen.insert((partition, record), offset) {
                Some(other) if other != offset => {
                    return Err(format!("partition {partition}: {record} is at {other} and at {offset}"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
