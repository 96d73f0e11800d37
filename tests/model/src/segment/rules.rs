//! The invariants, and states that must be possible.

use stateright::Property;

use super::SegmentModel;
use super::state::{Meta, Roll, Segment};

pub(super) fn properties() -> Vec<Property<SegmentModel>> {
    vec![
        Property::always("P: every copy is a prefix of one writer's sequence", |_, state: &Segment| {
            state.copies.iter().all(|copy| copy.synced & (copy.synced + 1) == 0)
        }),
        Property::always(
            "D: commit covers only what was durable on enough copies",
            |model: &SegmentModel, state: &Segment| {
                let holds = state.copies.iter().filter(|copy| copy.reached >= state.commit).count();
                holds >= model.needed || state.commit == 0
            },
        ),
        Property::always("F: a copy that answered never grows", |_, state: &Segment| {
            answers(state).all(|(copy, had, _)| state.copies[copy].reached == had)
        }),
        Property::always("V: a copy never answers with less than it had", |_, state: &Segment| {
            answers(state).all(|(_, had, said)| said == had)
        }),
        Property::always("E: an end is decided once", |_, state: &Segment| {
            match (state.meta, state.decided) {
                (Meta::Closed(end), Some(first)) => end == first,
                _ => true,
            }
        }),
        Property::always(
            "N: nothing beyond a decided end was or will be acknowledged",
            |_, state: &Segment| !matches!(state.meta, Meta::Closed(end) if state.commit > end),
        ),
        Property::sometimes("acknowledged records of a dead owner are recovered", |_, state: &Segment| {
            !state.owner_runs && recovered(state)
        }),
        Property::sometimes(
            "an owner that is only suspected runs on after the end was decided",
            |_, state: &Segment| state.owner_runs && recovered(state),
        ),
    ]
}

/// All answers: of which copy, what it had, what it said.
fn answers(state: &Segment) -> impl Iterator<Item = (usize, u8, u8)> {
    let heard = state.answers.iter().flat_map(|heard| heard.iter().enumerate());
    heard.filter_map(|(copy, answer)| answer.map(|answer| (copy, answer.had, answer.said)))
}

fn recovered(state: &Segment) -> bool {
    state.commit > 0 && state.roll == Roll::Steady && matches!(state.meta, Meta::Closed(_))
}
