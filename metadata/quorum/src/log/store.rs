use std::collections::VecDeque;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, RaftLogReader};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::backend::{LogBackend, StateKey, WriteBatch};
use super::entry::{self, EntryError};
use super::sync::{self, SyncQueue, Waiter};
use crate::raft::{Entry, LogId, TypeConfig, Vote};

/// Entries kept decoded: what is applied and replicated is nearly always among them.
const CACHE_ENTRIES: usize = 4_096;
/// Encoded bytes of commands in one message to a follower; one command may exceed it alone.
const MESSAGE_BYTES: usize = 1 << 20;
/// Encoded bytes of the entries kept decoded.
const CACHE_BYTES: usize = 16 << 20;

/// openraft's log storage over a [`LogBackend`]. Clones share one log.
#[derive(Clone)]
pub(crate) struct RaftLog {
    shared: Arc<Shared>,
}

struct Shared {
    backend: Arc<dyn LogBackend>,
    sync: SyncQueue,
    state: Mutex<State>,
}

struct State {
    purged: Option<LogId>,
    /// The first entry present, if any is.
    first: Option<u64>,
    /// The last entry present, or the last one purged.
    last: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// The newest entries, without a gap up to `last`, with their encoded sizes.
    cache: VecDeque<(Entry, usize)>,
    cache_bytes: usize,
}

impl RaftLog {
    /// Reads and checks the whole log (a few thousand entries: it is purged behind each snapshot). The returned
    /// future syncs the log and must be run until it ends, which it does when the last clone is dropped. Blocks.
    pub(crate) fn open(
        backend: Arc<dyn LogBackend>,
    ) -> Result<(Self, impl Future<Output = io::Result<()>> + Send + 'static), EntryError> {
        let damaged = |error: io::Error| EntryError::Damaged(error.to_string());
        let purged: Option<LogId> = read_state(&*backend, StateKey::Purged)?;
        let mut state = State {
            purged,
            first: None,
            last: purged,
            vote: read_state(&*backend, StateKey::Vote)?,
            committed: read_state(&*backend, StateKey::Committed)?,
            cache: VecDeque::new(),
            cache_bytes: 0,
        };
        if let Some((first, last)) = backend.bounds().map_err(damaged)? {
            let expected = purged.map_or(0, |purged| purged.index + 1);
            if first != expected {
                return Err(EntryError::Damaged(format!(
                    "the log begins at entry {first} instead of {expected}"
                )));
            }
            const STEP: u64 = 1_024;
            for start in (first..=last).step_by(STEP as usize) {
                let end = (start + STEP).min(last + 1);
                let entries = backend.entries(start..end).map_err(damaged)?;
                if entries.len() as u64 != end - start {
                    return Err(EntryError::Damaged(format!(
                        "entries are missing between {start} and {end}"
                    )));
                }
                for (index, bytes) in entries {
                    let size = bytes.len();
                    state.push(entry::decode(index, bytes)?, size);
                }
            }
        }
        let (sync, waiting) = sync::queue();
        let run = sync::run(backend.clone(), waiting);
        Ok((Self { shared: Arc::new(Shared { backend, sync, state: Mutex::new(state) }) }, run))
    }

    /// The last entry present, or the last one purged.
    pub(crate) fn last_index(&self) -> u64 {
        self.state().last.map_or(0, |last| last.index)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is changed only after the backend has taken a change, in steps that do not panic.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn queue(&self, waiter: Waiter) -> io::Result<()> {
        self.shared
            .sync
            .send(waiter)
            .await
            .map_err(|_| io::Error::other("the metadata log's sync task has ended"))
    }

    fn read(&self, range: impl RangeBounds<u64>) -> io::Result<Vec<Entry>> {
        let state = self.state();
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end + 1,
            Bound::Excluded(&end) => end,
            Bound::Unbounded => u64::MAX,
        };
        let start = start.max(state.first.unwrap_or(u64::MAX));
        let end = end.min(state.last.map_or(0, |last| last.index + 1));
        if start >= end {
            return Ok(Vec::new());
        }
        if let Some(cached) = state.cached(start, end) {
            return Ok(cached);
        }
        // Under the lock, so that no truncation or purge comes between; only a voter far behind gets here.
        let entries = self.shared.backend.entries(start..end)?;
        if entries.len() as u64 != end - start {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("entries are missing in {start}..{end}"),
            ));
        }
        let decoded = entries.into_iter().map(|(index, bytes)| {
            entry::decode(index, bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        });
        decoded.collect()
    }
}

impl State {
    fn push(&mut self, entry: Entry, size: usize) {
        self.first.get_or_insert(entry.log_id.index);
        self.last = Some(entry.log_id());
        self.cache.push_back((entry, size));
        self.cache_bytes += size;
        while self.cache.len() > CACHE_ENTRIES || (self.cache_bytes > CACHE_BYTES && self.cache.len() > 1) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some((_, size)) = self.cache.pop_front() {
            self.cache_bytes -= size;
        }
    }

    fn cached(&self, start: u64, end: u64) -> Option<Vec<Entry>> {
        let first = self.cache.front()?.0.log_id.index;
        let skip = usize::try_from(start.checked_sub(first)?).ok()?;
        let count = usize::try_from(end - start).ok()?;
        Some(self.cache.range(skip..skip + count).map(|(entry, _)| entry.clone()).collect())
    }
}

impl RaftLogReader<TypeConfig> for RaftLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.read(range)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let mut entries = self.read(start..end)?;
        let mut bytes = 0;
        let fitting = entries.iter().take_while(|entry| {
            bytes += match &entry.payload {
                EntryPayload::Normal(proposal) => proposal.encoded().len(),
                EntryPayload::Blank | EntryPayload::Membership(_) => 0,
            };
            bytes <= MESSAGE_BYTES
        });
        let count = fitting.count().max(1);
        entries.truncate(count);
        Ok(entries)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.state().vote)
    }
}

impl RaftLogStorage<TypeConfig> for RaftLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.state();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        {
            let mut state = self.state();
            self.shared.backend.write(state_write(StateKey::Vote, vote))?;
            state.vote = Some(*vote);
        }
        let (sender, synced) = oneshot::channel();
        self.queue(Waiter::Vote(sender)).await?;
        synced.await.map_err(|_| io::Error::other("the metadata log's sync task has ended"))?
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        // Not synced: an older value only makes the restart learn from the log's end what is committed.
        if let Some(committed) = committed {
            let mut state = self.state();
            self.shared.backend.write(state_write(StateKey::Committed, &committed))?;
            state.committed = Some(committed);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.state().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        {
            let encoded: Vec<(Entry, Vec<u8>)> = entries
                .into_iter()
                .map(|entry| {
                    let bytes = entry::encode(&entry);
                    (entry, bytes)
                })
                .collect();
            let mut state = self.state();
            let mut batch = WriteBatch::default();
            let mut sized = Vec::with_capacity(encoded.len());
            for (entry, bytes) in encoded {
                sized.push((entry, bytes.len()));
                batch.put.push((sized[sized.len() - 1].0.log_id.index, bytes));
            }
            self.shared.backend.write(batch)?;
            for (entry, size) in sized {
                state.push(entry, size);
            }
        }
        self.queue(Waiter::Append(callback)).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let mut state = self.state();
        let start = last.map_or(0, |last| last.index + 1);
        let end = state.last.map_or(0, |last| last.index + 1);
        if start >= end {
            return Ok(());
        }
        self.shared.backend.write(WriteBatch { remove: start..end, ..WriteBatch::default() })?;
        while state.cache.back().is_some_and(|(entry, _)| entry.log_id.index >= start) {
            if let Some((_, size)) = state.cache.pop_back() {
                state.cache_bytes -= size;
            }
        }
        if state.first.is_some_and(|first| first >= start) {
            state.first = None;
        }
        state.last = last;
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let mut state = self.state();
        if state.purged >= Some(upto) {
            return Ok(());
        }
        let start = state.purged.map_or(0, |purged| purged.index + 1);
        let mut batch = state_write(StateKey::Purged, &upto);
        batch.remove = start..upto.index + 1;
        self.shared.backend.write(batch)?;
        while state.cache.front().is_some_and(|(entry, _)| entry.log_id.index <= upto.index) {
            state.drop_first();
        }
        state.purged = Some(upto);
        if state.last.is_none_or(|last| last.index <= upto.index) {
            state.last = Some(upto);
            state.first = None;
        } else {
            state.first = state.first.map(|first| first.max(upto.index + 1));
        }
        Ok(())
    }
}

fn state_write(key: StateKey, value: &impl Serialize) -> WriteBatch {
    let value = rmp_serde::to_vec_named(value).expect("votes and log ids always encode");
    WriteBatch { state: vec![(key, value)], ..WriteBatch::default() }
}

fn read_state<T: DeserializeOwned>(backend: &dyn LogBackend, key: StateKey) -> Result<Option<T>, EntryError> {
    let value = backend.state(key).map_err(|error| EntryError::Damaged(error.to_string()))?;
    let decode = |value: Vec<u8>| {
        rmp_serde::from_slice(&value)
            .map_err(|error| EntryError::Damaged(format!("the {key:?} cannot be read: {error}")))
    };
    value.map(decode).transpose()
}
