use std::path::Path;

use aquifer_services::{Kafka, KafkaConfig};

use super::System;
use crate::BenchError;

/// Syncs a partition's log before the records are acknowledged. Kafka has no group commit over partitions.
const SYNCED: (&str, &str) = ("log.flush.interval.messages", "1");

/// Deleted topics leave the disk after ten seconds: a long benchmark has to fit on it.
const TIDY: (&str, &str) = ("log.segment.delete.delay.ms", "10000");

/// What a cluster's topics are meant to have.
const COPIES: [(&str, &str); 2] = [("default.replication.factor", "3"), ("min.insync.replicas", "2")];

/// A real Apache Kafka, of a node for each `process.roles`.
pub(super) async fn start(
    system: System,
    roles: &[&str],
    directory: &Path,
    heap: &str,
) -> Result<Vec<Kafka>, BenchError> {
    let mut own = vec![TIDY];
    if system.is_synced() {
        own.push(SYNCED);
    }
    if system.is_cluster() {
        own.extend(COPIES);
    }
    let config = KafkaConfig {
        heap: heap.to_owned(),
        properties: own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        directory: Some(directory.to_owned()),
    };
    Ok(Kafka::start_cluster(&config, roles).await?)
}
