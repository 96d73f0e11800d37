//! Consumer groups and committed offsets: Kafka's classic group protocol on `__consumer_offsets`.
//!
//! Knows nothing of sockets, wire versions and streams: requests come as its own structs through [`Groups`], and
//! records go into partitions of the offsets topic, in the bytes that Kafka writes there.
//!
//! ```text
//!   handlers ──> Groups ──hash(group id)──> owner task of __consumer_offsets-N
//!                                             │ selects an event
//!                                             ├─> Shard (pure): (state, event, now) -> effects
//!                                             ├─> append to the partition ──> durable ──┐
//!   handlers <── replies, never before what they tell of is durable <───────────────────┘
//! ```
//!
//! The way in is [`Groups`].

mod config;
mod error;
mod event;
mod group;
mod groups;
mod offsets;
mod owner;
mod request;
mod schema;
mod shard;
mod supervisor;

pub use config::{GroupConfig, OFFSETS_TOPIC};
pub use error::GroupError;
pub use groups::{Groups, partition_for};
pub use request::{
    CommitRequest, CommitResponse, CommitResult, DeleteOffsetsRequest, DeleteOffsetsResponse,
    DescribeResponse, FetchOffsetsRequest, FetchOffsetsResponse, FetchedOffset, GroupDescription, GroupPhase,
    HeartbeatRequest, JoinRefused, JoinRequest, JoinResponse, Joined, JoinedMember, LeaveRequest,
    LeaveResponse, LeavingMember, ListedGroup, MemberDescription, MemberLeft, OffsetToCommit, Protocol,
    SyncRequest, SyncResponse, Synced, TopicPartition,
};
