use std::collections::BTreeMap;
use std::time::Duration;

use super::{Checker, Observation};

/// In a generation of a group a partition has one owner, and once somebody owns in a generation, no commit of an earlier one
/// is taken. A member that is cut off may believe for its session that it owns still, as in Kafka: what it commits is refused.
#[derive(Debug, Default)]
pub(crate) struct GroupOwnershipIsExclusive {
    /// By generation and partition.
    owners: BTreeMap<(i32, i32), String>,
    /// When somebody first owned something in a generation.
    formed: BTreeMap<i32, Duration>,
}

impl Checker for GroupOwnershipIsExclusive {
    fn name(&self) -> &'static str {
        "group ownership is exclusive"
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), String> {
        match *observation {
            Observation::Assigned { at, generation, owner, partitions } => {
                self.formed.entry(generation).or_insert(at);
                for partition in partitions {
                    let known =
                        self.owners.entry((generation, *partition)).or_insert_with(|| owner.to_owned());
                    if known != owner {
                        return Err(format!(
                            "partition {partition} belongs to {known} and to {owner} in generation {generation}"
                        ));
                    }
                }
                Ok(())
            }
            Observation::Committed { generation, began, .. } => {
                let mut later = self.formed.range(generation + 1..);
                match later.find(|(_, formed)| **formed < began) {
                    Some((later, _)) => Err(format!(
                        "a commit of generation {generation} was taken when generation {later} had owners"
                    )),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
