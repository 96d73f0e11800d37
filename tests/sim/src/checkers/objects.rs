use std::collections::BTreeMap;

use super::{Checker, Observation};
use crate::world::numbered;
use aquifer_image::{Image, ObjectState};
use aquifer_types::ObjectId;

/// Every object that the metadata need is in the store, as long as it was written.
#[derive(Debug, Default)]
pub(crate) struct ObjectsExist;

impl Checker for ObjectsExist {
    fn name(&self) -> &'static str {
        "objects exist"
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), String> {
        let Observation::Store { image, stored } = *observation else { return Ok(()) };
        let keys = numbered(stored);
        for (id, state) in image.objects() {
            let ObjectState::Committed { commit, .. } = state else { continue };
            match keys.get(&id).map(|key| stored[key]) {
                None => return Err(format!("object {id} is committed and not in the store")),
                Some(size) if size != commit.size_bytes => {
                    return Err(format!(
                        "object {id} has {size} bytes, committed were {}",
                        commit.size_bytes
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// How much later than it is due something may be collected.
const LATE_MS: i64 = 15_000;

/// Whatever is in the store is committed, or known to the metadata and not long overdue to be removed.
pub(crate) fn check_orphans(
    image: &Image,
    stored: &BTreeMap<String, u64>,
    now_ms: i64,
) -> Result<(), String> {
    let overdue = |id: &ObjectId| match image.object(*id) {
        None => true,
        Some(ObjectState::Committed { .. }) => false,
        Some(ObjectState::Prepared { deadline_ms, .. }) => deadline_ms + LATE_MS < now_ms,
        Some(ObjectState::Marked { at_ms, .. }) => at_ms + LATE_MS < now_ms,
    };
    let orphans: Vec<_> = numbered(stored).into_keys().filter(overdue).collect();
    match orphans.is_empty() {
        true => Ok(()),
        false => Err(format!("nobody needs and nobody removes {orphans:?}")),
    }
}
