use std::path::Path;
use std::time::Duration;

use aquifer_services::{Kafka, KafkaConfig};
use tokio::time::Instant;

use crate::BenchError;

/// Syncs a partition's log before the records are acknowledged. Kafka has no group commit over partitions.
const DURABLE: (&str, &str) = ("log.flush.interval.messages", "1");

/// Deleted topics leave the disk after ten seconds: a long benchmark has to fit on it.
const TIDY: (&str, &str) = ("log.segment.delete.delay.ms", "10000");

/// A real Apache Kafka.
#[derive(Debug)]
pub(crate) struct ApacheKafka {
    kafka: Kafka,
    heap: String,
    start_took: Duration,
}

impl ApacheKafka {
    pub(crate) async fn start(directory: &Path, heap: &str, durable: bool) -> Result<Self, BenchError> {
        let own = if durable { vec![TIDY, DURABLE] } else { vec![TIDY] };
        let config = KafkaConfig {
            heap: heap.to_owned(),
            properties: own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            directory: Some(directory.to_owned()),
        };
        let kafka = Kafka::start(&config).await?;
        let start_took = kafka.start_took();
        Ok(Self { kafka, heap: heap.to_owned(), start_took })
    }

    pub(crate) fn bootstrap(&self) -> String {
        self.kafka.bootstrap()
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.kafka.id()
    }

    pub(crate) fn start_took(&self) -> Duration {
        self.start_took
    }

    pub(crate) fn configuration(&self) -> Result<String, BenchError> {
        Ok(format!(
            "# JVM: -Xms{heap} -Xmx{heap} -XX:+UseG1GC\n{}",
            self.kafka.configuration()?,
            heap = self.heap
        ))
    }

    pub(crate) async fn stop(&mut self) -> Result<Duration, BenchError> {
        let asked = Instant::now();
        if self.kafka.stop().await {
            return Ok(asked.elapsed());
        }
        Err(BenchError::Wrong("Kafka did not stop by itself".to_owned()))
    }

    pub(crate) fn kill(&mut self) {
        self.kafka.kill();
    }

    pub(crate) async fn start_again(&mut self) -> Result<(), BenchError> {
        self.kafka.start_again().await?;
        self.start_took = self.kafka.start_took();
        Ok(())
    }
}
