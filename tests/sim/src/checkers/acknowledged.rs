use std::collections::BTreeMap;

use super::{Checker, Observation};
use crate::clients::RecordId;

/// What was acknowledged is in the log where it was said to be, for ever: nobody reads anything else there, and the log does
/// not end before it. The same holds for what was read once. At the end every log is read without a hole.
#[derive(Debug, Default)]
pub(crate) struct NothingAcknowledgedIsLost {
    logs: BTreeMap<i32, Log>,
}

#[derive(Debug, Default)]
struct Log {
    /// What is known to be at an offset.
    known: BTreeMap<i64, RecordId>,
}

impl Log {
    fn learn(&mut self, offset: i64, record: RecordId) -> Result<(), String> {
        match self.known.insert(offset, record) {
            Some(before) if before != record => {
                Err(format!("offset {offset} was {before}, and now is {record}"))
            }
            _ => Ok(()),
        }
    }
}

impl Checker for NothingAcknowledgedIsLost {
    fn name(&self) -> &'static str {
        "nothing acknowledged is lost"
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), String> {
        match *observation {
            Observation::Acknowledged { partition, base_offset, last_offset, records, .. } => {
                if last_offset - base_offset + 1 != records.len() as i64 {
                    return Err(format!(
                        "partition {partition}: {} records were acknowledged as {base_offset}..={last_offset}",
                        records.len()
                    ));
                }
                let log = self.logs.entry(partition).or_default();
                for (offset, record) in (base_offset..).zip(records) {
                    log.learn(offset, *record).map_err(|text| format!("partition {partition}: {text}"))?;
                }
            }
            Observation::Read { partition, records, .. } => {
                let log = self.logs.entry(partition).or_default();
                for (at, record) in records {
                    log.learn(*at, *record).map_err(|text| format!("partition {partition}: {text}"))?;
                }
            }
            Observation::End { partition, high_watermark } => {
                let log = self.logs.entry(partition).or_default();
                if let Some((offset, record)) = log.known.last_key_value()
                    && *offset >= high_watermark
                {
                    return Err(format!(
                        "partition {partition}: {record} was acknowledged or read at {offset}, and the log ends at {high_watermark}"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
