//! The invariants, and states that must be possible.

use stateright::Property;

use super::ChainModel;
use super::state::{Chain, Leader, Meta, Segment};

pub(super) fn properties() -> Vec<Property<ChainModel>> {
    vec![
        Property::always(
            "C: the next segment begins where this one ends, in the same entry",
            |_, state: &Chain| {
                let closed =
                    state.segments.iter().enumerate().filter_map(|(at, it)| Some((at, it.rolled_at?)));
                closed.into_iter().all(|(at, end)| continued(state.segments.get(at + 1), end))
            },
        ),
        Property::always(
            "H: what a consumer saw is committed, or in a committed object",
            |_, state: &Chain| {
                let shown = state.seen.iter().enumerate();
                let held = |(offset, &record): (usize, &u8)| match state.committed.get(offset) {
                    Some(&committed) => committed == record,
                    None => committed_in_wal(state, offset as u8, record),
                };
                !state.contradicted && shown.into_iter().all(held)
            },
        ),
        Property::always("O: an object continues the stream, by a current epoch", |_, state: &Chain| {
            let mut end = 0;
            state
                .ranges
                .iter()
                .all(|range| range.current && range.first == std::mem::replace(&mut end, range.end))
        }),
        Property::always("T: nothing is trimmed beyond the applied commit", |_, state: &Chain| {
            state.owner.trimmed <= state.end()
        }),
        Property::always("L: a leader changes only after its segments are offloaded", |_, state: &Chain| {
            let Some(from) = state.led_from else { return true };
            let past = |it: &Segment| it.meta != Meta::Gone && end_of(it) > from;
            state.seen.len() <= usize::from(from) && !state.segments.iter().any(past)
        }),
        Property::sometimes("a tail becomes an object and the heir goes on", |_, state: &Chain| {
            state.leader == Leader::Heir
                && state.fenced
                && state.committed.len() > state.seen.len()
                && !state.seen.is_empty()
        }),
        Property::sometimes("two segments are taken over", |model: &ChainModel, state: &Chain| {
            let gone = state.segments.iter().filter(|it| it.meta == Meta::Gone && !it.written.is_empty());
            model.rolls + model.restarts == 0 || gone.count() == 2
        }),
        Property::sometimes("a process that came back serves on", |model: &ChainModel, state: &Chain| {
            let serves = state.owner.writes.is_some() && state.owner.high_watermark > state.end();
            model.restarts == 0 || state.restarts > 0 && serves
        }),
    ]
}

fn continued(next: Option<&Segment>, end: u8) -> bool {
    next.is_some_and(|next| next.continues == Some(end) && next.first.is_none_or(|first| first == end))
}

/// Whether all copies of a segment that is not gone hold the record there.
fn committed_in_wal(state: &Chain, lsn: u8, record: u8) -> bool {
    let holds =
        |it: &Segment| it.record(lsn, *it.held.iter().min().expect("there are copies")) == Some(record);
    state.segments.iter().any(|it| it.meta != Meta::Gone && holds(it))
}

/// The end of a segment: where it was closed, or the longest copy of it.
fn end_of(segment: &Segment) -> u8 {
    match segment.meta {
        Meta::Closed(end) => end,
        _ => segment.first.unwrap_or_default() + segment.held.iter().max().expect("there are copies"),
    }
}
