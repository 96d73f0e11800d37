//! What may happen next, and what comes of it.

use super::state::{Answer, Meta, Roll, Segment, Standing, prefix};
use super::{Bug, RECOVERIES, SegmentModel};

/// One step of anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The owner writes the next record and sends it to all copies.
    Write,
    /// This copy takes this record, which was sent; synced at once, where that makes no difference.
    Take(usize, u8),
    /// This copy syncs what it received.
    Sync(usize),
    /// The owner hears how far this copy is.
    Hear(usize),
    /// The owner acknowledges what enough copies hold.
    Commit,
    /// The owner freezes and asks the quorum to close the segment.
    Roll,
    /// The owner does not hear what came of its roll.
    RollUnknown,
    /// The quorum takes the roll up.
    RollApplied,
    /// The quorum fences the owner, or its next process registers: a recovery begins.
    Fence,
    /// This recovery seals this copy, which answers.
    Seal(usize, usize),
    /// This recovery looks at this copy without sealing it.
    Peek(usize, usize),
    /// This recovery heard enough: the quorum takes its end.
    Close(usize),
    /// The process of this copy dies; with copy 0, the owner.
    Crash(usize),
    /// The process of this copy comes back; the owner's as a mere copy.
    Restart(usize),
    /// The disk of this copy is lost, or replaced by a blank one.
    Lose(usize),
    /// On this copy's disk this record rots.
    Rot(usize, u8),
}

pub(super) fn possible(model: &SegmentModel, state: &Segment, actions: &mut Vec<Action>) {
    owners(model, state, actions);
    for copy in 0..model.copies {
        copies(model, state, copy, actions);
    }
    if !matches!(state.meta, Meta::Closed(_)) && usize::from(state.recoveries) < RECOVERIES {
        actions.push(Action::Fence);
    }
    for by in 0..usize::from(state.recoveries) {
        for copy in (0..model.copies).filter(|&copy| state.answers[by][copy].is_none()) {
            actions.push(Action::Seal(by, copy));
            if model.has(Bug::ReadsUnsealed) {
                actions.push(Action::Peek(by, copy));
            }
        }
        actions.push(Action::Close(by));
    }
}

fn owners(model: &SegmentModel, state: &Segment, actions: &mut Vec<Action>) {
    if state.owner_runs {
        if !state.frozen && state.written < model.records {
            actions.push(Action::Write);
        }
        actions.push(Action::Commit);
        if model.rolls && state.roll == Roll::Steady {
            actions.push(Action::Roll);
        }
        if model.has(Bug::ThawsOnUnknown) && state.frozen {
            actions.push(Action::RollUnknown);
        }
    }
    // Whether or not the owner still runs: what was asked may be on its way.
    if matches!(state.roll, Roll::Asked(_)) && state.meta == Meta::Open {
        actions.push(Action::RollApplied);
    }
}

fn copies(model: &SegmentModel, state: &Segment, copy: usize, actions: &mut Vec<Action>) {
    let it = &state.copies[copy];
    if it.up && !it.lost {
        if it.sealed == 0 && it.standing != Standing::Shut {
            let next = prefix(it.received);
            let all = if model.has(Bug::TakesAnyFrame) { 0..state.written } else { next..(next + 1) };
            let sent = all.filter(|&record| record < state.written && it.received & (1 << record) == 0);
            actions.extend(sent.map(|record| Action::Take(copy, record)));
        }
        if it.synced != it.received {
            actions.push(Action::Sync(copy));
        }
        if state.owner_runs {
            actions.push(Action::Hear(copy));
        }
    }
    if it.up && state.crashes < model.crashes {
        actions.push(Action::Crash(copy));
    }
    if !it.up {
        actions.push(Action::Restart(copy));
    }
    if !it.lost && state.losses < model.losses {
        actions.push(Action::Lose(copy));
    }
    if it.rot.is_none() && state.rots < model.rots {
        // Each frame but the last is followed by one that proves it was synced; so is the last, after a moment's idleness.
        let end = if model.last_frame_rots { it.prefix() } else { it.prefix().saturating_sub(1) };
        actions.extend((0..end).map(|record| Action::Rot(copy, record)));
    }
}

pub(super) fn after(model: &SegmentModel, state: &Segment, action: Action) -> Option<Segment> {
    let mut next = state.clone();
    match action {
        Action::Write => next.written += 1,
        Action::Take(copy, record) => {
            let it = &mut next.copies[copy];
            it.standing = Standing::Open;
            it.received |= 1 << record;
            if !syncs_apart(model) {
                sync(&mut next, copy);
            }
        }
        Action::Sync(copy) => sync(&mut next, copy),
        Action::Hear(copy) => next.copies[copy].acknowledged = told(model, state, copy),
        Action::Commit => next.commit = committed(model, state)?,
        Action::Roll => {
            next.roll = Roll::Asked(state.commit);
            next.frozen = !model.has(Bug::RollsUnfrozen);
        }
        Action::RollUnknown => next.frozen = false,
        Action::RollApplied => {
            let Roll::Asked(end) = state.roll else { return None };
            close(&mut next, end);
        }
        Action::Fence => {
            next.recoveries += 1;
            next.meta = Meta::Sealing(next.recoveries);
        }
        Action::Seal(by, copy) => seal(model, &mut next, by, copy)?,
        Action::Peek(by, copy) => {
            next.answers[by][copy] = Some(answer(model, state, copy).filter(|_| state.copies[copy].up)?);
        }
        Action::Close(by) => {
            let end = found(model, state, by)?;
            let fits = state.meta == Meta::Sealing(by as u8 + 1) || model.has(Bug::ClosesUncompared);
            close(&mut next, Some(end).filter(|_| fits)?);
        }
        Action::Crash(copy) => crash(model, &mut next, copy),
        Action::Restart(copy) => {
            let it = &mut next.copies[copy];
            it.up = true;
            it.reread = true;
        }
        Action::Lose(copy) => lose(&mut next, copy),
        Action::Rot(copy, record) => {
            next.copies[copy].rot = Some(record);
            next.rots += 1;
        }
    }
    Some(next)
}

/// Whether receiving and syncing are two steps: only then some bugs can show.
fn syncs_apart(model: &SegmentModel) -> bool {
    model.has(Bug::AcknowledgesBeforeSync) || model.has(Bug::CountsItselfBeforeSync)
}

fn sync(next: &mut Segment, copy: usize) {
    let it = &mut next.copies[copy];
    it.synced = it.received;
    it.reached = it.reached.max(it.prefix());
}

/// What a copy says about itself to the owner.
fn told(model: &SegmentModel, state: &Segment, copy: usize) -> u8 {
    let it = &state.copies[copy];
    let early = model.has(Bug::AcknowledgesBeforeSync) || copy == 0 && model.has(Bug::CountsItselfBeforeSync);
    let records = if early { it.received } else { it.synced };
    if model.has(Bug::TakesAnyFrame) { records.count_ones() as u8 } else { prefix(records) }
}

/// What enough copies hold. The owner's own is one of them, as `Ensemble` has it.
fn committed(model: &SegmentModel, state: &Segment) -> Option<u8> {
    let mut mirrors: Vec<u8> = state.copies[1..model.copies].iter().map(|copy| copy.acknowledged).collect();
    mirrors.sort_unstable_by(|a, b| b.cmp(a));
    let own = state.copies[0].acknowledged;
    let held = if model.needed == 1 { own } else { own.min(mirrors[model.needed - 2]) };
    (!state.frozen && held > state.commit).then_some(held)
}

fn close(next: &mut Segment, end: u8) {
    next.meta = Meta::Closed(end);
    next.decided.get_or_insert(end);
}

/// The promise is durable before the answer, and a newer one stands.
fn seal(model: &SegmentModel, next: &mut Segment, by: usize, copy: usize) -> Option<()> {
    let epoch = by as u8 + 1;
    let it = &next.copies[copy];
    if !it.up || it.sealed > epoch {
        return None;
    }
    let answer = answer(model, next, copy);
    next.copies[copy].sealed = epoch;
    next.answers[by][copy] = answer;
    Some(())
}

/// What a copy tells a recovery; nothing if it is not to be trusted.
fn answer(model: &SegmentModel, state: &Segment, copy: usize) -> Option<Answer> {
    let it = &state.copies[copy];
    let had = it.reached;
    if it.lost {
        return model.has(Bug::BlankAnswers).then_some(Answer { said: 0, doubtful: false, had });
    }
    match it.rot.filter(|_| it.reread) {
        None => Some(Answer { said: it.prefix(), doubtful: false, had }),
        // Nothing lies behind it: it cannot be told from a torn write.
        Some(record) if model.last_frame_rots && record + 1 == it.prefix() => {
            Some(Answer { said: record, doubtful: true, had })
        }
        Some(record) => {
            model.has(Bug::DamageAnswers).then_some(Answer { said: record, doubtful: false, had })
        }
    }
}

/// The end that a recovery decides on: the longest of enough answers. While one is in doubt, all others are asked.
fn found(model: &SegmentModel, state: &Segment, by: usize) -> Option<u8> {
    let heard: Vec<Answer> = state.answers[by].iter().flatten().copied().collect();
    if heard.len() < model.answers() {
        return None;
    }
    let asked = |copy: usize| state.answers[by][copy].is_some() || answer(model, state, copy).is_none();
    let all_asked = (0..model.copies).all(|copy| asked(copy) || !state.copies[copy].up);
    if heard.iter().any(|answer| answer.doubtful) && !all_asked {
        return None;
    }
    let ends = heard.iter().map(|answer| answer.said);
    if model.has(Bug::TakesShortest) { ends.min() } else { ends.max() }
}

fn crash(model: &SegmentModel, next: &mut Segment, copy: usize) {
    next.crashes += 1;
    if copy == 0 {
        next.owner_runs = false;
    }
    let it = &mut next.copies[copy];
    it.up = false;
    it.received = it.synced;
    if it.synced != 0 {
        it.standing = Standing::Shut;
    }
    if model.has(Bug::ForgetsSeals) {
        it.sealed = 0;
    }
}

fn lose(next: &mut Segment, copy: usize) {
    next.losses += 1;
    if copy == 0 {
        next.owner_runs = false;
    }
    let it = &mut next.copies[copy];
    it.lost = true;
    it.standing = Standing::Shut;
    it.received = 0;
    it.synced = 0;
    it.rot = None;
}
