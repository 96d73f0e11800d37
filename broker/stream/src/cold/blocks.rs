//! Blocks of objects. What is fetched at once, a *run* of neighbouring blocks, is one buffer, one entry of the cache
//! and goes as one: a single block could not give its memory back.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use aquifer_runtime::OnEnd;
use aquifer_types::{ObjectId, StreamId};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::Shared as SharedFuture;
use tokio::sync::oneshot;

use super::Place;
use super::lru::Lru;
use crate::ReadError;
use crate::format::{Block, IndexEntry, ObjectIndex, StreamKind};
use crate::lock::lock;
use crate::shared::{Shared, object_key};

type Key = (ObjectId, usize);
type Fetch = SharedFuture<oneshot::Receiver<Result<Arc<Run>, ReadError>>>;

/// Neighbouring blocks that were fetched together.
#[derive(Debug)]
pub(super) struct Run {
    first_block: usize,
    blocks: Vec<Result<Block, ReadError>>,
}

impl Run {
    /// The block of this number, which must be one of the run. A damaged block damages only itself.
    fn block(&self, number: usize) -> Result<&Block, ReadError> {
        self.blocks[number - self.first_block].as_ref().map_err(Clone::clone)
    }
}

#[derive(Debug)]
pub(super) struct BlockCache(Mutex<State>);

#[derive(Debug)]
struct State {
    /// By object and number of the first block.
    runs: Lru<Key, Arc<Run>>,
    /// The run that a block is in.
    run_of: HashMap<Key, usize>,
    /// The fetch that will bring a block.
    fetching: HashMap<Key, Fetch>,
}

impl BlockCache {
    pub(super) fn new(budget: u64) -> Self {
        let state = State { runs: Lru::new(budget), run_of: HashMap::new(), fetching: HashMap::new() };
        BlockCache(Mutex::new(state))
    }

    pub(super) fn bytes(&self) -> u64 {
        lock(&self.0).runs.bytes()
    }

    #[cfg(test)]
    pub(super) fn clear(&self) {
        let mut state = lock(&self.0);
        state.runs.clear();
        state.run_of.clear();
    }

    /// Whether a block is here or on its way.
    pub(super) fn is_expected(&self, object: ObjectId, number: usize) -> bool {
        lock(&self.0).expects((object, number))
    }
}

impl State {
    fn expects(&self, key: Key) -> bool {
        self.run_of.contains_key(&key) || self.fetching.contains_key(&key)
    }

    fn cached(&mut self, key: Key) -> Option<Arc<Run>> {
        let first = *self.run_of.get(&key)?;
        self.runs.get(&(key.0, first)).cloned()
    }

    fn keep(&mut self, object: ObjectId, run: &Arc<Run>, bytes: u64) {
        let first = run.first_block;
        for number in first..first + run.blocks.len() {
            self.run_of.insert((object, number), first);
        }
        // The object of a run that goes is not stored with it: it is found by its blocks' keys.
        let before = self.runs.insert((object, first), Arc::clone(run), bytes);
        if !before.is_empty() {
            let State { runs, run_of, .. } = self;
            run_of.retain(|(object, _), first| runs.contains(&(*object, *first)));
        }
    }
}

/// A block that is in memory, or `None`.
pub(super) fn cached_block(
    shared: &Shared,
    object: ObjectId,
    number: usize,
) -> Option<Result<Block, ReadError>> {
    let run = lock(&shared.cold.blocks.0).cached((object, number))?;
    shared.cold.counters.block_hits.fetch_add(1, Ordering::Relaxed);
    Some(run.block(number).cloned())
}

/// The block of this number, fetched with those behind it up to `window` bytes unless it is here or on its way.
pub(super) async fn block(
    shared: &Arc<Shared>,
    place: &Place,
    index: &Arc<ObjectIndex>,
    number: usize,
    window: u64,
) -> Result<Block, ReadError> {
    let object = place.object;
    let cold = &shared.cold;
    let fetch = {
        let mut state = lock(&cold.blocks.0);
        if let Some(run) = state.cached((object, number)) {
            cold.counters.block_hits.fetch_add(1, Ordering::Relaxed);
            return run.block(number).cloned();
        }
        match state.fetching.get(&(object, number)) {
            Some(fetch) => fetch.clone(),
            None => {
                let blocks = run_from(index, number, window, |next| state.expects((object, next)));
                cold.counters.block_misses.fetch_add(blocks.len() as u64, Ordering::Relaxed);
                let fetch = start_fetch(shared, place, index, blocks.clone());
                state.fetching.extend(blocks.map(|number| ((object, number), fetch.clone())));
                fetch
            }
        }
    };
    // The task that fetches ends without an answer only when the node stops.
    let fetched = fetch.await.unwrap_or(Err(ReadError::Closed(place.stream)));
    fetched?.block(number).cloned()
}

/// Fetches in a task of its own: a reader that goes away must not hold up the others, nor the store's bytes in flight.
fn start_fetch(
    shared: &Arc<Shared>,
    place: &Place,
    index: &Arc<ObjectIndex>,
    blocks: std::ops::Range<usize>,
) -> Fetch {
    let (answer, fetch) = oneshot::channel();
    let (task, place, index) = (Arc::clone(shared), *place, Arc::clone(index));
    shared.tasks.spawn("block-fetch", OnEnd::Continue, async move {
        let fetched = read_run(&task, &place, &index, blocks.clone()).await;
        {
            let mut state = lock(&task.cold.blocks.0);
            for number in blocks.clone() {
                state.fetching.remove(&(place.object, number));
            }
            // What is damaged is not kept: the next reader asks the store again.
            if let Ok(run) = &fetched
                && run.blocks.iter().all(Result::is_ok)
            {
                let bytes = index.entries[blocks].iter().map(|entry| entry.size).sum();
                state.keep(place.object, run, bytes);
            }
        }
        // All readers may have gone away.
        let _ = answer.send(fetched);
        Ok::<_, String>(())
    });
    fetch.shared()
}

/// The blocks of one ranged read that begins at `number`: neighbours of the same stream, or further checkpoints, up to
/// `window` bytes, and none that is there already.
fn run_from(
    index: &ObjectIndex,
    number: usize,
    window: u64,
    expected: impl Fn(usize) -> bool,
) -> std::ops::Range<usize> {
    let start = index.entries[number];
    let (mut end, mut bytes) = (number + 1, start.size);
    while let Some(next) = index.entries.get(end) {
        let related =
            next.stream == start.stream || (start.kind, next.kind) == (StreamKind::Meta, StreamKind::Meta);
        if !related || bytes + next.size > window || expected(end) {
            break;
        }
        bytes += next.size;
        end += 1;
    }
    number..end
}

/// Fetches a run. Bytes may be damaged on their way: damage counts only if a second fetch has it too.
async fn read_run(
    shared: &Shared,
    place: &Place,
    index: &ObjectIndex,
    blocks: std::ops::Range<usize>,
) -> Result<Arc<Run>, ReadError> {
    let first = fetch_run(shared, place, index, blocks.clone()).await;
    if first.as_ref().is_ok_and(|run| run.blocks.iter().all(Result::is_ok)) {
        return first.map(Arc::new);
    }
    if let Err(ReadError::Store { .. }) = first {
        // The store has retried by itself.
        return first.map(Arc::new);
    }
    let cold = &shared.cold;
    let mut run = fetch_run(shared, place, index, blocks).await.map_err(|error| cold.count_damage(error))?;
    for block in &mut run.blocks {
        if let Err(error) = block {
            *block = Err(cold.count_damage(error.clone()));
        }
    }
    Ok(Arc::new(run))
}

async fn fetch_run(
    shared: &Shared,
    place: &Place,
    index: &ObjectIndex,
    blocks: std::ops::Range<usize>,
) -> Result<Run, ReadError> {
    let cold = &shared.cold;
    let entries = &index.entries[blocks.clone()];
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        unreachable!("a run has at least the block that was asked for");
    };
    let span = first.position..last.position + last.size;
    let got = cold.store.get_range(&object_key(place.object), span.clone()).await;
    let bytes = got.map_err(|error| place.store_error(error))?;
    cold.fetched(bytes.len() as u64);
    let mut run = Run { first_block: blocks.start, blocks: Vec::with_capacity(entries.len()) };
    for (number, entry) in blocks.zip(entries) {
        // The store gave exactly the span that was asked for.
        let from = (entry.position - span.start) as usize;
        let decoded = decode(&bytes.slice(from..from + entry.size as usize), entry);
        run.blocks.push(decoded.map_err(|reason| {
            // Of another stream's checkpoint the damage is that stream's.
            let place = Place { stream: StreamId(entry.stream), ..*place };
            place.damaged(Some((number, entry.first, entry.end)), reason)
        }));
    }
    Ok(run)
}

/// The block that the index promises, or what is wrong with it.
fn decode(bytes: &Bytes, entry: &IndexEntry) -> Result<Block, String> {
    let block = Block::decode(bytes).map_err(|damage| damage.to_string())?;
    let found = (block.kind, block.stream, block.first(), block.end());
    if found == (entry.kind, entry.stream, entry.first, entry.end) {
        return Ok(block);
    }
    let (_, stream, first, end) = found;
    Err(format!("the block holds offsets {first}..{end} of stream {stream}, the index says otherwise"))
}
