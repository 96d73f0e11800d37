use std::collections::BTreeMap;
use std::time::Duration;

use super::{Checker, Observation};

/// A committed offset is there for whoever asks afterwards, and no smaller one is committed after it: members go on where those
/// before them left off. A coordinator that does not know yet that it is none any more may show what it knew.
#[derive(Debug, Default)]
pub(crate) struct CommittedOffsetsStand {
    /// By partition, in the order of the answers: when, in which leader epoch, and what.
    committed: BTreeMap<i32, Vec<(Duration, i32, i64)>>,
}

impl CommittedOffsetsStand {
    /// The highest offset that was committed before `began`, as far as a coordinator of `epoch` must know.
    fn known(&self, partition: i32, began: Duration, epoch: i32) -> Option<i64> {
        let committed = self.committed.get(&partition)?;
        let known = committed.iter().filter(|(ended, under, _)| *ended < began && *under <= epoch);
        known.map(|(_, _, offset)| *offset).max()
    }
}

impl Checker for CommittedOffsetsStand {
    fn name(&self) -> &'static str {
        "committed offsets stand"
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), String> {
        let (began, epoch, offsets) = match *observation {
            Observation::Fetched { began, epoch, offsets }
            | Observation::Committed { began, epoch, offsets, .. } => (began, epoch, offsets),
            _ => return Ok(()),
        };
        for &(partition, offset) in offsets {
            if let Some(known) = self.known(partition, began, epoch)
                && offset < known
            {
                return Err(format!("partition {partition}: {known} was committed, and now is {offset}"));
            }
        }
        if let Observation::Committed { ended, .. } = *observation {
            for &(partition, offset) in offsets {
                self.committed.entry(partition).or_default().push((ended, epoch, offset));
            }
        }
        Ok(())
    }
}
