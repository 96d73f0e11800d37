use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::{Topic, options};
use crate::BenchError;

const POLL: Duration = Duration::from_millis(100);
/// Without a record for this long, a consumer that should have some is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// What consumers that run beside something else share with it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// They end soon after this is set.
    pub(crate) stop: AtomicBool,
    /// Payload that they read, all together.
    pub(crate) bytes: AtomicU64,
}

/// What one consumer read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Read {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// From the first record to the last.
    pub(crate) span: Duration,
}

/// Reads each partition from its first offset in `bounds` to its end, or until it is told to stop, and sees
/// every offset once.
pub(crate) fn read(topic: &Topic, bounds: &[(i64, i64)], progress: &Progress) -> Result<Read, BenchError> {
    let mut reader = Reader::open(topic, bounds)?;
    let sizes = bounds.iter().map(|(first, end)| (end - first) as u64);
    let wanted = sizes.fold(0, u64::saturating_add);
    let (mut read, mut first, mut last) = (Read::default(), None, Instant::now());
    while read.records < wanted && !progress.stop.load(Ordering::Relaxed) {
        let Some(bytes) = reader.next()? else {
            if last.elapsed() > STUCK {
                return Err(BenchError::Wrong(format!(
                    "a consumer of {} got {} records, and nothing more for {STUCK:?}",
                    topic.name, read.records
                )));
            }
            continue;
        };
        last = Instant::now();
        first.get_or_insert(last);
        read.records += 1;
        read.bytes += bytes;
        progress.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    read.span = first.map_or(Duration::ZERO, |first| last - first);
    Ok(read)
}

struct Reader {
    consumer: BaseConsumer,
    topic: String,
    expected: Vec<i64>,
}

impl Reader {
    fn open(topic: &Topic, bounds: &[(i64, i64)]) -> Result<Self, BenchError> {
        let consumer: BaseConsumer =
            options::consumer(&topic.bootstrap).create().map_err(BenchError::client("create a consumer"))?;
        let mut list = TopicPartitionList::new();
        for (partition, (first, _)) in (0..).zip(bounds) {
            list.add_partition_offset(&topic.name, partition, Offset::Offset(*first))
                .map_err(BenchError::client("assign a partition"))?;
        }
        consumer.assign(&list).map_err(BenchError::client("assign partitions"))?;
        let expected = bounds.iter().map(|(first, _)| *first).collect();
        Ok(Self { consumer, topic: topic.name.clone(), expected })
    }

    /// The size of the next record's payload; None if there is none at the moment.
    fn next(&mut self) -> Result<Option<u64>, BenchError> {
        let Some(message) = self.consumer.poll(POLL) else { return Ok(None) };
        let message = message.map_err(BenchError::client(format!("read {}", self.topic)))?;
        let expected = &mut self.expected[message.partition() as usize];
        if message.offset() != *expected {
            return Err(BenchError::Wrong(format!(
                "{}-{} has offset {} where {expected} was to come",
                self.topic,
                message.partition(),
                message.offset()
            )));
        }
        *expected += 1;
        Ok(Some(message.payload_len() as u64))
    }
}
