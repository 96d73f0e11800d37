//! What the image is made of. All plain facts; the image keeps them consistent.

use std::fmt;
use std::sync::Arc;

use aquifer_types::{
    BrokerEpoch, DiskId, LeaderEpoch, LogIndex, NodeId, ObjectId, SegmentId, StreamId, TopicId,
};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How a listener protects its connections: Kafka's `security.protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityProtocol {
    /// `PLAINTEXT`
    Plaintext,
    /// `SSL`
    Ssl,
    /// `SASL_PLAINTEXT`
    SaslPlaintext,
    /// `SASL_SSL`
    SaslSsl,
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        })
    }
}

/// An advertised listener of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Listener name, as in `listeners`.
    pub listener: String,
    /// Host as clients shall resolve it.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Protection of the connections.
    pub security: SecurityProtocol,
}

/// A registered broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broker {
    /// Its node id.
    pub node: NodeId,
    /// Its present registration.
    pub epoch: BrokerEpoch,
    /// The process that registered.
    pub incarnation: Uuid,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Where it keeps mirrors of others' WAL segments, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror_disk: Option<DiskId>,
    /// Taken for dead by this entry: its proposals are refused until the node registers anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fenced: Option<LogIndex>,
    /// On its way out of service: it gets nothing new, and what it leads goes to others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Leaving>,
}

/// For how long a broker leaves. A longer one takes the place of a shorter one, never the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Leaving {
    /// Its process is stopping: until the node registers anew.
    Stop,
    /// An operator drained it: until it is resumed.
    Drain,
    /// For good: it is forgotten as soon as nothing is left of it.
    Decommission,
}

impl Broker {
    /// Whether it is taken for alive.
    pub fn is_live(&self) -> bool {
        self.fenced.is_none()
    }

    /// Whether anything new may be given to it: partitions to lead, segments to mirror.
    pub fn takes_more(&self) -> bool {
        self.is_live() && self.leaving.is_none()
    }

    /// The endpoint of a listener name.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.listener == listener)
    }
}

/// A topic. Its partitions are [`Image::partitions_of`](crate::Image::partitions_of).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: Arc<str>,
    /// Partitions `0 .. partition_count`.
    pub partition_count: i32,
    /// As asked by the user; shown, never acted upon.
    pub replication_factor: i16,
    /// Dynamic configs.
    pub configs: OrdMap<String, String>,
}

/// A partition: who leads it and where its records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Stream of record batches; stream offset = Kafka offset.
    pub data: StreamId,
    /// Stream of checkpoints (producer snapshots, leader epochs).
    pub meta: StreamId,
    /// The leading node, `None` while there is none.
    pub leader: Option<NodeId>,
    /// Raised each time leadership is granted, also to the same node.
    pub leader_epoch: LeaderEpoch,
    /// The leader shall hand it over, as soon as nothing of it is left in the leader's WAL.
    #[serde(default)]
    pub moving: Option<Moving>,
}

/// A move that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// The next leader.
    pub to: NodeId,
    /// The entry that asked. A hand-over names it: one that is late cannot pass for the answer to another move.
    pub asked_at: LogIndex,
}

/// Which of a partition's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamKind {
    /// Record batches.
    Data,
    /// Checkpoints.
    Meta,
}

/// A stream, as far as it is committed to objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Its id.
    pub id: StreamId,
    /// Data or meta.
    pub kind: StreamKind,
    /// The topic it belongs to.
    pub topic: TopicId,
    /// The partition it belongs to.
    pub partition: i32,
    /// First offset that is still wanted. May lie above `end`: then records in the WAL were deleted.
    pub start: u64,
    /// Offset after the last committed one. What follows is only in the WAL.
    pub end: u64,
    /// Sum over the live ranges. A range that is wanted in part counts whole.
    pub bytes: u64,
    /// Sum over the live ranges.
    pub records: u64,
    /// Number of live ranges.
    pub ranges: u64,
}

/// A live range of a stream. Ranges of a stream touch each other and end at its committed end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommittedRange {
    /// The stream.
    pub stream: StreamId,
    /// First offset in the object. Lies below the stream's start when the range is wanted in part.
    pub first: u64,
    /// Offset after the last one.
    pub end: u64,
    /// The object that holds it.
    pub object: ObjectId,
    /// Records.
    pub records: u64,
    /// Bytes of the batches.
    pub bytes: u64,
    /// Largest record timestamp, or -1.
    pub max_timestamp_ms: i64,
}

/// What the image keeps of a range under the key (stream, first offset).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RangeMeta {
    pub(crate) end: u64,
    pub(crate) object: ObjectId,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) max_timestamp_ms: i64,
}

/// A commit, as it is remembered to answer its retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// When, by the committer's clock.
    pub at_ms: i64,
    /// Bytes in the store.
    pub size_bytes: u64,
    /// Over size and ranges; tells a retry from another commit under the same id.
    pub fingerprint: u64,
}

/// Where an object is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectState {
    /// May be being uploaded.
    Prepared {
        /// The uploader.
        node: NodeId,
        /// The uploader's registration.
        broker_epoch: BrokerEpoch,
        /// When it stops being committable.
        deadline_ms: i64,
    },
    /// At least one live range is in it.
    Committed {
        /// The commit.
        commit: Commit,
        /// Live ranges in it.
        live_ranges: u64,
        /// Bytes of the live ranges.
        live_bytes: u64,
    },
    /// Nobody needs it; to be deleted once readers with an older image are done.
    Marked {
        /// When it was marked, by the proposer's clock.
        at_ms: i64,
        /// Its commit, if it had one.
        commit: Option<Commit>,
    },
}

/// A WAL segment's copy on a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentMember {
    /// The mirror.
    pub node: NodeId,
    /// Its disk; a member with another disk has nothing to say about the segment.
    pub disk: DiskId,
}

/// Where a WAL segment is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SegmentState {
    /// Its owner writes it, or did until it died.
    Open,
    /// Its owner was fenced at this log index; recoverers find out its end.
    Sealing {
        /// The fencing entry.
        at: LogIndex,
    },
    /// Its end is decided.
    Closed {
        /// The LSN after the last record.
        end_lsn: u64,
    },
}

/// A WAL segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its id: the log index that opened it.
    pub id: SegmentId,
    /// The only writer.
    pub owner: NodeId,
    /// The owner's registration when it opened the segment.
    pub broker_epoch: BrokerEpoch,
    /// The owner's disk.
    pub disk: DiskId,
    /// The mirrors; fixed.
    pub members: Vec<SegmentMember>,
    /// Where it is in its life.
    pub state: SegmentState,
    /// Copies, the owner's included, that hold whatever is acknowledged; 0: all of them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub needed: u32,
    /// The segment that it continues, at the LSN where that one ends.
    #[serde(default, skip_serializing_if = "is_default")]
    pub continues: Option<(SegmentId, u64)>,
}

/// What is not written in the form that releases without the field wrote.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Segment {
    /// How many copies there are, the owner's included (W).
    pub fn copies(&self) -> usize {
        self.members.len() + 1
    }

    /// How many of them hold whatever is acknowledged (A).
    pub fn needed_copies(&self) -> usize {
        match self.needed {
            0 => self.copies(),
            needed => needed as usize,
        }
    }

    /// How many sealed copies must answer, so that one of them holds whatever was acknowledged (W - A + 1).
    pub fn needed_answers(&self) -> usize {
        self.copies() - self.needed_copies() + 1
    }
}
