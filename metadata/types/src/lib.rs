//! The ids and epochs of an Aquifer cluster, each a type of its own so that none is taken for another.
//!
//! Knows nothing: no I/O, no async, no rules about what the ids name. The way in is the id that you need;
//! all of them are small, `Copy`, ordered, hashable, serializable as the bare number, and shown as users
//! and Kafka's tools expect them.
//!
//! ```text
//!   raft log index ──> LogIndex ──┬─> BrokerEpoch   the entry that registered the broker
//!                                 └─> SegmentId     the entry that opened the WAL segment
//!   counters in the image ────────┬─> StreamId, ObjectId, ProducerId
//!                                 └─> LeaderEpoch   per partition
//!   chosen by the operator ────────── NodeId
//!   drawn at random ───────────────── ClusterId, TopicId, DiskId   (128 bit, base64 as Kafka shows them)
//! ```

mod base64_uuid;
mod counted;
mod number;

pub use base64_uuid::{ClusterId, DiskId, InvalidId, TopicId};
pub use counted::Counted;
pub use number::{BrokerEpoch, LeaderEpoch, LogIndex, NodeId, ObjectId, ProducerId, SegmentId, StreamId};
