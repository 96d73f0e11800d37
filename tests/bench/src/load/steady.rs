use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use tokio::time::Instant;

use super::{Topic, options, produce::pause};
use crate::BenchError;

/// Records a second to each partition: a gap is told to ten milliseconds.
const PER_SECOND: f64 = 100.0;
const RECORD: &[u8] = b"steady";
/// When the client's queue is full of what waits for a leader.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(10);
/// Between two looks at what was acknowledged.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// For an interruption, and for the last acknowledgements.
const LIMIT: Duration = Duration::from_secs(180);

/// A producer at a steady pace, which knows for how long acknowledgements stayed away.
pub(crate) struct Steady {
    topic: Topic,
    producer: ThreadedProducer<Reports>,
    flows: Arc<Mutex<Flows>>,
    stop: AtomicBool,
    sent: AtomicU64,
}

/// What was acknowledged.
struct Flows {
    partitions: Vec<Flow>,
    failure: Option<String>,
}

/// In one partition.
#[derive(Clone, Copy)]
struct Flow {
    acknowledged: u64,
    last: Instant,
    /// Between two acknowledgements.
    longest: Duration,
}

impl Steady {
    /// Connects; nothing is sent yet.
    pub(crate) fn open(topic: &Topic) -> Result<Self, BenchError> {
        let flow = Flow { acknowledged: 0, last: Instant::now(), longest: Duration::ZERO };
        let flows = Flows { partitions: vec![flow; topic.partitions as usize], failure: None };
        let flows = Arc::new(Mutex::new(flows));
        let producer: ThreadedProducer<Reports> = options::steady(&topic.bootstrap)
            .create_with_context(Reports(Arc::clone(&flows)))
            .map_err(BenchError::client("create a producer"))?;
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        Ok(Self { topic: topic.clone(), producer, flows, stop, sent })
    }

    /// Sends to each partition until [`Self::stop`], then waits until all is acknowledged; how many records there were.
    pub(crate) fn run(&self) -> Result<u64, BenchError> {
        let (begun, mut turn) = (Instant::now(), 0.0);
        while !self.stop.load(Ordering::Relaxed) {
            let due = Duration::from_secs_f64(turn / PER_SECOND);
            pause(due.saturating_sub(begun.elapsed()));
            turn += 1.0;
            for partition in 0..self.topic.partitions {
                self.send(partition)?;
            }
        }
        self.producer.flush(LIMIT).map_err(BenchError::client("wait for the last acknowledgements"))?;
        let sent = self.sent.load(Ordering::Relaxed);
        let flows = lock(&self.flows);
        let acknowledged: u64 = flows.partitions.iter().map(|flow| flow.acknowledged).sum();
        match &flows.failure {
            None if acknowledged == sent => Ok(sent),
            failure => Err(BenchError::Wrong(format!(
                "{} of {sent} records were not acknowledged: {}",
                sent - acknowledged,
                failure.as_deref().unwrap_or("no reason was given")
            ))),
        }
    }

    fn send(&self, partition: i32) -> Result<(), BenchError> {
        loop {
            let record = BaseRecord::<(), [u8]>::to(&self.topic.name).payload(RECORD).partition(partition);
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _))
                    if !self.stop.load(Ordering::Relaxed) =>
                {
                    pause(FULL_QUEUE_PAUSE);
                }
                Err((error, _)) => return Err(BenchError::client("send a record")(error)),
            }
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Ends [`Self::run`].
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until so many more were acknowledged in each partition; false if they are not within `limit`.
    pub(crate) fn flows(&self, records: u64, limit: Duration) -> bool {
        let acknowledged =
            || -> Vec<u64> { lock(&self.flows).partitions.iter().map(|flow| flow.acknowledged).collect() };
        let (before, begun) = (acknowledged(), Instant::now());
        while acknowledged().iter().zip(&before).any(|(now, before)| now - before < records) {
            if begun.elapsed() > limit {
                return false;
            }
            pause(LOOK_EVERY);
        }
        true
    }

    /// As [`Self::flows`]; it is an error if it takes longer than any interruption may.
    pub(crate) fn flow(&self, records: u64) -> Result<(), BenchError> {
        if self.flows(records, LIMIT) {
            return Ok(());
        }
        let name = &self.topic.name;
        let failure = lock(&self.flows).failure.clone().unwrap_or_default();
        Err(BenchError::Wrong(format!("acknowledgements of {name} stayed away for {LIMIT:?} {failure}")))
    }

    /// Begins to measure anew; an interruption that lasts goes on to count.
    pub(crate) fn mark(&self) {
        lock(&self.flows).partitions.iter_mut().for_each(|flow| flow.longest = Duration::ZERO);
    }

    /// The longest time between two acknowledgements since [`Self::mark`], for each partition.
    pub(crate) fn gaps(&self) -> Vec<Duration> {
        lock(&self.flows).partitions.iter().map(|flow| flow.longest).collect()
    }
}

fn lock(flows: &Mutex<Flows>) -> MutexGuard<'_, Flows> {
    // Counters have no invariant that a panic elsewhere could have broken.
    flows.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes delivery reports, on librdkafka's polling thread.
struct Reports(Arc<Mutex<Flows>>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        let (now, mut flows) = (Instant::now(), lock(&self.0));
        match report {
            Ok(message) => {
                let flow = &mut flows.partitions[message.partition() as usize];
                flow.acknowledged += 1;
                flow.longest = flow.longest.max(now - flow.last);
                flow.last = now;
            }
            Err((error, _)) => {
                flows.failure.get_or_insert_with(|| error.to_string());
            }
        }
    }
}
