//! What uses the cluster: producers, consumers and the members of a group, over a way that loses requests and answers.

mod consumer;
mod member;
mod producer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aquifer_partition::LookupError;
use aquifer_types::NodeId;
use tokio::time::{sleep, timeout};

pub(crate) use consumer::{Consumer, read_all};
pub(crate) use member::{Member, offsets_topic, read_offsets};
pub(crate) use producer::Producer;

use crate::process::Process;
use crate::world::World;

/// The name of the topic that everybody uses.
pub(crate) const TOPIC: &str = "orders";
/// How long a client waits for an answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(4);
/// How long a connection to a node that is away takes to fail.
const REFUSAL: Duration = Duration::from_millis(20);
/// Of 1000 requests, so many are lost, and so many answers.
const LOST_PER_MILLE: u64 = 4;
/// The pause before a request is sent again.
const BACK_OFF_MS: u64 = 150;

/// One record of the run: which of its producer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RecordId {
    /// The producer in this run, not its Kafka id.
    pub(crate) producer: u64,
    /// Counts its records from 0.
    pub(crate) number: u64,
}

impl RecordId {
    /// The record's value: who it is, and a filling that follows from it.
    pub(crate) fn value(self, filling: usize) -> Vec<u8> {
        let mut value = Vec::with_capacity(16 + filling);
        value.extend_from_slice(&self.producer.to_be_bytes());
        value.extend_from_slice(&self.number.to_be_bytes());
        value.resize(16 + filling, self.filler());
        value
    }

    /// From a record's value; `None` if it is not what was written.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let (producer, rest) = value.split_first_chunk::<8>()?;
        let (number, filling) = rest.split_first_chunk::<8>()?;
        let id = Self { producer: u64::from_be_bytes(*producer), number: u64::from_be_bytes(*number) };
        filling.iter().all(|byte| *byte == id.filler()).then_some(id)
    }

    fn filler(self) -> u8 {
        self.number.to_le_bytes()[0] ^ self.producer.to_le_bytes()[0]
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.producer, self.number)
    }
}

/// There is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The request did not arrive.
    Undelivered,
    /// It may have arrived.
    Lost,
}

/// Asks a node: a request that takes its time both ways, and gets lost sometimes.
pub(crate) async fn call<T, F: Future<Output = T>>(
    world: &World,
    node: NodeId,
    ask: impl FnOnce(Arc<Process>) -> F,
) -> Result<T, NoAnswer> {
    call_within(world, REQUEST_LIMIT, node, ask).await
}

/// As [`call`], for what is answered late.
async fn call_within<T, F: Future<Output = T>>(
    world: &World,
    limit: Duration,
    node: NodeId,
    ask: impl FnOnce(Arc<Process>) -> F,
) -> Result<T, NoAnswer> {
    way(world).await;
    let reached = world.process(node).filter(|_| !world.unreachable().contains(&node));
    let Some(process) = reached else {
        sleep(REFUSAL).await;
        return Err(NoAnswer::Undelivered);
    };
    if world.random.below(1000) < LOST_PER_MILLE {
        sleep(REQUEST_LIMIT).await;
        return Err(NoAnswer::Undelivered);
    }
    let dead = process.body.dead.clone();
    let answer = tokio::select! {
        biased;
        () = dead.cancelled() => return Err(NoAnswer::Lost),
        answer = timeout(limit, ask(process)) => answer.map_err(|_| NoAnswer::Lost)?,
    };
    if world.random.below(1000) < LOST_PER_MILLE {
        sleep(REQUEST_LIMIT).await;
        return Err(NoAnswer::Lost);
    }
    way(world).await;
    match world.unreachable().contains(&node) {
        true => Err(NoAnswer::Lost),
        false => Ok(answer),
    }
}

async fn way(world: &World) {
    sleep(Duration::from_micros(100 + world.random.below(3_000))).await;
}

pub(crate) async fn back_off(world: &World) {
    sleep(Duration::from_millis(10 + world.random.below(BACK_OFF_MS))).await;
}

/// A client's idea of who leads a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guess(pub(crate) NodeId);

impl Guess {
    /// What a refusal or a lost connection tells: the leader's hint, or else any node may know.
    pub(crate) fn after(&mut self, world: &World, refusal: Option<&LookupError>) {
        *self = match refusal {
            Some(LookupError::NotLeader { leader: Some(leader), .. }) => Self(*leader),
            Some(LookupError::Opening | LookupError::Failed { .. }) => *self,
            _ => Self(world.any_node()),
        };
    }
}
