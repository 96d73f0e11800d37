//! The layouts of all requests that this broker answers, one constant per API.

mod cluster;
mod groups;
mod records;
mod topics;

use std::ops::RangeInclusive;

use crate::Shape;

pub use cluster::*;
pub use groups::*;
pub use records::*;
pub use topics::*;

/// A request that the broker serves.
#[derive(Debug)]
pub struct Request {
    /// Kafka's API key.
    pub key: i16,
    /// The versions that are served.
    pub served: RangeInclusive<i16>,
    /// Its layout.
    pub shape: &'static Shape,
}

/// All of them, by key. A test of the server holds this against its table of handlers.
pub const REQUESTS: &[Request] = &[
    Request { key: 0, served: 3..=13, shape: &PRODUCE },
    Request { key: 1, served: 4..=18, shape: &FETCH },
    Request { key: 2, served: 1..=11, shape: &LIST_OFFSETS },
    Request { key: 3, served: 0..=13, shape: &METADATA },
    Request { key: 8, served: 2..=9, shape: &OFFSET_COMMIT },
    Request { key: 9, served: 1..=9, shape: &OFFSET_FETCH },
    Request { key: 10, served: 0..=6, shape: &FIND_COORDINATOR },
    Request { key: 11, served: 0..=9, shape: &JOIN_GROUP },
    Request { key: 12, served: 0..=4, shape: &HEARTBEAT },
    Request { key: 13, served: 0..=5, shape: &LEAVE_GROUP },
    Request { key: 14, served: 0..=5, shape: &SYNC_GROUP },
    Request { key: 15, served: 0..=6, shape: &DESCRIBE_GROUPS },
    Request { key: 16, served: 0..=5, shape: &LIST_GROUPS },
    Request { key: 18, served: 0..=4, shape: &API_VERSIONS },
    Request { key: 19, served: 2..=7, shape: &CREATE_TOPICS },
    Request { key: 20, served: 1..=6, shape: &DELETE_TOPICS },
    Request { key: 21, served: 0..=2, shape: &DELETE_RECORDS },
    Request { key: 22, served: 0..=5, shape: &INIT_PRODUCER_ID },
    Request { key: 23, served: 2..=4, shape: &OFFSET_FOR_LEADER_EPOCH },
    Request { key: 32, served: 1..=4, shape: &DESCRIBE_CONFIGS },
    Request { key: 33, served: 0..=2, shape: &ALTER_CONFIGS },
    Request { key: 35, served: 1..=4, shape: &DESCRIBE_LOG_DIRS },
    Request { key: 37, served: 0..=3, shape: &CREATE_PARTITIONS },
    Request { key: 42, served: 0..=2, shape: &DELETE_GROUPS },
    Request { key: 43, served: 0..=2, shape: &ELECT_LEADERS },
    Request { key: 44, served: 0..=1, shape: &INCREMENTAL_ALTER_CONFIGS },
    Request { key: 45, served: 0..=1, shape: &ALTER_PARTITION_REASSIGNMENTS },
    Request { key: 46, served: 0..=0, shape: &LIST_PARTITION_REASSIGNMENTS },
    Request { key: 47, served: 0..=0, shape: &OFFSET_DELETE },
    Request { key: 60, served: 0..=2, shape: &DESCRIBE_CLUSTER },
    Request { key: 75, served: 0..=0, shape: &DESCRIBE_TOPIC_PARTITIONS },
];
