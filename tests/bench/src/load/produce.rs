use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use tokio::time::Instant;

use super::{Topic, options, payload::Payload};
use crate::BenchError;
use crate::scenario::Produce;

/// Latencies from a microsecond to a minute, to three digits.
const LATENCY_US: (u64, u64) = (1, 60_000_000);
const DIGITS: u8 = 3;
/// Records that one of many producers gets at a time.
const BURST: u64 = 100;
/// When the client's queue is full; it holds a hundred times what leaves in this time.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(1);
/// For the acknowledgements of what was sent.
const FLUSH_LIMIT: Duration = Duration::from_secs(120);

/// What was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Since the beginning.
    pub(crate) acknowledged: u64,
    /// Refused or given up.
    pub(crate) failed: u64,
    /// The first reason.
    pub(crate) failure: Option<String>,
    /// From produce() to the delivery report in microseconds, of what was sent since [`Producers::measure`].
    pub(crate) latency_us: Histogram<u64>,
    /// Records sent before this many microseconds are part of the warm-up.
    measured_from_us: u64,
}

/// Producers that share a load, fed by the thread that calls [`Producers::run`].
pub(crate) struct Producers {
    produce: Produce,
    topic: Topic,
    producers: Vec<ThreadedProducer<Reports>>,
    tally: Arc<Mutex<Tally>>,
    payload: Payload,
    begun: Instant,
    sent: u64,
}

impl Producers {
    /// Connects them; nothing is sent yet.
    pub(crate) fn open(topic: &Topic, produce: &Produce) -> Result<Self, BenchError> {
        let begun = Instant::now();
        let latency_us = Histogram::new_with_bounds(LATENCY_US.0, LATENCY_US.1, DIGITS)
            .expect("the bounds are in order and the digits few");
        let tally = Tally { acknowledged: 0, failed: 0, failure: None, latency_us, measured_from_us: 0 };
        let tally = Arc::new(Mutex::new(tally));
        let config = options::producer(&topic.bootstrap, produce);
        let producers: Result<Vec<ThreadedProducer<Reports>>, KafkaError> = (0..produce.connections)
            .map(|_| config.create_with_context(Reports { tally: Arc::clone(&tally), begun }))
            .collect();
        let producers = producers.map_err(BenchError::client("create a producer"))?;
        for producer in &producers {
            // The first record must not wait for connection and metadata.
            let known = producer.client().fetch_metadata(Some(&topic.name), FLUSH_LIMIT);
            known.map_err(BenchError::client(format!("connect a producer to {}", topic.bootstrap)))?;
        }
        let payload = Payload::new(produce.record_bytes);
        Ok(Self { produce: *produce, topic: topic.clone(), producers, tally, payload, begun, sent: 0 })
    }

    /// Sends for this long.
    pub(crate) fn run(&mut self, span: Duration) -> Result<(), BenchError> {
        let (begun, first) = (Instant::now(), self.sent);
        while begun.elapsed() < span {
            if let Some(rate) = self.produce.rate {
                let due = Duration::from_secs_f64((self.sent - first) as f64 / f64::from(rate));
                pause(due.saturating_sub(begun.elapsed()));
            }
            self.send()?;
        }
        Ok(())
    }

    /// Sends this many bytes, and waits until they are acknowledged.
    pub(crate) fn fill(&mut self, bytes: u64) -> Result<(), BenchError> {
        let until = self.sent + bytes.div_ceil(self.produce.record_bytes as u64);
        while self.sent < until {
            self.send()?;
        }
        self.flush()
    }

    /// What follows counts; gives what was acknowledged before.
    pub(crate) fn measure(&self) -> u64 {
        let mut tally = lock(&self.tally);
        tally.latency_us.reset();
        tally.measured_from_us = self.begun.elapsed().as_micros() as u64;
        tally.acknowledged
    }

    /// What was acknowledged so far.
    pub(crate) fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Waits until all that was sent is acknowledged.
    pub(crate) fn flush(&self) -> Result<(), BenchError> {
        for producer in &self.producers {
            producer.flush(FLUSH_LIMIT).map_err(BenchError::client("wait for the last acknowledgements"))?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), BenchError> {
        let (producer, partition) = self.turn();
        let producer = &self.producers[producer];
        let payload = self.payload.next();
        loop {
            // Counted from 1: what is 0 cannot be told from no value.
            let now_us = self.begun.elapsed().as_micros() as usize + 1;
            let record = BaseRecord::<(), [u8], usize>::with_opaque_to(&self.topic.name, now_us)
                .payload(payload)
                .partition(partition);
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    pause(FULL_QUEUE_PAUSE);
                }
                Err((error, _)) => return Err(BenchError::client("send a record")(error)),
            }
        }
        self.sent += 1;
        Ok(())
    }

    /// Whose turn it is, and for which partition: records go round. With many producers each gets some records
    /// at a time for one partition, as an application that has something to say does; one record each would
    /// measure nothing but how their threads are woken.
    fn turn(&self) -> (usize, i32) {
        let (producers, partitions) = (self.producers.len() as u64, self.topic.partitions as u64);
        let turn = if producers == 1 { self.sent } else { self.sent / BURST };
        ((turn % producers) as usize, (turn % partitions) as i32)
    }
}

/// The load has a thread of its own and keeps a schedule that tokio's timer is too coarse for.
#[expect(clippy::disallowed_methods, reason = "a schedule of tenths of milliseconds, on a thread of its own")]
pub(super) fn pause(span: Duration) {
    if !span.is_zero() {
        std::thread::sleep(span);
    }
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    // Counters have no invariant that a panic elsewhere could have broken.
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes delivery reports, on librdkafka's polling thread.
struct Reports {
    tally: Arc<Mutex<Tally>>,
    begun: Instant,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    /// When the record was sent: microseconds since the beginning, and 1.
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, sent_us: usize) {
        let now_us = self.begun.elapsed().as_micros() as u64;
        let sent_us = sent_us as u64 - 1;
        let mut tally = lock(&self.tally);
        match report {
            Ok(_) => {
                tally.acknowledged += 1;
                if sent_us >= tally.measured_from_us {
                    tally.latency_us.saturating_record((now_us - sent_us).max(LATENCY_US.0));
                }
            }
            Err((error, _)) => {
                tally.failed += 1;
                tally.failure.get_or_insert_with(|| error.to_string());
            }
        }
    }
}
