use std::collections::BTreeMap;

use super::{Checker, Observation};
use crate::world::numbered;
use aquifer_image::{Image, ObjectState};

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

/// With nothing under way, whatever is in the store is committed: the rest was left behind, and is to be collected.
pub(crate) fn check_orphans(image: &Image, stored: &BTreeMap<String, u64>) -> Result<(), String> {
    let needed = |id| matches!(image.object(id), Some(ObjectState::Committed { .. }));
    let orphans: Vec<_> = numbered(stored).into_keys().filter(|id| !needed(*id)).collect();
    match orphans.is_empty() {
        true => Ok(()),
        false => Err(format!("nobody needs and nobody removes {orphans:?}")),
    }
}
