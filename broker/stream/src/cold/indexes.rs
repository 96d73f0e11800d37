//! Indexes of objects: fetched once, however many want them, and kept within a budget.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aquifer_runtime::OnEnd;
use aquifer_types::ObjectId;
use futures::FutureExt;
use futures::future::Shared as SharedFuture;
use tokio::sync::oneshot;

use super::lru::Lru;
use super::{ColdReader, Place};
use crate::ReadError;
use crate::format::{FOOTER_BYTES, Footer, ObjectIndex};
use crate::lock::lock;
use crate::shared::{Shared, object_key};

/// The first read of an object brings so many of its last bytes: the footer, and the index of all but the
/// largest objects.
const TAIL_BYTES: u64 = 64 << 10;

type Fetch = SharedFuture<oneshot::Receiver<Result<Arc<ObjectIndex>, ReadError>>>;

#[derive(Debug)]
pub(super) struct IndexCache(Mutex<State>);

#[derive(Debug)]
struct State {
    cached: Lru<ObjectId, Arc<ObjectIndex>>,
    fetching: HashMap<ObjectId, Fetch>,
}

impl IndexCache {
    pub(super) fn new(budget: u64) -> Self {
        IndexCache(Mutex::new(State { cached: Lru::new(budget), fetching: HashMap::new() }))
    }

    pub(super) fn bytes(&self) -> u64 {
        lock(&self.0).cached.bytes()
    }

    pub(super) fn forget(&self, object: ObjectId) {
        lock(&self.0).cached.remove(&object);
    }

    #[cfg(test)]
    pub(super) fn clear(&self) {
        lock(&self.0).cached.clear();
    }
}

/// The index of the object at `place`, checked to hold what the metadata says of it.
pub(super) async fn index(shared: &Arc<Shared>, place: &Place) -> Result<Arc<ObjectIndex>, ReadError> {
    let object = place.object;
    let fetch = {
        let mut state = lock(&shared.cold.indexes.0);
        if let Some(index) = state.cached.get(&object) {
            let index = Arc::clone(index);
            drop(state);
            return holds(place, index);
        }
        state.fetching.entry(object).or_insert_with(|| start_fetch(shared, place)).clone()
    };
    // The task that fetches ends without an answer only when the node stops.
    let fetched = fetch.await.unwrap_or(Err(ReadError::Closed(place.stream)));
    holds(place, fetched?)
}

/// Fetches in a task of its own: a reader that goes away must not hold up the others.
fn start_fetch(shared: &Arc<Shared>, place: &Place) -> Fetch {
    let (answer, fetch) = oneshot::channel();
    let (task, place) = (Arc::clone(shared), *place);
    shared.tasks.spawn("index-fetch", OnEnd::Continue, async move {
        let cold = &task.cold;
        let mut fetched = cold.read_index(&place).await;
        if matches!(fetched, Err(ReadError::Damaged(_) | ReadError::Missing { .. })) {
            // Bytes may be damaged on their way: damage counts only if a second fetch has it too.
            fetched = cold.read_index(&place).await;
        }
        let fetched = fetched.map(Arc::new).map_err(|error| cold.count_damage(error));
        {
            let mut state = lock(&cold.indexes.0);
            state.fetching.remove(&place.object);
            if let Ok(index) = &fetched {
                let bytes = size_of_val(index.entries.as_slice()) + size_of::<ObjectIndex>();
                state.cached.insert(place.object, Arc::clone(index), bytes as u64);
            }
        }
        // All readers may have gone away.
        let _ = answer.send(fetched);
        Ok::<_, String>(())
    });
    fetch.shared()
}

fn holds(place: &Place, index: Arc<ObjectIndex>) -> Result<Arc<ObjectIndex>, ReadError> {
    let blocks = &index.entries[index.blocks_of(place.stream.get())];
    let held = blocks.first().zip(blocks.last()).map(|(first, last)| (first.first, last.end));
    if held == Some((place.first, place.end)) {
        return Ok(index);
    }
    let reason = match held {
        Some((first, end)) => format!("its index has offsets {first}..{end} of the stream"),
        None => "its index does not have the stream".to_owned(),
    };
    Err(place.damaged(None, reason))
}

impl ColdReader {
    async fn read_index(&self, place: &Place) -> Result<ObjectIndex, ReadError> {
        let key = object_key(place.object);
        let object_bytes = place.object_bytes;
        if object_bytes < FOOTER_BYTES as u64 {
            return Err(place.damaged(None, format!("{object_bytes} bytes cannot be an object")));
        }
        let from = object_bytes.saturating_sub(TAIL_BYTES);
        let get = |range| async {
            let bytes = self.store.get_range(&key, range).await.map_err(|error| place.store_error(error))?;
            self.fetched(bytes.len() as u64);
            Ok::<_, ReadError>(bytes)
        };
        let tail = get(from..object_bytes).await?;
        let wrong = |damage: crate::format::IndexDamage| place.damaged(None, damage.to_string());
        let footer = Footer::decode(&tail, object_bytes).map_err(wrong)?;
        if footer.object != place.object.get() {
            return Err(place.damaged(None, format!("it says that it is object {}", footer.object)));
        }
        if footer.cluster != *self.cluster.get().as_bytes() {
            return Err(place.damaged(None, "it belongs to another cluster".to_owned()));
        }
        let index_end = footer.index_position + footer.index_bytes;
        let index = if footer.index_position >= from {
            // Both lie in the tail: the footer was checked to follow the index.
            tail.slice((footer.index_position - from) as usize..(index_end - from) as usize)
        } else {
            get(footer.index_position..index_end).await?
        };
        ObjectIndex::decode(&index, &footer).map_err(wrong)
    }
}
