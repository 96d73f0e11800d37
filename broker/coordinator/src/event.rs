//! What flows between the handle, an owner task and the pure state.

use std::collections::BTreeMap;

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    CommitRequest, CommitResponse, DeleteOffsetsRequest, DeleteOffsetsResponse, DescribeResponse,
    FetchOffsetsRequest, FetchOffsetsResponse, GroupError, HeartbeatRequest, JoinRequest, JoinResponse,
    LeaveRequest, LeaveResponse, ListedGroup, SyncRequest, SyncResponse, TopicPartition,
    schema::{Key, OffsetCommitValue},
};

/// A request to one owner.
#[derive(Debug)]
pub(crate) enum Request {
    Join(JoinRequest),
    Sync(SyncRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveRequest),
    Commit(CommitRequest),
    FetchOffsets(FetchOffsetsRequest),
    DeleteOffsets(DeleteOffsetsRequest),
    Describe(String),
    Delete(String),
    List,
}

/// The answer in kind, or the refusal of any.
#[derive(Debug, PartialEq)]
pub(crate) enum Response {
    Join(JoinResponse),
    Sync(SyncResponse),
    Heartbeat(Result<(), GroupError>),
    Leave(LeaveResponse),
    Commit(CommitResponse),
    FetchOffsets(FetchOffsetsResponse),
    DeleteOffsets(DeleteOffsetsResponse),
    Describe(DescribeResponse),
    Delete(Result<(), GroupError>),
    List(Vec<ListedGroup>),
    Refused(GroupError),
}

/// Stands for a waiting client inside the pure state; the owner maps it to the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ReplyId(pub(crate) u64);

/// The two clocks: `wall_ms` goes into records, `timer_ms` drives timeouts and never jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) wall_ms: i64,
    pub(crate) timer_ms: i64,
}

/// A record for `__consumer_offsets`; no value is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogRecord {
    pub(crate) key: Bytes,
    pub(crate) value: Option<Bytes>,
}

/// What the owner is to do, in this order.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// Append the records as one batch, then tell the state through [`After`] whether the log took them.
    Write { records: Vec<LogRecord>, after: After },
    /// Answer, but not before everything written so far is durable.
    Reply { to: ReplyId, response: Response },
}

/// What the state wants to do once the log took its records, or refused them.
#[derive(Debug, PartialEq)]
pub(crate) enum After {
    /// A generation without members. Nothing waits for it: if the log refuses it, a restart brings the members of the
    /// generation before back, and their sessions expire.
    Generation { group_id: String, value: Bytes },
    /// The leader's assignment: hand it out and be stable, or rebalance anew.
    Assignment { group_id: String, generation_id: i32, assignment: BTreeMap<String, Bytes>, value: Bytes },
    /// A static member came back under a new member id: let it in, or put the old one back.
    StaticMember(Box<StaticMemberReplaced>),
    /// Offsets to keep (`Some`) or to forget (`None`), then the answer.
    Offsets {
        group_id: String,
        changes: Vec<(TopicPartition, Option<OffsetCommitValue>)>,
        reply: Option<Box<Verdict>>,
    },
    /// The group and all its offsets go.
    Deleted { group_id: String, reply: Option<ReplyId> },
}

/// The answer to a write: one of two.
#[derive(Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) to: ReplyId,
    pub(crate) accepted: Response,
    pub(crate) refused: Response,
}

/// The way back from a static member's replacement that could not be written.
#[derive(Debug, PartialEq)]
pub(crate) struct StaticMemberReplaced {
    pub(crate) group_id: String,
    pub(crate) instance_id: String,
    pub(crate) new_member_id: String,
    pub(crate) old_member_id: String,
    pub(crate) old_leader: String,
    pub(crate) old: crate::group::Subscription,
    pub(crate) supports_skipping_assignment: bool,
    pub(crate) value: Bytes,
}

/// A request with what the pure state may not make itself.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) request: Request,
    pub(crate) reply: ReplyId,
    /// Fresh randomness for a new member's id.
    pub(crate) uuid: Uuid,
}

/// A record read back from the log.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) key: Key,
    pub(crate) value: Option<Bytes>,
}
