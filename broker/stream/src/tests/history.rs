//! Random histories against the simplest model: per partition a list of what was appended.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::Stage;
use super::world::{Node, Owner, World, check};
use crate::ReadRequest;

#[derive(Debug, Clone)]
enum Step {
    /// Appends batches to a partition; waits for them or not.
    Append {
        partition: usize,
        batches: Vec<(u32, usize)>,
        wait: bool,
    },
    Flush,
    Trim {
        partition: usize,
        share: u8,
    },
    EmptyCaches,
    Read {
        partition: usize,
        share: u8,
        max_bytes: usize,
    },
    Pause {
        ms: u64,
    },
    Kill {
        stage: Option<u8>,
        power_cut: bool,
    },
    Restart,
}

const PARTITIONS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let partition = 0..PARTITIONS;
    let batches = prop::collection::vec((1_u32..50, 12_usize..30_000), 1..8);
    prop_oneof![
        8 => (partition.clone(), batches, any::<bool>())
            .prop_map(|(partition, batches, wait)| Step::Append { partition, batches, wait }),
        2 => Just(Step::Flush),
        1 => (partition.clone(), any::<u8>()).prop_map(|(partition, share)| Step::Trim { partition, share }),
        1 => Just(Step::EmptyCaches),
        3 => (partition, any::<u8>(), 1_usize..100_000)
            .prop_map(|(partition, share, max_bytes)| Step::Read { partition, share, max_bytes }),
        1 => (0_u64..500).prop_map(|ms| Step::Pause { ms }),
        2 => (prop::option::of(0_u8..3), any::<bool>())
            .prop_map(|(stage, power_cut)| Step::Kill { stage, power_cut }),
        1 => Just(Step::Restart),
    ]
}

/// What a partition must hold.
#[derive(Debug, Default, Clone)]
struct Model {
    /// End and state sum after each batch that was appended.
    ends: BTreeMap<u64, u64>,
    acknowledged: u64,
    start: u64,
}

struct Run {
    world: World,
    node: Option<Node>,
    topic: aquifer_types::TopicId,
    owners: Vec<Arc<Owner>>,
    models: Vec<Model>,
}

impl Run {
    async fn new(seed: u64) -> Run {
        let mut world = World::new(seed).await;
        world.config.upload_bytes = 100_000;
        world.config.tail_cache_bytes = 50_000;
        world.config.block_cache_bytes = 200_000;
        let node = world.start().await;
        let topic = node.create_topic("t", PARTITIONS).await;
        let models = vec![Model { ends: BTreeMap::from([(0, 0)]), ..Model::default() }; PARTITIONS];
        let mut run = Run { world, node: Some(node), topic, owners: Vec::new(), models };
        run.open().await;
        run
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("running")
    }

    async fn open(&mut self) {
        for partition in 0..PARTITIONS {
            let owner = self.node().open(self.topic, partition as i32).await;
            self.owners.push(owner);
        }
    }

    /// After a start: everything acknowledged is there, as a prefix of what was appended, with its state.
    async fn reopen(&mut self) {
        self.node = Some(self.world.start().await);
        self.open().await;
        for (owner, model) in self.owners.iter().zip(&mut self.models) {
            let end = owner.stream.end();
            assert!(end >= model.acknowledged, "{end} < {} acknowledged", model.acknowledged);
            assert_eq!(owner.stream.committed_end(), end);
            assert_eq!(model.ends.get(&end), Some(&owner.sum()), "the state at {end}");
            assert_eq!(owner.stream.start(), model.start);
            model.ends.split_off(&(end + 1));
            model.acknowledged = end;
        }
        self.check_everything(40_000).await;
    }

    async fn check_everything(&self, max_bytes: usize) {
        for (owner, model) in self.owners.iter().zip(&self.models) {
            let read = owner.read_from(model.start, max_bytes).await.expect("readable");
            read.iter().for_each(|batch| check(owner.stream.id().get(), batch));
            let ends: Vec<u64> = read.iter().map(|batch| batch.end).collect();
            let committed = owner.stream.committed_end();
            let expected: Vec<u64> =
                model.ends.keys().copied().filter(|end| *end > model.start && *end <= committed).collect();
            assert_eq!(ends, expected);
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Append { partition, batches, wait } => {
                let (owner, model) = (&self.owners[partition], &mut self.models[partition]);
                for (records, size) in batches {
                    // Refused by back-pressure: nothing of it may be there later.
                    let Ok(lsn) = owner.append(records, size) else { break };
                    model.ends.insert(owner.stream.end(), owner.sum());
                    if wait {
                        owner.stream.durable(lsn).await.expect("the disk works");
                        model.acknowledged = owner.stream.end();
                    }
                }
            }
            Step::Flush => self.node().streams.flush().await.expect("flushed"),
            Step::Trim { partition, share } => {
                let (owner, model) = (&self.owners[partition], &mut self.models[partition]);
                let committed = owner.stream.committed_end();
                let to = model.start + (committed - model.start) * u64::from(share) / 512;
                owner.stream.trim(to).await.expect("trimmed");
                model.start = model.start.max(to);
            }
            Step::EmptyCaches => self.node().empty_caches(),
            Step::Read { partition, share, max_bytes } => {
                let (owner, model) = (&self.owners[partition], &self.models[partition]);
                let committed = owner.stream.committed_end();
                let offset = model.start + (committed - model.start) * u64::from(share) / 255;
                let read = owner.stream.read(&ReadRequest::new(offset, max_bytes)).await.expect("readable");
                assert_eq!(read.is_empty(), offset == committed);
                read.iter().for_each(|batch| check(owner.stream.id().get(), batch));
                assert!(read.first().is_none_or(|batch| batch.first <= offset && offset < batch.end));
            }
            Step::Pause { ms } => tokio::time::sleep(std::time::Duration::from_millis(ms)).await,
            Step::Kill { stage, power_cut } => {
                if let Some(stage) = stage {
                    let stage = [Stage::Prepared, Stage::Put, Stage::Committed][usize::from(stage)];
                    self.node().streams.0.faults.stop_at(stage);
                    let flush = self.node().streams.flush();
                    let _ = tokio::time::timeout(std::time::Duration::from_millis(300), flush).await;
                }
                self.owners.clear();
                let node = self.node.take().expect("running");
                if power_cut {
                    self.world.cut_power(node).await;
                } else {
                    self.world.kill(node).await;
                }
                self.reopen().await;
            }
            Step::Restart => {
                for (owner, model) in self.owners.iter().zip(&mut self.models) {
                    model.acknowledged = owner.stream.end();
                }
                let node = self.node.take().expect("running");
                self.world.stop(node).await;
                self.owners.clear();
                self.reopen().await;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_what_was_acknowledged(seed in any::<u64>(), steps in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut run = Run::new(seed).await;
            for step in steps {
                run.step(step).await;
            }
            run.check_everything(1_000).await;
            run.step(Step::Restart).await;
        });
    }
}
