//! A store in memory that does to its users what a bad day does, from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_runtime::{Clock, Random};
use bytes::Bytes;
use tokio::time::Instant;

use crate::backend::SimulatedBackend;
use crate::error::{ErrorKind, Failure};
use crate::options::StoreOptions;
use crate::store::{ObjectInfo, Store};

/// What a [`SimulatedStore`] does. By default it answers at once.
#[derive(Clone, Debug, Default)]
pub struct StoreFaults {
    /// The longest time a request takes, in milliseconds of tokio's clock; each draws 0 to this. A request that its caller
    /// has given up takes effect all the same when its time has come.
    pub latency_ms: u64,
    /// Nobody answers; what is under way arrives.
    pub down: bool,
    /// Of 1000 requests, so many are refused.
    pub refused_per_mille: u64,
    /// Of 1000 requests, so many take effect and are not answered.
    pub unanswered_per_mille: u64,
    /// Of 1000 objects, so many are acknowledged and lost: a lie that a test must notice.
    pub lost_per_mille: u64,
    /// Of 1000 objects, so many are kept with a flipped bit.
    pub damaged_per_mille: u64,
}

/// A store that outlives the processes which [`attach`](Self::attach) to it. Cheap to clone.
///
/// Everything is a function of the seed and of the calls, when it runs in one thread with tokio's clock paused.
#[derive(Clone, Debug)]
pub struct SimulatedStore(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    faults: StoreFaults,
    random: Random,
    clock: Clock,
    objects: BTreeMap<String, (Bytes, i64)>,
    /// Writes on their way, by when they arrive and in which order they left.
    writes: BTreeMap<(Instant, u64), (Write, Slot)>,
    issued: u64,
    processes: u64,
    dead: BTreeSet<u64>,
}

/// What becomes of a request.
pub(crate) enum Fate {
    Refused,
    /// It never arrives, and is not answered.
    Silent,
    Arrives {
        at: Instant,
        answered: bool,
    },
}

#[derive(Debug)]
pub(crate) enum Write {
    Put { key: String, bytes: Bytes },
    Delete { key: String },
}

/// Where the result of a write will be.
pub(crate) type Slot = Arc<Mutex<Option<Result<(), Failure>>>>;

impl SimulatedStore {
    /// An empty store. `clock` is its own.
    pub fn new(seed: u64, faults: StoreFaults, clock: Clock) -> Self {
        Self(Arc::new(Mutex::new(State {
            faults,
            random: Random::seeded(seed),
            clock,
            objects: BTreeMap::new(),
            writes: BTreeMap::new(),
            issued: 0,
            processes: 0,
            dead: BTreeSet::new(),
        })))
    }

    /// A process reaches the store; the number by which [`kill`](Self::kill) knows it.
    pub fn attach(&self, options: &StoreOptions, clock: Clock, random: Random) -> (Store, u64) {
        let process = {
            let mut state = self.state();
            state.processes += 1;
            state.processes
        };
        let backend = Box::new(SimulatedBackend::new(self.clone(), process));
        (Store::new("simulated:".into(), backend, Arc::default(), options, clock, random), process)
    }

    /// The process dies: what it has under way arrives in its time, what is left of it in a test reaches nobody.
    pub fn kill(&self, process: u64) {
        self.state().dead.insert(process);
    }

    /// Changes what it does from now on.
    pub fn set_faults(&self, faults: StoreFaults) {
        self.state().faults = faults;
    }

    /// What it does.
    pub fn faults(&self) -> StoreFaults {
        self.state().faults.clone()
    }

    /// Keys and sizes of all objects, as the store itself knows them.
    pub fn objects(&self) -> BTreeMap<String, u64> {
        self.settled().objects.iter().map(|(key, (bytes, _))| (key.clone(), bytes.len() as u64)).collect()
    }

    /// Whether writes are still on their way.
    pub fn has_writes_under_way(&self) -> bool {
        !self.settled().writes.is_empty()
    }

    /// Removes an object behind everybody's back.
    pub fn remove(&self, key: &str) {
        self.state().objects.remove(key);
    }

    pub(crate) fn request(&self, process: u64) -> Fate {
        let state = self.settled();
        if state.dead.contains(&process) || state.faults.down {
            return Fate::Silent;
        }
        let faults = &state.faults;
        if state.random.below(1000) < faults.refused_per_mille {
            return Fate::Refused;
        }
        let answered = state.random.below(1000) >= faults.unanswered_per_mille;
        let latency = Duration::from_millis(state.random.below(faults.latency_ms + 1));
        Fate::Arrives { at: Instant::now() + latency, answered }
    }

    pub(crate) fn issue(&self, at: Instant, write: Write) -> Slot {
        let mut state = self.state();
        let slot = Slot::default();
        state.issued += 1;
        let key = (at, state.issued);
        state.writes.insert(key, (write, Slot::clone(&slot)));
        slot
    }

    /// Lets every write take effect whose time has come.
    pub(crate) fn settle(&self) {
        drop(self.settled());
    }

    pub(crate) fn is_dead(&self, process: u64) -> bool {
        self.state().dead.contains(&process)
    }

    pub(crate) fn object(&self, key: &str) -> Option<(Bytes, i64)> {
        self.settled().objects.get(key).cloned()
    }

    pub(crate) fn list(&self, prefix: &str, after: Option<&str>) -> Vec<ObjectInfo> {
        let state = self.settled();
        let below = |key: &str| {
            prefix.is_empty() || key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
        };
        let found = state
            .objects
            .iter()
            .filter(|(key, _)| below(key) && after.is_none_or(|after| key.as_str() > after));
        let info = |(key, (bytes, modified_ms)): (&String, &(Bytes, i64))| ObjectInfo {
            key: key.clone(),
            size: bytes.len() as u64,
            modified_ms: *modified_ms,
        };
        found.map(info).collect()
    }

    fn settled(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        let now = Instant::now();
        while let Some(write) = state.writes.first_entry().filter(|write| write.key().0 <= now) {
            let (write, slot) = write.remove();
            let result = state.carry_out(write);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        }
        state
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked with the lock held has failed already.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn carry_out(&mut self, write: Write) -> Result<(), Failure> {
        match write {
            Write::Put { key, .. } if self.objects.contains_key(&key) => {
                Err(Failure::none(ErrorKind::AlreadyExists, ""))
            }
            Write::Put { .. } if self.random.below(1000) < self.faults.lost_per_mille => Ok(()),
            Write::Put { key, mut bytes } => {
                if !bytes.is_empty() && self.random.below(1000) < self.faults.damaged_per_mille {
                    let mut damaged = bytes.to_vec();
                    let at = self.random.below(damaged.len() as u64) as usize;
                    damaged[at] ^= 1;
                    bytes = damaged.into();
                }
                self.objects.insert(key, (bytes, self.clock.wall_ms()));
                Ok(())
            }
            Write::Delete { key } => {
                self.objects.remove(&key);
                Ok(())
            }
        }
    }
}
