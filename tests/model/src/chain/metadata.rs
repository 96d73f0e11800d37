//! What the quorum's state machine takes and refuses, as `aquifer_image::apply` does.

use super::state::{Chain, HandOver, Leader, Meta, Object, Range, Segment};
use super::{Action, Bug, ChainModel, RECOVERERS};

/// A record of the heir: nobody else's.
const HEIRS: u8 = 99;

pub(super) fn possible(model: &ChainModel, state: &Chain, actions: &mut Vec<Action>) {
    if state.owner.offloading.is_some() {
        actions.push(Action::Offload);
    }
    if state.owner.rolling.is_some() {
        actions.push(Action::Rolled);
    }
    if state.handing_over.is_some() {
        actions.push(Action::HandOver);
    }
    if state.moving != 0 {
        actions.push(Action::Withdraw);
    } else if state.leader == Leader::Owner && state.moves < model.moves {
        actions.push(Action::Move);
    }
    if !state.fenced && state.fences < model.fences {
        actions.push(Action::Fence);
    }
    if !state.owner.runs && state.restarts < model.restarts {
        actions.push(Action::Register);
    }
    if state.leader == Leader::Heir && !state.committed.contains(&HEIRS) {
        actions.push(Action::HeirAppends);
    }
    actions.extend((0..RECOVERERS).filter(|&by| state.found[by].is_some()).map(Action::TakeOver));
}

pub(super) fn fence(model: &ChainModel, next: &mut Chain) {
    next.fences += 1;
    next.fenced = true;
    seal_segments(next);
    if model.has(Bug::LeadsOnceFenced) && next.leader == Leader::Owner {
        lead(next);
    }
}

pub(super) fn start_move(next: &mut Chain) {
    next.moves += 1;
    next.moving = next.moves;
}

/// A new process: what the earlier one left is sealed, and what it asked for is refused from now on.
pub(super) fn register(next: &mut Chain) {
    next.restarts += 1;
    seal_segments(next);
    next.fenced = false;
    next.epoch = next.entry;
    let owner = &mut next.owner;
    owner.runs = true;
    owner.epoch = next.entry;
    owner.writes = None;
    owner.log.clear();
    owner.high_watermark = 0;
    owner.rolling = None;
    owner.trimmed = 0;
    owner.admits = true;
    // What the earlier process asked for may still be on its way.
}

fn seal_segments(next: &mut Chain) {
    next.entry += 1;
    let at = next.entry;
    for segment in
        next.segments.iter_mut().filter(|segment| !matches!(segment.meta, Meta::Closed(_) | Meta::Gone))
    {
        segment.meta = Meta::Sealing(at);
    }
}

/// Whether a process with this epoch may ask for anything.
fn is_current(next: &Chain, epoch: u8) -> bool {
    !next.fenced && epoch == next.epoch
}

pub(super) fn offload(model: &ChainModel, next: &mut Chain) {
    let Some(object) = next.owner.offloading.clone() else { return };
    let current = is_current(next, object.epoch);
    let may = current && next.leader == Leader::Owner;
    if may || model.has(Bug::OffloadsUnderAnOldEpoch) {
        commit(next, &object, current, model.has(Bug::OffloadsUncompared));
    }
    if !current {
        next.owner.offloading = None;
    }
}

/// Adds an object's range to the stream if it continues it.
fn commit(next: &mut Chain, object: &Object, current: bool, uncompared: bool) -> bool {
    let (first, end) = (object.first, object.first + object.records.len() as u8);
    if first != next.end() && !uncompared {
        return false;
    }
    next.committed.truncate(usize::from(first));
    next.committed.extend(&object.records);
    next.ranges.push(Range { first, end, current });
    true
}

pub(super) fn roll(model: &ChainModel, next: &mut Chain) {
    let (Some(end), Some(at)) = (next.owner.rolling, next.owner.writes) else { return };
    let epoch = next.owner.epoch;
    if !is_current(next, epoch) {
        return;
    }
    let halves = model.has(Bug::RollsInTwoEntries);
    let closed = next.segments[at].meta == Meta::Closed(end) && next.segments.len() == at + 1;
    if halves && closed {
        next.segments.push(Segment::opened(epoch, Some(end)));
    } else if next.segments[at].meta == Meta::Open {
        next.segments[at].meta = Meta::Closed(end);
        next.segments[at].rolled_at = Some(end);
        if !halves {
            next.segments.push(Segment::opened(epoch, Some(end)));
        }
    }
}

pub(super) fn hand_over(model: &ChainModel, next: &mut Chain) {
    let Some(HandOver { epoch, asked, end }) = next.handing_over.take() else { return };
    let whole = end == next.end() || model.has(Bug::HandsOverUncompared);
    if is_current(next, epoch) && next.leader == Leader::Owner && asked == next.moving && whole {
        lead(next);
    }
}

fn lead(next: &mut Chain) {
    next.leader = Leader::Heir;
    next.moving = 0;
    next.led_from = Some(next.end());
}

/// The heir begins where the stream ends. That it may is what the other invariants are for.
pub(super) fn heir_appends(next: &mut Chain) {
    let first = next.end();
    commit(next, &Object { epoch: 0, first, records: vec![HEIRS] }, true, false);
}

/// The seals are those of now, all that was left is named, the object continues the stream: or nothing happens.
pub(super) fn take_over(model: &ChainModel, next: &mut Chain, by: usize) {
    let Some(tail) = next.found[by].take() else { return };
    let named: Vec<_> = tail.ends.iter().map(|&(at, ..)| at).collect();
    let left: Vec<_> = next.left().collect();
    if named != left && !model.has(Bug::TakesOverNewestOnly) {
        return;
    }
    let fits = tail.ends.iter().all(|&(at, sealed, end)| match next.segments[at].meta {
        Meta::Open | Meta::Gone => false,
        Meta::Sealing(entry) => sealed == Some(entry),
        Meta::Closed(decided) => decided == end,
    });
    let leads = next.leader == Leader::Owner;
    let may_move = leads && (next.fenced || model.has(Bug::MovesFromTheLiving));
    if !fits || tail.to_heir && !may_move || !tail.object.records.is_empty() && !leads {
        return;
    }
    if !tail.object.records.is_empty() && !commit(next, &tail.object, true, false) {
        return;
    }
    for (at, ..) in tail.ends {
        next.segments[at].meta = Meta::Gone;
    }
    if tail.to_heir {
        lead(next);
    }
}
