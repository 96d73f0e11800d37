use std::thread;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

use super::{Watch, options};
use crate::BenchError;

/// Kafka needs a while for thousands of partitions.
const LIMIT: Duration = Duration::from_secs(120);
/// Partitions that are made by one request; Kafka's controllers refuse 10 000.
const MADE_AT_ONCE: i32 = 5_000;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A topic of a measurement's own.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) bootstrap: String,
    pub(crate) name: String,
    pub(crate) partitions: i32,
}

impl Topic {
    /// Creates it, with so many copies, and waits until all its partitions can be written.
    pub(crate) fn create(
        runtime: &Runtime,
        bootstrap: &str,
        name: &str,
        partitions: i32,
        copies: i32,
    ) -> Result<Self, BenchError> {
        let topic = Self { bootstrap: bootstrap.to_owned(), name: name.to_owned(), partitions };
        let admin = topic.admin()?;
        let mut made = partitions.min(MADE_AT_ONCE);
        let new = NewTopic::new(name, made, TopicReplication::Fixed(copies));
        let what = format!("create topic {name} of {partitions} partitions");
        let results = runtime.block_on(admin.create_topics([&new], &limits()));
        done(results.map_err(BenchError::client(&what))?, &what)?;
        while made < partitions {
            made = partitions.min(made + MADE_AT_ONCE);
            let more = NewPartitions::new(name, made as usize);
            let results = runtime.block_on(admin.create_partitions([&more], &limits()));
            done(results.map_err(BenchError::client(&what))?, &what)?;
        }
        runtime.block_on(topic.led())?;
        Ok(topic)
    }

    /// Deletes it, so that its bytes do not fill the disk.
    pub(crate) fn delete(&self, runtime: &Runtime) -> Result<(), BenchError> {
        let what = format!("delete topic {}", self.name);
        let admin = self.admin()?;
        let results = runtime.block_on(admin.delete_topics(&[&self.name], &limits()));
        match results.map_err(BenchError::client(&what))?.first() {
            Some(Err((_, code))) if *code != RDKafkaErrorCode::UnknownTopicOrPartition => {
                Err(BenchError::Client(format!("{what}: {code}")))
            }
            _ => Ok(()),
        }
    }

    /// A client that looks at who leads it.
    pub(crate) fn watch(&self) -> Result<Watch, BenchError> {
        Ok(Watch::new(self.client()?, self))
    }

    /// First and end offset of each partition.
    pub(crate) fn watermarks(&self) -> Result<Vec<(i64, i64)>, BenchError> {
        let client = self.client()?;
        (0..self.partitions).map(|partition| self.watermark(&client, partition)).collect()
    }

    /// First and end offset of the last partition: what a restarted broker can tell last.
    pub(crate) fn last_watermark(&self) -> Result<(i64, i64), BenchError> {
        self.watermark(&self.client()?, self.partitions - 1)
    }

    /// Records that the broker says it has.
    pub(crate) fn records(&self) -> Result<u64, BenchError> {
        Ok(self.watermarks()?.iter().map(|(first, end)| (end - first) as u64).sum())
    }

    /// A leader that metadata names may need a moment more until it answers.
    #[expect(clippy::disallowed_methods, reason = "the client blocks this thread as well")]
    fn watermark(&self, client: &BaseConsumer, partition: i32) -> Result<(i64, i64), BenchError> {
        let deadline = Instant::now() + LIMIT;
        loop {
            match client.fetch_watermarks(&self.name, partition, LIMIT) {
                Err(error) if may_pass(error.rdkafka_error_code()) && Instant::now() < deadline => {
                    thread::sleep(LOOK_EVERY);
                }
                other => {
                    let what = format!("ask for the offsets of {}-{partition}", self.name);
                    return other.map_err(BenchError::client(what));
                }
            }
        }
    }

    async fn led(&self) -> Result<(), BenchError> {
        let watch = self.watch()?;
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            let led = watch.look()?.partitions.iter().filter(|partition| partition.leader >= 0).count();
            if led == self.partitions as usize {
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
        Err(BenchError::Wrong(format!("{} has partitions without a leader after {LIMIT:?}", self.name)))
    }

    fn client(&self) -> Result<BaseConsumer, BenchError> {
        options::plain(&self.bootstrap).create().map_err(BenchError::client("create a client for metadata"))
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, BenchError> {
        options::plain(&self.bootstrap)
            .create()
            .map_err(BenchError::client("create an administration client"))
    }
}

fn may_pass(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition, UnknownTopicOrPartition};
    matches!(code, Some(LeaderNotAvailable | NotLeaderForPartition | UnknownTopicOrPartition))
}

fn done(results: Vec<TopicResult>, what: &str) -> Result<(), BenchError> {
    match results.into_iter().next() {
        Some(Err((_, code))) => Err(BenchError::Client(format!("{what}: {code}"))),
        Some(Ok(_)) | None => Ok(()),
    }
}

fn limits() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(LIMIT)).request_timeout(Some(LIMIT))
}
