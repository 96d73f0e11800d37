use std::sync::Arc;
use std::time::Duration;

use aquifer_image::{AllocateProducerIds, Outcome};
use aquifer_partition::{Acks, AppendError, AppendRequest, LookupError, Unsettled};
use aquifer_record::{BatchBuilder, Compression, NewRecord, Origin};
use aquifer_types::ProducerId;
use bytes::BytesMut;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{Guess, RecordId, TOPIC, back_off, call};
use crate::checkers::Observation;
use crate::event;
use crate::planted::Planted;
use crate::process::Process;
use crate::world::World;

/// How long a node lets a producer wait for a partition that is being opened or handed over.
const HOLD_LIMIT: Duration = Duration::from_secs(1);
/// Records in a batch at most.
const BATCH_RECORDS: u64 = 4;
/// The longest pause between two batches, in milliseconds.
const PAUSE_MS: u64 = 120;

/// An idempotent producer of one partition that sends each batch until it is acknowledged.
pub(crate) struct Producer {
    world: Arc<World>,
    number: u64,
    partition: i32,
    leader: Guess,
    next_record: u64,
    next_sequence: i32,
    producer_id: i64,
    /// The highest that acknowledged something: clients know leaders by it, and ask no earlier one again.
    known_epoch: i32,
}

/// What was acknowledged.
struct Acknowledged {
    base_offset: i64,
    last_offset: i64,
    leader_epoch: i32,
    duplicate: bool,
}

enum Refusal {
    Lookup(LookupError),
    Append(AppendError, i32),
    Unsettled(Unsettled),
}

impl Producer {
    pub(crate) fn new(world: &Arc<World>, number: u64, partition: i32) -> Self {
        let leader = Guess(world.any_node());
        Self {
            world: world.clone(),
            number,
            partition,
            leader,
            next_record: 0,
            next_sequence: 0,
            producer_id: -1,
            known_epoch: 0,
        }
    }

    /// Sends batches until `enough`, and ends when the last one is acknowledged.
    pub(crate) async fn run(mut self, enough: watch::Receiver<bool>) {
        self.producer_id = match self.world.scenario.planted {
            Some(Planted::SharedProducerId) => 7,
            _ => self.ask_for_id().await,
        };
        while !*enough.borrow() {
            let records = 1 + self.world.random.below(BATCH_RECORDS);
            self.send(records).await;
            sleep(Duration::from_millis(self.world.random.below(PAUSE_MS))).await;
        }
    }

    async fn ask_for_id(&mut self) -> i64 {
        loop {
            let answer = call(&self.world, self.leader.0, |process: Arc<Process>| async move {
                let (node, broker_epoch) = (process.node, process.epoch);
                process.metadata.propose(AllocateProducerIds { node, broker_epoch, count: 1 }).await
            });
            match answer.await {
                Ok(Ok(Outcome::ProducerIds { first: ProducerId(id), .. })) => return id,
                _ => self.leader.after(&self.world, None),
            }
            back_off(&self.world).await;
        }
    }

    /// Sends one batch until it is acknowledged.
    async fn send(&mut self, records: u64) {
        let random = &self.world.random;
        let filling = match random.below(20) {
            0 => 30_000,
            1..5 => 2_000,
            _ => 20,
        };
        let filling = usize::try_from(random.below(filling)).expect("small");
        let ids: Vec<RecordId> = (0..records)
            .map(|at| RecordId { producer: self.number, number: self.next_record + at })
            .collect();
        let mut sequence = self.next_sequence;
        if self.world.scenario.planted == Some(Planted::ReusedSequence) && random.below(100) == 0 {
            sequence = (sequence - i32::try_from(records).expect("a few")).max(0);
        }
        let mut marked = true;
        let mut attempt = 0;
        let acknowledged = loop {
            attempt += 1;
            let batch = self.batch(&ids, filling, marked.then_some(sequence));
            let (index, node) = (self.partition, self.leader.0);
            let early = self.world.scenario.planted == Some(Planted::EarlyAnswer);
            let answer = call(&self.world, node, move |process| append(process, index, batch, early)).await;
            let (first, last) = (ids[0], ids[ids.len() - 1]);
            match answer {
                Ok(Ok(acknowledged)) => {
                    event!(
                        self.world.trace,
                        "producer {}: {TOPIC}-{index} {first}..={last} acknowledged by node {node} at {}..={} in leader epoch {}{}",
                        self.number,
                        acknowledged.base_offset,
                        acknowledged.last_offset,
                        acknowledged.leader_epoch,
                        if acknowledged.duplicate { ", a duplicate" } else { "" },
                    );
                    break acknowledged;
                }
                Ok(Err(Refusal::Lookup(error))) => {
                    event!(
                        self.world.trace,
                        "producer {}: node {node} refuses {first}..={last}: {error}",
                        self.number
                    );
                    self.leader.after(&self.world, Some(&error));
                }
                Ok(Err(Refusal::Append(error, leader_epoch))) => {
                    event!(
                        self.world.trace,
                        "producer {}: node {node} refuses {first}..={last}: {error}",
                        self.number
                    );
                    match error {
                        AppendError::NotLeader
                        | AppendError::BehindRefused { .. }
                        | AppendError::Storage(_) => {
                            self.leader.after(&self.world, None);
                        }
                        AppendError::Full(_) | AppendError::NotEnoughReplicas { .. } => {}
                        _ if leader_epoch < self.known_epoch => self.leader.after(&self.world, None),
                        error => {
                            let text =
                                format_args!("{TOPIC}-{index} {first}..={last}, attempt {attempt}: {error}");
                            self.world.trace.violation("a retriable refusal", text);
                            return;
                        }
                    }
                }
                Ok(Err(Refusal::Unsettled(error))) => {
                    event!(
                        self.world.trace,
                        "producer {}: node {node} does not know of {first}..={last}: {error}",
                        self.number
                    );
                    self.leader.after(&self.world, None);
                }
                Err(lost) => {
                    event!(
                        self.world.trace,
                        "producer {}: no answer from node {node} to {first}..={last}: {lost:?}",
                        self.number
                    );
                    self.leader.after(&self.world, None);
                    marked = self.world.scenario.planted != Some(Planted::UnmarkedRetry);
                }
            }
            back_off(&self.world).await;
        };
        self.world.observe(&Observation::Acknowledged {
            partition: self.partition,
            base_offset: acknowledged.base_offset,
            last_offset: acknowledged.last_offset,
            records: &ids,
            leader_epoch: acknowledged.leader_epoch,
            duplicate: acknowledged.duplicate,
        });
        self.known_epoch = self.known_epoch.max(acknowledged.leader_epoch);
        self.next_record += records;
        self.next_sequence += i32::try_from(records).expect("a few");
    }

    fn batch(&self, ids: &[RecordId], filling: usize, sequence: Option<i32>) -> BytesMut {
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some(sequence) = sequence {
            builder = builder.producer(self.producer_id, 0, sequence);
        }
        for id in ids {
            let value = id.value(filling);
            builder.push(NewRecord {
                timestamp_ms: crate::world::NOON_MS,
                value: Some(&value),
                ..NewRecord::default()
            });
        }
        builder.build()
    }
}

/// What the handler of Produce does with one batch and acks=all.
async fn append(
    process: Arc<Process>,
    index: i32,
    batch: BytesMut,
    early: bool,
) -> Result<Acknowledged, Refusal> {
    let topic = process.metadata.image().topic_by_name(TOPIC).map(|topic| topic.id);
    let topic = topic.ok_or(Refusal::Lookup(LookupError::UnknownTopic))?;
    if process.partitions.holds_any() {
        let _ = timeout(HOLD_LIMIT, process.partitions.appendable(topic, index)).await;
    }
    let partition = process.partitions.get_for_append(topic, index).map_err(Refusal::Lookup)?;
    let request =
        AppendRequest { origin: Origin::Client, acks: Acks::All, zstd_allowed: true, buffer_bytes: 0 };
    let leader_epoch = partition.leader_epoch();
    let refused = |error| Refusal::Append(error, leader_epoch);
    let appended = partition.append(batch, &request).map_err(refused)?;
    if !early {
        appended.ticket.wait().await.map_err(Refusal::Unsettled)?;
    }
    Ok(Acknowledged {
        base_offset: appended.base_offset,
        last_offset: appended.last_offset,
        leader_epoch,
        duplicate: appended.duplicate,
    })
}
