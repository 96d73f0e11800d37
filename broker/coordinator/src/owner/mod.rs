//! The owner task of one partition of `__consumer_offsets`.
//!
//! It selects an event, applies it to the [`Shard`] synchronously, and performs the effects. Writes are pipelined:
//! nothing waits for a disk but the replies, each for everything that was written before it.

mod compaction;
mod load;
mod log;

use std::{
    collections::{BTreeSet, VecDeque},
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aquifer_partition::Partition;
use aquifer_runtime::{CancellationToken, Clock, Random};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tracing::{info, warn};

use crate::{
    GroupConfig, GroupError,
    event::{After, Effect, Event, LogRecord, Now, ReplyId, Request, Response},
    shard::Shard,
};

use compaction::Compaction;
use log::Log;

/// Requests that wait for an owner; more callers wait to get in.
pub(crate) const MAILBOX: usize = 1_024;
/// Requests that are taken at once: their commits go into one batch.
const REQUESTS_PER_TURN: usize = 256;
/// Batches on their way to the disk; beyond it requests wait, and so come in larger batches.
const BATCHES_IN_FLIGHT: usize = 32;

/// Timers come after what waited in the mailbox before them, which may be that many turns; under more load than that
/// they come in between.
const TURNS_BEFORE_TIMERS: usize = MAILBOX / REQUESTS_PER_TURN + 1;

/// What an owner is sent.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every message is a request")]
pub(crate) enum Message {
    /// A request and the way back for its answer.
    Ask { request: Request, reply: oneshot::Sender<Response> },
    /// These topics are gone, and so are the offsets in them.
    TopicsDeleted(Arc<BTreeSet<String>>),
}

/// What an owner is made of.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) config: Arc<GroupConfig>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
}

pub(crate) struct Owner {
    parts: Parts,
    shard: Shard,
    log: Log,
    compaction: Compaction,
    /// Commits of this turn, which become one batch.
    commits: Vec<(Vec<LogRecord>, After)>,
    loaded: Arc<AtomicBool>,
    next_reply: u64,
    /// Zero of the shard's timers.
    started: Instant,
    next_expiry: Instant,
}

impl Owner {
    /// `loaded` is set once the partition was read.
    pub(crate) fn new(parts: Parts, partition: Arc<Partition>, loaded: Arc<AtomicBool>) -> Self {
        let started = Instant::now();
        Self {
            shard: Shard::new(Arc::clone(&parts.config)),
            log: Log::new(partition),
            compaction: Compaction::default(),
            commits: Vec::new(),
            loaded,
            next_reply: 0,
            started,
            next_expiry: started + interval(&parts.config),
            parts,
        }
    }

    /// Loads, then serves until `stopping`, or until the mailbox is closed, or the log is dead.
    pub(crate) async fn run(
        mut self,
        mut mailbox: mpsc::Receiver<Message>,
        stopping: CancellationToken,
    ) -> Result<(), Infallible> {
        let loaded = tokio::select! {
            () = stopping.cancelled() => return Ok(()),
            loaded = load::load(&mut self.shard, self.log.partition(), &self.parts.clock, &mut mailbox) => loaded,
        };
        if let Err(error) = loaded {
            // The supervisor starts another owner in a while: a store may come back, and so may a newer release.
            warn!(partition = %self.log.name(), "cannot load groups: {error}");
            return Ok(());
        }
        self.loaded.store(true, Ordering::Release);
        let effects = self.shard.loaded(self.now());
        self.perform(effects);
        let error = self.serve(&mut mailbox, &stopping).await;
        let effects = self.shard.unload(error, self.now());
        self.log.fail(error);
        self.perform(effects);
        Ok(())
    }

    /// Returns what those who still wait are told.
    async fn serve(
        &mut self,
        mailbox: &mut mpsc::Receiver<Message>,
        stopping: &CancellationToken,
    ) -> GroupError {
        let mut messages = Vec::with_capacity(REQUESTS_PER_TURN);
        let mut full_turns = 0;
        loop {
            let may_write = self.log.in_flight() < BATCHES_IN_FLIGHT;
            let wake = self.wake();
            tokio::select! {
                biased;
                () = stopping.cancelled() => return GroupError::NotCoordinator,
                durable = self.log.durable(), if self.log.in_flight() > 0 => {
                    if let Err(error) = durable {
                        warn!(partition = %self.log.name(), "the log cannot be written any more: {error}");
                        return GroupError::CoordinatorNotAvailable;
                    }
                    self.log.release();
                }
                taken = mailbox.recv_many(&mut messages, REQUESTS_PER_TURN), if may_write => {
                    if taken == 0 {
                        return GroupError::NotCoordinator;
                    }
                    messages.drain(..).for_each(|message| self.receive(message));
                    self.flush();
                    full_turns = if taken < REQUESTS_PER_TURN { 0 } else { full_turns + 1 };
                    if full_turns < TURNS_BEFORE_TIMERS && full_turns > 0 {
                        continue;
                    }
                    full_turns = 0;
                    self.tick();
                    if self.compaction.is_writing() {
                        self.write_slice();
                    }
                }
                // Not while the disk stalls: heartbeats wait in the mailbox then, and nobody may expire for that.
                () = tokio::time::sleep_until(wake), if may_write => self.tick(),
                () = self.compaction.trimmed() => {}
                () = std::future::ready(()), if may_write && self.compaction.is_writing() => self.write_slice(),
            }
            self.compaction.next(&self.log, &self.shard);
            if self.log.partition().is_closed() {
                return GroupError::NotCoordinator;
            }
        }
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Ask { request, reply } => {
                self.next_reply += 1;
                let id = ReplyId(self.next_reply);
                self.log.expect(id, reply);
                let commit = matches!(request, Request::Commit(_));
                if !commit {
                    // Whatever comes after a commit on the same connection sees it.
                    self.flush();
                }
                let event = Event { request, reply: id, uuid: self.parts.random.uuid() };
                let effects = self.shard.apply(event, self.now());
                if commit { self.collect(effects) } else { self.perform(effects) }
            }
            Message::TopicsDeleted(topics) => {
                self.flush();
                let effects = self.shard.topics_deleted(&topics);
                self.perform(effects);
            }
        }
    }

    /// Keeps the writes of a commit for the end of the turn.
    fn collect(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Write { records, after } => self.commits.push((records, after)),
                Effect::Reply { to, response } => self.log.reply(to, response),
            }
        }
    }

    fn flush(&mut self) {
        if self.commits.is_empty() {
            return;
        }
        let commits = std::mem::take(&mut self.commits);
        let (records, afters): (Vec<_>, Vec<_>) = commits.into_iter().unzip();
        let records: Vec<_> = records.into_iter().flatten().collect();
        let taken = self.write(&records);
        for after in afters {
            let effects = self.shard.written(after, taken, self.now());
            self.perform(effects);
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Write { records, after } => {
                    let taken = self.write(&records);
                    let then = self.shard.written(after, taken, self.now());
                    then.into_iter().rev().for_each(|effect| effects.push_front(effect));
                }
                Effect::Reply { to, response } => self.log.reply(to, response),
            }
        }
    }

    fn write(&mut self, records: &[LogRecord]) -> bool {
        let appended = self.log.append(records, self.parts.clock.wall_ms());
        if let Err(error) = &appended {
            warn!(partition = %self.log.name(), records = records.len(), "a write was refused: {error}");
        }
        appended.is_ok()
    }

    fn tick(&mut self) {
        loop {
            let effects = self.shard.tick(self.now());
            if effects.is_empty() {
                break;
            }
            self.perform(effects);
        }
        if Instant::now() >= self.next_expiry {
            self.next_expiry = Instant::now() + interval(&self.parts.config);
            let effects = self.shard.expire(self.now());
            self.perform(effects);
        }
    }

    fn write_slice(&mut self) {
        let wall_ms = self.parts.clock.wall_ms();
        self.compaction.write_slice(&self.shard, &mut self.log, wall_ms);
    }

    fn wake(&self) -> Instant {
        let timer = self.shard.next_ms().and_then(|at_ms| u64::try_from(at_ms).ok());
        let timer = timer.map(|at_ms| self.started + Duration::from_millis(at_ms));
        timer.map_or(self.next_expiry, |at| at.min(self.next_expiry))
    }

    fn now(&self) -> Now {
        let elapsed_ms = self.started.elapsed().as_millis();
        Now { wall_ms: self.parts.clock.wall_ms(), timer_ms: i64::try_from(elapsed_ms).unwrap_or(i64::MAX) }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        info!(partition = %self.log.name(), "the group coordinator of this partition has stopped");
    }
}

fn interval(config: &GroupConfig) -> Duration {
    Duration::from_millis(config.offsets_retention_check_interval_ms.max(1).unsigned_abs())
}
