use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use aquifer_image::encode_snapshot;
use aquifer_types::{LogIndex, NodeId};

use super::{Checker, Observation};

/// Images kept to be compared.
const KEPT: usize = 2_000;

/// Two nodes that have applied the same entries have the same metadata, and those are sound.
#[derive(Debug, Default)]
pub(crate) struct EqualIndexesHaveEqualImages {
    /// The hash of the first image that was seen at an index, and whose it was.
    seen: BTreeMap<LogIndex, (u64, NodeId)>,
}

impl Checker for EqualIndexesHaveEqualImages {
    fn name(&self) -> &'static str {
        "equal indexes have equal images"
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), String> {
        let Observation::Image { node, image } = *observation else { return Ok(()) };
        let mut hasher = DefaultHasher::new();
        hasher.write(&encode_snapshot(image));
        let hash = hasher.finish();
        let known = self.seen.entry(image.applied()).or_insert_with(|| (hash, node));
        let (other, of) = *known;
        if other == hash && of == node {
            image.check().map_err(|violation| format!("node {node}, {}: {violation}", image.applied()))?;
        }
        while self.seen.len() > KEPT {
            self.seen.pop_first();
        }
        match other == hash {
            true => Ok(()),
            false => Err(format!("nodes {of} and {node} differ at entry {}", image.applied())),
        }
    }
}
