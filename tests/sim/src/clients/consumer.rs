use std::sync::Arc;
use std::time::Duration;

use aquifer_partition::{LookupError, ReadError, ReadRequest};
use aquifer_record::{BatchHeader, Records};
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{Guess, RecordId, TOPIC, back_off, call};
use crate::checkers::Observation;
use crate::event;
use crate::process::Process;
use crate::world::World;

/// Bytes of one read.
const READ_BYTES: usize = 48 << 10;
/// The pause when there is nothing to read.
const IDLE: Duration = Duration::from_millis(120);

/// Reads one partition from its start, over and over.
pub(crate) struct Consumer {
    world: Arc<World>,
    number: u64,
    partition: i32,
    leader: Guess,
    offset: i64,
}

/// What a node answered.
struct Answer {
    high_watermark: i64,
    log_start_offset: i64,
    leader_epoch: i32,
    batches: Vec<Bytes>,
}

enum Refusal {
    Lookup(LookupError),
    Read(ReadError),
}

/// Where a reader stands after a step.
enum Step {
    /// Records were read.
    On,
    /// There is nothing to read: the high watermark.
    End(i64),
    /// No answer, or none of use.
    Again,
}

impl Consumer {
    pub(crate) fn new(world: &Arc<World>, number: u64, partition: i32) -> Self {
        Self { world: world.clone(), number, partition, leader: Guess(world.any_node()), offset: 0 }
    }

    /// Reads until the run ends.
    pub(crate) async fn run(mut self) {
        loop {
            match self.step().await {
                Step::On => {}
                Step::Again => back_off(&self.world).await,
                Step::End(_) => {
                    sleep(IDLE).await;
                    if self.world.random.below(20) == 0 {
                        self.offset = 0;
                    }
                }
            }
        }
    }

    async fn step(&mut self) -> Step {
        let (index, offset, node) = (self.partition, self.offset, self.leader.0);
        let began = self.world.trace.elapsed();
        match call(&self.world, node, move |process| read(process, index, offset)).await {
            Ok(Ok(answer)) => self.take(began, &answer),
            Ok(Err(Refusal::Lookup(error))) => {
                self.leader.after(&self.world, Some(&error));
                Step::Again
            }
            Ok(Err(Refusal::Read(error))) => self.refused(&error),
            Err(_) => {
                self.leader.after(&self.world, None);
                Step::Again
            }
        }
    }

    fn refused(&mut self, error: &ReadError) -> Step {
        let (trace, node) = (&self.world.trace, self.leader.0);
        event!(trace, "consumer {}: node {node} refuses {TOPIC}-{}: {error}", self.number, self.partition);
        match error {
            ReadError::OutOfRange { log_start_offset, .. } if *log_start_offset > self.offset => {
                self.offset = *log_start_offset;
                return Step::On;
            }
            ReadError::OutOfRange { offset, end, .. } => {
                let text = format_args!(
                    "{TOPIC}-{}: offset {offset} was read up to and is beyond the end {end} on node {node}",
                    self.partition
                );
                trace.violation("nothing that was read is lost", text);
            }
            ReadError::Damaged(reason) => {
                let text = format_args!("{TOPIC}-{} at {}: {reason}", self.partition, self.offset);
                trace.violation("what the store holds is what was written", text);
            }
            ReadError::Epoch(_) | ReadError::NotLeader | ReadError::Storage(_) => {
                self.leader.after(&self.world, None);
            }
        }
        Step::Again
    }

    fn take(&mut self, began: Duration, answer: &Answer) -> Step {
        let mut records = Vec::new();
        for batch in &answer.batches {
            match parse(batch) {
                Ok(parsed) => records.extend(parsed),
                Err(reason) => {
                    let text = format_args!("{TOPIC}-{} at {}: {reason}", self.partition, self.offset);
                    self.world.trace.violation("what is read is what was written", text);
                    return Step::Again;
                }
            }
        }
        self.world.observe(&Observation::Read {
            partition: self.partition,
            began,
            ended: self.world.trace.elapsed(),
            offset: self.offset,
            records: &records,
            high_watermark: answer.high_watermark,
            log_start_offset: answer.log_start_offset,
            leader_epoch: answer.leader_epoch,
        });
        let Some((last, _)) = records.last() else { return Step::End(answer.high_watermark) };
        event!(
            self.world.trace,
            "consumer {}: {TOPIC}-{} {}..={last} from node {}, high watermark {}",
            self.number,
            self.partition,
            self.offset,
            self.leader.0,
            answer.high_watermark
        );
        self.offset = last + 1;
        Step::On
    }
}

/// Reads a whole partition to its high watermark; `None` if that cannot be done within `limit`.
pub(crate) async fn read_all(world: &Arc<World>, partition: i32, limit: Duration) -> Option<i64> {
    let deadline = Instant::now() + limit;
    let mut reader = Consumer::new(world, u64::MAX, partition);
    while Instant::now() < deadline {
        match reader.step().await {
            Step::On => {}
            Step::End(high_watermark) if high_watermark <= reader.offset => return Some(high_watermark),
            Step::End(_) | Step::Again => back_off(world).await,
        }
    }
    None
}

/// What the handler of Fetch does for one partition.
async fn read(process: Arc<Process>, index: i32, offset: i64) -> Result<Answer, Refusal> {
    let partition = process.partitions.get_by_name(TOPIC, index).map_err(Refusal::Lookup)?;
    let leader_epoch = partition.leader_epoch();
    let result = partition.read(&ReadRequest::new(offset, READ_BYTES)).await.map_err(Refusal::Read)?;
    Ok(Answer {
        high_watermark: result.high_watermark,
        log_start_offset: result.log_start_offset,
        leader_epoch,
        batches: result.records,
    })
}

/// Offsets and records of a batch.
fn parse(batch: &Bytes) -> Result<Vec<(i64, RecordId)>, String> {
    let header = BatchHeader::parse(batch).map_err(|error| error.to_string())?;
    let records = Records::new(batch).map_err(|error| error.to_string())?;
    let mut parsed = Vec::new();
    for record in records {
        let record = record.map_err(|error| error.to_string())?;
        let id = record.value.as_deref().and_then(RecordId::parse);
        let id =
            id.ok_or_else(|| format!("the value at offset {} is not one that was sent", record.offset))?;
        parsed.push((record.offset, id));
    }
    if parsed.len() != header.records_count.unsigned_abs() as usize {
        return Err(format!("{} records instead of {}", parsed.len(), header.records_count));
    }
    Ok(parsed)
}
