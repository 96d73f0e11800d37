//! The serving process. It is fenced without knowing it, and asks the metadata for what it wants.

use super::state::{Chain, HandOver, Leader, Object, Segment};
use super::{Action, Bug, COPIES, ChainModel};

pub(super) fn possible(model: &ChainModel, state: &Chain, actions: &mut Vec<Action>) {
    let owner = &state.owner;
    if !owner.runs {
        return;
    }
    actions.push(Action::Die);
    if owner.writes.is_none() {
        actions.push(Action::Serve);
        return;
    }
    if state.sent < model.records {
        actions.push(Action::Append);
    }
    actions.extend((0..COPIES).map(Action::Write));
    actions.extend([Action::Commit, Action::Put, Action::Offloaded, Action::Trim, Action::Resume]);
    if state.rolls < model.rolls {
        actions.push(Action::Roll);
    }
    if state.moves > 0 {
        actions.extend([Action::Hold, Action::AskHandOver, Action::GiveUp]);
    }
}

pub(super) fn step(model: &ChainModel, next: &mut Chain, action: Action) {
    match action {
        Action::Append => append(next),
        Action::Write(copy) => write(next, copy),
        Action::Commit => commit(model, next),
        Action::Put => put(next),
        Action::Offloaded => offloaded(next),
        Action::Trim => trim(model, next),
        Action::Roll => roll(next),
        Action::Resume => resume(model, next),
        Action::Hold if next.moving != 0 => next.owner.admits = false,
        Action::Hold => {}
        Action::GiveUp => give_up(model, next),
        Action::AskHandOver => ask_hand_over(model, next),
        Action::Die => next.owner.runs = false,
        Action::Serve => serve(model, next),
        other => unreachable!("{other:?} is not the owner's"),
    }
}

fn append(next: &mut Chain) {
    if next.owner.admits {
        next.sent += 1;
        next.owner.log.push(next.sent);
    }
}

/// The next record of the log reaches a copy of the segment that is written. Frozen, the old one gets nothing new.
fn write(next: &mut Chain, copy: usize) {
    let owner = &next.owner;
    let Some(segment) = owner.writes.map(|at| &mut next.segments[at]) else { return };
    if segment.sealed[copy] || owner.rolling.is_some() {
        return;
    }
    let first = segment.first.expect("a segment that is written has a beginning");
    let lsn = usize::from(first + segment.held[copy]);
    let Some(&record) = owner.log.get(lsn) else { return };
    if segment.written.len() == usize::from(segment.held[copy]) {
        segment.written.push(record);
    }
    segment.held[copy] += 1;
}

/// Nothing is acknowledged that a copy does not hold, nor while frozen.
fn commit(model: &ChainModel, next: &mut Chain) {
    let owner = &mut next.owner;
    let Some(segment) = owner.writes.map(|at| &next.segments[at]) else { return };
    let Some(first) = segment.first.filter(|_| owner.rolling.is_none()) else { return };
    let held = if model.has(Bug::ShowsUncommitted) {
        segment.held[0]
    } else {
        *segment.held.iter().min().expect("there are copies")
    };
    owner.high_watermark = owner.high_watermark.max(first + held);
    for (offset, &record) in owner.log.iter().enumerate().take(usize::from(owner.high_watermark)) {
        match next.seen.get(offset) {
            Some(&seen) => next.contradicted |= seen != record,
            None => next.seen.push(record),
        }
    }
}

/// An object of what is committed, from the committed end on; it is put before its commit is asked for.
fn put(next: &mut Chain) {
    let (end, owner) = (next.end(), &mut next.owner);
    if owner.offloading.is_none() && end < owner.high_watermark {
        let records = owner.log[usize::from(end)..usize::from(owner.high_watermark)].to_vec();
        owner.offloading = Some(Object { epoch: owner.epoch, first: end, records });
    }
}

/// The outcome is known once the applied image has it; until then the same is asked again.
fn offloaded(next: &mut Chain) {
    let end = next.end();
    let done = |object: &Object| object.first + object.records.len() as u8 <= end;
    if next.owner.offloading.as_ref().is_some_and(done) {
        next.owner.offloading = None;
    }
}

fn trim(model: &ChainModel, next: &mut Chain) {
    let end = next.end();
    let owner = &mut next.owner;
    let put = owner.offloading.as_ref().map(|object| object.first + object.records.len() as u8);
    let below = match model.bug {
        Some(Bug::TrimsAfterPut) => put.unwrap_or(end),
        Some(Bug::TrimsBelowHighWatermark) => owner.high_watermark,
        _ => end,
    };
    // The records of its own log: what others committed is not in it.
    owner.trimmed = owner.trimmed.max(below.min(owner.log.len() as u8));
}

fn roll(next: &mut Chain) {
    let owner = &mut next.owner;
    if owner.rolling.is_none() {
        owner.rolling = Some(owner.high_watermark);
        next.rolls += 1;
    }
}

/// The answer to a roll: the next segment, where the one before was closed. What was not committed is written again.
fn resume(model: &ChainModel, next: &mut Chain) {
    let (Some(end), Some(at)) = (next.owner.rolling, next.owner.writes) else { return };
    let epoch = next.owner.epoch;
    let continues = |segment: &Segment| segment.continues == Some(end) && segment.epoch == epoch;
    let Some(opened) = (at + 1..next.segments.len()).find(|&opened| continues(&next.segments[opened])) else {
        return;
    };
    let first = if model.has(Bug::ResumesAtLogEnd) { next.owner.log.len() as u8 } else { end };
    next.segments[opened].first = Some(first);
    next.owner.writes = Some(opened);
    next.owner.rolling = None;
}

/// Everything must be offloaded; the metadata compares where it ends.
fn ask_hand_over(model: &ChainModel, next: &mut Chain) {
    let (asked, epoch, end) = (next.moving, next.owner.epoch, next.owner.log.len() as u8);
    let whole = next.end() == end || model.has(Bug::HandsOverUncompared);
    if !next.owner.admits && whole && asked != 0 {
        next.handing_over = Some(HandOver { epoch, asked, end });
    }
}

/// Not while the partition may be gone at any moment; once the move was withdrawn, what is on its way is refused.
fn give_up(model: &ChainModel, next: &mut Chain) {
    let unsettled =
        next.handing_over.is_some_and(|asked| asked.epoch == next.owner.epoch && asked.asked == next.moving);
    if next.leader == Leader::Owner && (!unsettled || model.has(Bug::ResumesWhileUnsettled)) {
        next.owner.admits = true;
    }
}

/// A process that came back opens a segment once nothing is left of the earlier ones, and if it still leads.
fn serve(model: &ChainModel, next: &mut Chain) {
    let left = next.left().next().is_some() && !model.has(Bug::ServesBeforeItsTail);
    if left || next.fenced || next.leader != Leader::Owner {
        return;
    }
    let mut segment = Segment::opened(next.epoch, None);
    segment.first = Some(next.end());
    next.segments.push(segment);
    next.owner.writes = Some(next.segments.len() - 1);
    next.owner.log.clone_from(&next.committed);
    next.owner.high_watermark = next.end();
    next.owner.trimmed = next.end();
}
