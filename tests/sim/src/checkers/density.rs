use super::{Checker, Observation};

/// A read gives every offset from the one that was asked for: none is left out, none comes twice.
#[derive(Debug, Default)]
pub(crate) struct OffsetsAreDense;

impl Checker for OffsetsAreDense {
    fn name(&self) -> &'static str {
        "offsets are dense"
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), String> {
        let Observation::Read { partition, offset, records, high_watermark, .. } = *observation else {
            return Ok(());
        };
        let Some((first, _)) = records.first() else { return Ok(()) };
        if *first > offset {
            return Err(format!("partition {partition}: a read from {offset} began at {first}"));
        }
        for pair in records.windows(2) {
            if pair[1].0 != pair[0].0 + 1 {
                return Err(format!("partition {partition}: offset {} follows {}", pair[1].0, pair[0].0));
            }
        }
        match records.last() {
            Some((last, _)) if *last >= high_watermark => {
                Err(format!("partition {partition}: {last} was read, the high watermark is {high_watermark}"))
            }
            _ => Ok(()),
        }
    }
}
