//! The deadlines of one group.

use std::collections::{BTreeMap, BTreeSet};

/// What a deadline is for; one of each at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A member, or one that was given its id and has not joined yet, must be heard of.
    Session(String),
    /// The join phase ends.
    Join,
    /// Every member must have synced.
    Sync,
}

/// Deadlines on the monotonic clock, in milliseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timers {
    deadlines: BTreeMap<Timer, i64>,
    queue: BTreeSet<(i64, Timer)>,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(crate) fn set(&mut self, timer: Timer, at_ms: i64) {
        if let Some(before) = self.deadlines.insert(timer.clone(), at_ms) {
            self.queue.remove(&(before, timer.clone()));
        }
        self.queue.insert((at_ms, timer));
    }

    pub(crate) fn cancel(&mut self, timer: &Timer) {
        if let Some(at_ms) = self.deadlines.remove(timer) {
            self.queue.remove(&(at_ms, timer.clone()));
        }
    }

    pub(crate) fn cancel_session(&mut self, member_id: &str) {
        self.cancel(&Timer::Session(member_id.to_owned()));
    }

    /// The earliest deadline.
    pub(crate) fn next_ms(&self) -> Option<i64> {
        self.queue.first().map(|(at_ms, _)| *at_ms)
    }

    /// Takes the earliest timer that is due.
    pub(crate) fn pop_due(&mut self, now_ms: i64) -> Option<Timer> {
        if self.next_ms()? > now_ms {
            return None;
        }
        let (_, timer) = self.queue.pop_first()?;
        self.deadlines.remove(&timer);
        Some(timer)
    }
}
