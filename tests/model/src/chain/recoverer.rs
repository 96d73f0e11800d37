//! Who ends what a dead process left. Any number at once; the metadata takes the first.

use super::state::{Chain, Leader, Meta, Object, Tail};
use super::{Action, Bug, COPIES, ChainModel, RECOVERERS};

pub(super) fn possible(state: &Chain, actions: &mut Vec<Action>) {
    if state.left().next().is_none() && !(state.fenced && state.leader == Leader::Owner) {
        return;
    }
    for by in (0..RECOVERERS).filter(|&by| state.found[by].is_none()) {
        // The owner's own copy answers only when its process is dead: before, nobody can ask its disk.
        let answering =
            (0..COPIES).filter(|&copy| copy > 0 || !state.owner.runs || state.owner.writes.is_none());
        actions.extend(answering.map(|copy| Action::Find(by, copy)));
    }
}

/// One trustworthy answer of two copies tells an end. Sealing and reading are one step here: [`crate::segment`] takes it apart.
pub(super) fn find(model: &ChainModel, next: &mut Chain, by: usize, copy: usize) {
    let mut left: Vec<_> = next.left().collect();
    if model.has(Bug::TakesOverNewestOnly) {
        left.drain(..left.len().saturating_sub(1));
    }
    let (first, mut records, mut ends) = (next.end(), Vec::new(), Vec::new());
    for at in left {
        let segment = &mut next.segments[at];
        segment.sealed[copy] = true;
        let base = segment.first.or(segment.continues).unwrap_or_default();
        let told = base + segment.held[copy];
        let (sealed, end) = match segment.meta {
            // What was written beyond it is in the segment after it.
            Meta::Closed(end) if told < end => return,
            Meta::Closed(end) => (None, end),
            Meta::Sealing(entry) => (Some(entry), told),
            Meta::Open | Meta::Gone => return,
        };
        for lsn in base..end {
            let record = segment.record(lsn, segment.held[copy]).expect("it is before its end");
            // What is committed is dropped; what is left must continue the stream, or the takeover stops with a report.
            if lsn >= first {
                if usize::from(lsn - first) != records.len() {
                    return;
                }
                records.push(record);
            }
        }
        ends.push((at, sealed, end));
    }
    let object = Object { epoch: 0, first, records };
    let to_heir = next.fenced && next.leader == Leader::Owner;
    next.found[by] = Some(Tail { ends, object, to_heir });
}
