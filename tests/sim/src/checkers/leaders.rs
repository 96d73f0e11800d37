use std::collections::BTreeMap;

use super::{Checker, Observation};

/// Once a leader has acknowledged, no earlier one does: of the offsets of two leader epochs, those of the later one follow.
#[derive(Debug, Default)]
pub(crate) struct OneLeaderAcknowledges {
    /// By partition and leader epoch: the first and the last offset that were acknowledged.
    acknowledged: BTreeMap<(i32, i32), (i64, i64)>,
}

impl Checker for OneLeaderAcknowledges {
    fn name(&self) -> &'static str {
        "one leader acknowledges"
    }

    fn observe(&mut self, observation: &Observation<'_>) -> Result<(), String> {
        let Observation::Acknowledged {
            partition,
            base_offset,
            last_offset,
            leader_epoch,
            duplicate: false,
            ..
        } = *observation
        else {
            return Ok(());
        };
        let spans = &mut self.acknowledged;
        let span = spans.entry((partition, leader_epoch)).or_insert((base_offset, last_offset));
        *span = (span.0.min(base_offset), span.1.max(last_offset));
        let (first, last) = *span;
        let earlier = spans.range((partition, i32::MIN)..(partition, leader_epoch)).next_back();
        let later = spans.range((partition, leader_epoch + 1)..=(partition, i32::MAX)).next();
        match (earlier, later) {
            (Some((&(_, epoch), &(_, end))), _) if end >= first => Err(format!(
                "partition {partition}: leader epoch {epoch} acknowledged up to {end}, and {leader_epoch} from {first} on"
            )),
            (_, Some((&(_, epoch), &(start, _)))) if last >= start => Err(format!(
                "partition {partition}: leader epoch {epoch} acknowledged from {start} on, and {leader_epoch} up to {last}"
            )),
            _ => Ok(()),
        }
    }
}
