//! Any history of a log, on both backends, against a plain model, with reopenings in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use aquifer_image::{Command, RemoveObjects};
use aquifer_runtime::{OnEnd, TaskGroup};
use aquifer_types::ObjectId;
use openraft::EntryPayload;
use openraft::storage::{RaftLogReader as _, RaftLogStorage as _, RaftLogStorageExt as _};
use openraft::testing::{blank_ent, log_id};
use proptest::prelude::*;

use super::backend::LogBackend;
use super::{MemoryStorage, RaftLog, SledLog};
use crate::raft::{Entry, Proposal, TypeConfig, Vote};

#[derive(Clone, Debug)]
enum Step {
    /// Entries with commands of so many object ids: some fit one piece of the store, some need many.
    Append(Vec<u16>),
    /// Takes back so many of the last entries.
    Truncate(u64),
    /// Purges so many of the first entries.
    Purge(u64),
    Vote(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(prop_oneof![0..4u16, 400..600u16, 0..4_000u16], 1..6).prop_map(Step::Append),
        1 => (0..5u64).prop_map(Step::Truncate),
        1 => (0..5u64).prop_map(Step::Purge),
        1 => (1..100u64).prop_map(Step::Vote),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<u64, u16>,
    purged: Option<u64>,
    vote: Option<u64>,
    term: u64,
}

impl Model {
    fn next(&self) -> u64 {
        let last = self.entries.last_key_value().map(|(index, _)| *index).or(self.purged);
        last.map_or(0, |last| last + 1)
    }
}

fn entry(index: u64, objects: u16) -> Entry {
    let mut entry = blank_ent::<TypeConfig>(1, 7, index);
    let objects = (0..u64::from(objects)).map(|id| ObjectId(u64::MAX - id)).collect();
    entry.payload = EntryPayload::Normal(Proposal::new(Arc::new(Command::from(RemoveObjects { objects }))));
    entry
}

fn objects_of(entry: &Entry) -> u16 {
    match &entry.payload {
        EntryPayload::Normal(proposal) => match &**proposal.command() {
            Command::RemoveObjects(command) => u16::try_from(command.objects.len()).unwrap(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other}"),
    }
}

fn open(backend: Arc<dyn LogBackend>) -> RaftLog {
    let (log, sync) = RaftLog::open(backend).unwrap();
    TaskGroup::new().spawn("sync", OnEnd::Continue, sync);
    log
}

async fn run(steps: Vec<Step>, open_backend: impl Fn() -> Arc<dyn LogBackend>) {
    let mut backend = open_backend();
    let mut log = open(backend.clone());
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Append(sizes) => {
                let entries: Vec<_> = (model.next()..).zip(sizes).collect();
                log.blocking_append(entries.iter().map(|(index, size)| entry(*index, *size))).await.unwrap();
                model.entries.extend(entries);
            }
            Step::Truncate(count) => {
                let first_kept = model.purged.map_or(0, |purged| purged + 1);
                let start = model.next().saturating_sub(count).max(first_kept);
                log.truncate_after(start.checked_sub(1).map(|last| log_id::<TypeConfig>(1, 7, last)))
                    .await
                    .unwrap();
                model.entries.split_off(&start);
            }
            Step::Purge(count) => {
                let Some(upto) =
                    model.entries.keys().copied().take(usize::try_from(count).unwrap()).next_back()
                else {
                    continue;
                };
                log.purge(log_id::<TypeConfig>(1, 7, upto)).await.unwrap();
                model.entries = model.entries.split_off(&(upto + 1));
                model.purged = Some(upto);
            }
            Step::Vote(more) => {
                model.term += more;
                log.save_vote(&Vote::new(model.term, 7)).await.unwrap();
                model.vote = Some(model.term);
            }
            Step::Reopen => {
                drop(log);
                // What was not synced by itself would be lost in a power cut, but not in a close.
                backend.sync().unwrap();
                backend.close();
                backend = open_backend();
                log = open(backend.clone());
            }
        }
        check(&mut log, &model).await;
    }
}

async fn check(log: &mut RaftLog, model: &Model) {
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id.map(|purged| purged.index), model.purged);
    assert_eq!(state.last_log_id.map(|last| last.index + 1).unwrap_or(0), model.next());
    assert_eq!(log.read_vote().await.unwrap(), model.vote.map(|term| Vote::new(term, 7)));
    let found = log.try_get_log_entries(..).await.unwrap();
    let found: BTreeMap<_, _> = found.iter().map(|entry| (entry.log_id.index, objects_of(entry))).collect();
    assert_eq!(found, model.entries);
}

fn sled_in(dir: &Path) -> Arc<dyn LogBackend> {
    Arc::new(SledLog::open(dir).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_on_sled_reads_back_as_written(steps in prop::collection::vec(step(), 1..24)) {
        let dir = tempfile::tempdir().unwrap();
        tokio::runtime::Runtime::new().unwrap().block_on(run(steps, || sled_in(dir.path())));
    }

    #[test]
    fn any_history_in_memory_reads_back_as_written(steps in prop::collection::vec(step(), 1..24)) {
        let memory = MemoryStorage::new();
        let reopen = || -> Arc<dyn LogBackend> { Arc::new(memory.open()) };
        tokio::runtime::Runtime::new().unwrap().block_on(run(steps, reopen));
    }
}
