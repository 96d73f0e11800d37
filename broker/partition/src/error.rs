//! Why a partition refuses. Kafka's error codes are chosen by the server, by kind; the code each kind is meant for
//! stands in its doc.

use aquifer_record::BatchError;
use aquifer_types::{LeaderEpoch, NodeId};

/// Why a partition is not served here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No topic of that name. (UNKNOWN_TOPIC_OR_PARTITION)
    #[error("this cluster has no such topic")]
    UnknownTopic,
    /// No topic of that id. (UNKNOWN_TOPIC_ID)
    #[error("this cluster has no topic with that id")]
    UnknownTopicId,
    /// The topic has no such partition. (UNKNOWN_TOPIC_OR_PARTITION)
    #[error("the topic has no partition {index}")]
    UnknownPartition {
        /// What was asked for.
        index: i32,
    },
    /// Another node leads it, or none. (NOT_LEADER_OR_FOLLOWER, with the leader as hint)
    #[error("this node does not lead the partition")]
    NotLeader {
        /// Who does.
        leader: Option<NodeId>,
        /// Since when.
        leader_epoch: LeaderEpoch,
    },
    /// This node leads it and is still opening it. (NOT_LEADER_OR_FOLLOWER: clients retry)
    #[error("this node is still opening the partition")]
    Opening,
    /// This node leads it and cannot open it; it goes on trying. (KAFKA_STORAGE_ERROR)
    #[error("this node cannot open the partition: {reason}")]
    Failed {
        /// Why the last attempt failed.
        reason: String,
    },
}

/// The caller's idea of the leader epoch is not this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    /// The caller knows an older leader. (FENCED_LEADER_EPOCH)
    #[error("leader epoch {asked} is older than the current one, {current}")]
    Fenced {
        /// The caller's.
        asked: i32,
        /// Ours.
        current: i32,
    },
    /// The caller knows a newer leader. (UNKNOWN_LEADER_EPOCH)
    #[error("leader epoch {asked} is newer than the one known here, {current}")]
    Unknown {
        /// The caller's.
        asked: i32,
        /// Ours.
        current: i32,
    },
}

/// Why a batch was not appended. Nothing of it is in the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The batch itself is at fault; see [`BatchError`].
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A batch is missing before this one. (OUT_OF_ORDER_SEQUENCE_NUMBER)
    #[error("out of order sequence number for producer {producer_id}: {sequence} after {last}")]
    OutOfOrderSequence {
        /// The producer.
        producer_id: i64,
        /// First sequence of the batch.
        sequence: i32,
        /// Last sequence in the log; -1 when a new epoch has to begin at 0.
        last: i32,
    },
    /// The producer was replaced by one with a newer epoch. (INVALID_PRODUCER_EPOCH)
    #[error("epoch {epoch} of producer {producer_id} is smaller than the last seen epoch {current}")]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: i64,
        /// The batch's.
        epoch: i16,
        /// The one in the log.
        current: i16,
    },
    /// Transactions are not built yet. (INVALID_TXN_STATE, which no client retries)
    #[error("this broker does not support transactions yet: use a producer without transactional.id")]
    Transactional,
    /// acks=all on a topic that wants more copies of each record than the write-ahead log makes now. (NOT_ENOUGH_REPLICAS)
    /// Any acks while there are fewer than it takes to write at all.
    #[error("{}", too_few(*wanted, *copies))]
    NotEnoughReplicas {
        /// `min.insync.replicas`; for acks other than all the one copy that there must be.
        wanted: i32,
        /// Copies that are durable before an acknowledgement.
        copies: i32,
    },
    /// The partition moved away or was deleted while the caller held it. (NOT_LEADER_OR_FOLLOWER)
    #[error("this node does not lead the partition any more")]
    NotLeader,
    /// What is missing before this batch was refused a moment ago, and comes again. (NOT_LEADER_OR_FOLLOWER: clients send both
    /// again, in order)
    #[error(
        "sequence {sequence} of producer {producer_id} came behind a batch that was refused a moment ago: send both again, in order"
    )]
    BehindRefused {
        /// The producer.
        producer_id: i64,
        /// First sequence of the batch.
        sequence: i32,
    },
    /// The WAL holds as much as may wait for the object store. (An error that every client retries.)
    #[error("{0}")]
    Full(String),
    /// Nothing can be made durable here until the broker restarts. (KAFKA_STORAGE_ERROR)
    #[error("{0}")]
    Storage(String),
}

fn too_few(wanted: i32, copies: i32) -> String {
    if copies == 0 {
        return "the write-ahead log takes nothing now: fewer brokers mirror it than wal.min.copies asks for; it goes on by \
                itself when they are back"
            .to_owned();
    }
    let copies = if copies == 1 { "1 copy".to_owned() } else { format!("{copies} copies") };
    format!(
        "the topic wants min.insync.replicas={wanted}, and the write-ahead log makes {copies} of each record now: brokers that \
         would mirror it are away, or it has no more mirrors than that (wal.mode, wal.min.copies)"
    )
}

impl AppendError {
    /// Whether the same batch may be taken a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NotEnoughReplicas { .. } | Self::NotLeader | Self::Full(_) | Self::Storage(_) => true,
            Self::Batch(_)
            | Self::OutOfOrderSequence { .. }
            | Self::BehindRefused { .. }
            | Self::InvalidProducerEpoch { .. }
            | Self::Transactional => false,
        }
    }
}

/// Whether an append is durable is not known: the WAL died before it said so. The records may be in the log of whoever leads next.
/// (NOT_ENOUGH_REPLICAS_AFTER_APPEND: clients send them again and know that. They take KAFKA_STORAGE_ERROR for "nothing was
/// written".)
#[derive(Clone, Debug, thiserror::Error)]
#[error("the records were appended, but whether they are durable is not known: {reason}")]
pub struct Unsettled {
    /// Why the WAL died.
    pub reason: String,
}

/// Why a partition was not read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is not in the log. (OFFSET_OUT_OF_RANGE)
    #[error("offset {offset} is not within {log_start_offset}..={end}")]
    OutOfRange {
        /// What was asked for.
        offset: i64,
        /// First offset of the log.
        log_start_offset: i64,
        /// Its end.
        end: i64,
        /// The high watermark, which the answer to a fetch shows even then.
        high_watermark: i64,
    },
    /// (FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH)
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// (NOT_LEADER_OR_FOLLOWER)
    #[error("this node does not lead the partition any more")]
    NotLeader,
    /// What the store holds is not what was written. (CORRUPT_MESSAGE)
    #[error("{0}")]
    Damaged(String),
    /// The store did not answer; retrying may help. (KAFKA_STORAGE_ERROR)
    #[error("{0}")]
    Storage(String),
}

/// Why records were not deleted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeleteError {
    /// Beyond the high watermark, or negative and not -1. (OFFSET_OUT_OF_RANGE)
    #[error("offset {offset} is not between 0 and the high watermark, {high_watermark}")]
    OutOfRange {
        /// What was asked for.
        offset: i64,
        /// The largest possible.
        high_watermark: i64,
    },
    /// The topic keeps its records by key, not by age. (POLICY_VIOLATION)
    #[error("records of a topic with cleanup.policy={policy} cannot be deleted; it needs `delete`")]
    Policy {
        /// The topic's.
        policy: String,
    },
    /// (NOT_LEADER_OR_FOLLOWER)
    #[error("this node does not lead the partition any more")]
    NotLeader,
    /// The metadata quorum did not take it; retrying helps. (REQUEST_TIMED_OUT)
    #[error("{0}")]
    Metadata(String),
}

/// Why a partition could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// The metadata has moved on: it is opened by what they say now, or not at all.
    #[error("the metadata changed while the partition was being opened")]
    Stale,
    /// The checkpoint cannot be read from the store.
    #[error("reading the checkpoint of the partition: {0}")]
    Load(String),
    /// The stream cannot be opened.
    #[error("opening the stream of the partition: {0}")]
    Stream(String),
    /// The checkpoint is not what this release, or an older one, writes.
    #[error("the checkpoint of the partition is unreadable: {0}")]
    Checkpoint(String),
    /// A recovered batch is not what an append wrote.
    #[error("a recovered batch at offset {offset} is unreadable: {reason}")]
    Replay {
        /// Its offset.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
}
