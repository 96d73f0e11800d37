//! Requests and answers of the coordinator: Kafka's meaning without Kafka's wire versions.

use bytes::Bytes;

use crate::GroupError;

/// Answer to a join: the new generation, or why there is none.
pub type JoinResponse = Result<Joined, JoinRefused>;
/// Answer to a sync.
pub type SyncResponse = Result<Synced, GroupError>;
/// Answer to a leave: one result per member asked for, or a refusal of the whole request.
pub type LeaveResponse = Result<Vec<MemberLeft>, GroupError>;
/// Answer to a describe; an unknown group is `GroupIdNotFound`.
pub type DescribeResponse = Result<GroupDescription, GroupError>;
/// Answer to a commit: one result per topic partition, in the order of the request.
pub type CommitResponse = Result<Vec<CommitResult>, GroupError>;
/// Answer to an offset fetch.
pub type FetchOffsetsResponse = Result<Vec<FetchedOffset>, GroupError>;
/// Answer to an offset delete: one result per topic partition, in the order of the request.
pub type DeleteOffsetsResponse = Result<Vec<(TopicPartition, Result<(), GroupError>)>, GroupError>;

/// A topic's name and a partition's index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: String,
    /// Partition index.
    pub partition: i32,
}

/// One assignment protocol a member can speak, with its opaque metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// For example `range`.
    pub name: String,
    /// The member's subscription in that protocol; never looked into, except for the topics of protocol type `consumer`.
    pub metadata: Bytes,
}

/// JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The group.
    pub group_id: String,
    /// Empty for a member that has none yet.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// `client.id`, the prefix of a new member id.
    pub client_id: String,
    /// The client's address as Kafka shows it: `/10.0.0.1`.
    pub client_host: String,
    /// `consumer`, `connect`, …
    pub protocol_type: String,
    /// In the member's order of preference.
    pub protocols: Vec<Protocol>,
    /// Silence after which the member is removed.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for this member (version 0 of the API: its session timeout).
    pub rebalance_timeout_ms: i32,
    /// Why the client joins (KIP-800), for the log.
    pub reason: Option<String>,
    /// The client can be asked to come back with a member id (version 4 of the API and later).
    pub requires_known_member_id: bool,
    /// The client understands `skip_assignment` (version 9 of the API and later, KIP-814).
    pub supports_skipping_assignment: bool,
}

/// A member's place in a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The member's id.
    pub member_id: String,
    /// The generation it joined.
    pub generation_id: i32,
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The protocol that the generation uses.
    pub protocol_name: Option<String>,
    /// Member id of the leader; empty if there is none.
    pub leader: String,
    /// The leader need not assign anew (KIP-814).
    pub skip_assignment: bool,
    /// All members; only the leader is told.
    pub members: Vec<JoinedMember>,
}

/// What the leader learns of each member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// The member's id.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// Its metadata in the chosen protocol.
    pub metadata: Bytes,
}

/// A refused join, with the member id to answer (the new one for `MemberIdRequired`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRefused {
    /// Why.
    pub error: GroupError,
    /// Member id in the answer.
    pub member_id: String,
}

/// SyncGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRequest {
    /// The group.
    pub group_id: String,
    /// The generation the member joined.
    pub generation_id: i32,
    /// The member.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// Checked against the group's if given (version 5 and later).
    pub protocol_type: Option<String>,
    /// Checked against the group's if given (version 5 and later).
    pub protocol_name: Option<String>,
    /// Member id and assignment; only the leader's are used.
    pub assignments: Vec<(String, Bytes)>,
}

/// A member's assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: Option<String>,
    /// The generation's protocol.
    pub protocol_name: Option<String>,
    /// Opaque bytes made by the leader.
    pub assignment: Bytes,
}

/// Heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatRequest {
    /// The group.
    pub group_id: String,
    /// The member's generation.
    pub generation_id: i32,
    /// The member.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
}

/// LeaveGroup (several members since version 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveRequest {
    /// The group.
    pub group_id: String,
    /// Who leaves.
    pub members: Vec<LeavingMember>,
}

/// One member that leaves: by member id, or by instance id with an empty member id (an administrator's removal).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeavingMember {
    /// May be empty if `instance_id` is given.
    pub member_id: String,
    /// `group.instance.id`.
    pub instance_id: Option<String>,
    /// Why (KIP-800), for the log.
    pub reason: Option<String>,
}

/// Result of one member's leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberLeft {
    /// As in the request.
    pub member_id: String,
    /// As in the request.
    pub instance_id: Option<String>,
    /// What came of it.
    pub result: Result<(), GroupError>,
}

/// OffsetCommit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRequest {
    /// The group; may be empty for simple commits.
    pub group_id: String,
    /// -1 for a commit without group membership.
    pub generation_id: i32,
    /// Empty for a commit without group membership.
    pub member_id: String,
    /// `group.instance.id`.
    pub instance_id: Option<String>,
    /// Explicit retention (versions 2 to 4); `None` for the broker's.
    pub retention_ms: Option<i64>,
    /// The client understands `GroupIdNotFound` here (version 9 and later); older ones get `IllegalGeneration`.
    pub understands_group_id_not_found: bool,
    /// What to commit.
    pub offsets: Vec<(TopicPartition, OffsetToCommit)>,
}

/// One offset of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// Next offset to consume.
    pub offset: i64,
    /// Leader epoch of the last consumed record; -1 if unknown.
    pub leader_epoch: i32,
    /// The client's note, returned as given (null becomes empty, as in Kafka).
    pub metadata: Option<String>,
}

/// Result for one partition of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitResult {
    /// Which.
    pub partition: TopicPartition,
    /// What came of it.
    pub result: Result<(), GroupError>,
}

/// A committed offset, as a fetch returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedOffset {
    /// Which.
    pub partition: TopicPartition,
    /// -1 if nothing is committed.
    pub offset: i64,
    /// -1 if unknown.
    pub leader_epoch: i32,
    /// As committed; empty if nothing is committed.
    pub metadata: String,
}

/// OffsetFetch for one group; `partitions: None` asks for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchOffsetsRequest {
    /// The group.
    pub group_id: String,
    /// Which, or all.
    pub partitions: Option<Vec<TopicPartition>>,
}

/// OffsetDelete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteOffsetsRequest {
    /// The group.
    pub group_id: String,
    /// Which.
    pub partitions: Vec<TopicPartition>,
}

/// One line of ListGroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    /// The group.
    pub group_id: String,
    /// Empty for a simple group.
    pub protocol_type: String,
    /// `Stable`, `Empty`, …
    pub state: GroupPhase,
}

/// DescribeGroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// The group.
    pub group_id: String,
    /// Its state.
    pub state: GroupPhase,
    /// Empty for a simple group.
    pub protocol_type: String,
    /// The protocol; empty unless the group is stable.
    pub protocol_name: String,
    /// Its members.
    pub members: Vec<MemberDescription>,
}

/// A member in a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDescription {
    /// The member's id.
    pub member_id: String,
    /// Its `group.instance.id`.
    pub instance_id: Option<String>,
    /// Its `client.id`.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// Its metadata in the chosen protocol; empty unless the group is stable.
    pub metadata: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// The states of a classic group, in Kafka's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupPhase {
    /// No members; offsets may remain.
    Empty,
    /// Members are expected to join.
    PreparingRebalance,
    /// All joined; the leader's assignment is awaited.
    CompletingRebalance,
    /// Members own their assignment.
    Stable,
    /// Not there, or going away.
    Dead,
}

impl GroupPhase {
    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}
