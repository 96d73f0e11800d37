use std::collections::BTreeMap;

use super::{Checker, Observation};

/// Records of one producer stand in the log in the order in which they were sent.
#[derive(Debug, Default)]
pub(crate) struct ProducersKeepTheirOrder {
    /// Of each partition and producer: its records by offset.
    seen: BTreeMap<(i32, u64), BTreeMap<i64, u64>>,
}

impl Checker for ProducersKeepTheirOrder {
    fn name(&self) -> &'static str {
        "producers keep their order"
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), String> {
        let Observation::Read { partition, records, .. } = *observation else { return Ok(()) };
        for &(offset, record) in records {
            let seen = self.seen.entry((partition, record.producer)).or_default();
            seen.insert(offset, record.number);
            let before = seen.range(..offset).next_back();
            let after = seen.range(offset + 1..).next();
            let turned = before.filter(|(_, number)| **number > record.number);
            if let Some((at, number)) = turned.or(after.filter(|(_, number)| **number < record.number)) {
                return Err(format!(
                    "partition {partition}: {record} is at {offset}, and {}:{number} at {at}",
                    record.producer
                ));
            }
        }
        Ok(())
    }
}
