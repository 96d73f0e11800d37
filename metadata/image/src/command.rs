//! What can be asked of the replicated state. A command carries every fact that `apply` needs, the time
//! included, because `apply` has neither clock nor randomness.

use aquifer_types::{
    BrokerEpoch, ClusterId, DiskId, LogIndex, NodeId, ObjectId, ProducerId, SegmentId, StreamId, TopicId,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::entities::{Endpoint, SegmentMember};

/// One entry of the metadata log. Fields may be added later with a default; none may change its meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// First entry of a new cluster. The same cluster id again is answered as success.
    Bootstrap(Bootstrap),
    /// A broker process starts serving. Fences every earlier registration of the node.
    RegisterBroker(RegisterBroker),
    /// Creates a topic with its partitions and their streams.
    CreateTopic(CreateTopic),
    /// Deletes a topic; its streams end and the ranges they had are released.
    DeleteTopic(DeleteTopic),
    /// Adds partitions to a topic.
    CreatePartitions(CreatePartitions),
    /// Sets and deletes dynamic configs of one resource.
    AlterConfigs(AlterConfigs),
    /// Hands a block of producer ids to a broker.
    AllocateProducerIds(AllocateProducerIds),
    /// A broker keeps mirrors of others' WAL segments on this disk.
    OfferMirror(OfferMirror),
    /// Takes a broker for dead: what it proposes is refused, and its mirrored WAL segments are sealed.
    FenceBroker(FenceBroker),
    /// A broker says that its process is about to stop: nothing new for it until the node registers anew.
    StopBroker(StopBroker),
    /// Takes a broker out of service until it is resumed, or for good.
    DrainBroker(DrainBroker),
    /// Takes back [`Command::DrainBroker`] and [`Command::UnregisterBroker`].
    ResumeBroker(ResumeBroker),
    /// Forgets a node of which nothing is left; it does not come back by itself.
    UnregisterBroker(UnregisterBroker),
    /// Asks for partitions to be led by other brokers, or withdraws that: all of it or nothing.
    MovePartitions(MovePartitions),
    /// The leader gives partitions away that were asked to move.
    HandOver(HandOver),
    /// Opens a WAL segment.
    OpenSegment(OpenSegment),
    /// Closes a WAL segment and opens the one that continues it.
    RollSegment(RollSegment),
    /// Fixes the end of a WAL segment, for ever.
    CloseSegment(CloseSegment),
    /// Forgets a closed WAL segment whose records are all offloaded.
    ReleaseSegment(ReleaseSegment),
    /// Ends what a broker left in the WAL: commits its tail, decides the ends of its segments, moves its partitions.
    TakeOver(TakeOver),
    /// Hands out object ids before the uploads begin.
    PrepareObjects(PrepareObjects),
    /// Makes one upload part of its streams, all of its ranges or none.
    CommitObject(CommitObject),
    /// Raises the start of streams (retention, DeleteRecords).
    TrimStreams(TrimStreams),
    /// Marks what was prepared and not committed in time.
    ExpirePrepared(ExpirePrepared),
    /// Forgets marked objects after their bytes were deleted.
    RemoveObjects(RemoveObjects),
}

/// See [`Command::Bootstrap`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Drawn at random by whoever formats the cluster.
    pub cluster_id: ClusterId,
}

/// See [`Command::RegisterBroker`]. Answered by [`Outcome::BrokerRegistered`].
///
/// The leader epoch of each partition that the node leads is raised by one. A repeated command of the
/// same incarnation keeps the epoch that it already has (and may change endpoints and rack).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterBroker {
    /// The node's id.
    pub node: NodeId,
    /// Drawn at random by each start of the process.
    pub incarnation: Uuid,
    /// Where clients reach it, at least one.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
}

/// See [`Command::CreateTopic`]. Answered by [`Outcome::TopicCreated`]; the same name *and* id again is
/// a retry and answered as success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTopic {
    /// A legal Kafka topic name.
    pub name: String,
    /// Drawn at random by the proposer.
    pub id: TopicId,
    /// Nominal: shown as asked, never acted upon.
    pub replication_factor: i16,
    /// Configs that differ from the broker's defaults, validated by the proposer.
    pub configs: Vec<(String, String)>,
    /// The leader of each partition: one partition per entry.
    pub leaders: Vec<NodeId>,
}

/// See [`Command::DeleteTopic`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteTopic {
    /// The topic.
    pub id: TopicId,
    /// The proposer's wall clock.
    pub now_ms: i64,
}

/// See [`Command::CreatePartitions`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatePartitions {
    /// The topic.
    pub id: TopicId,
    /// How many partitions the topic has afterwards: a compare-and-set against a concurrent change.
    pub total: i32,
    /// The leaders of the new partitions, in order of partition index.
    pub leaders: Vec<NodeId>,
}

/// See [`Command::MovePartitions`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovePartitions {
    /// Each partition at most once.
    pub moves: Vec<MovePartition>,
}

/// One of [`MovePartitions`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovePartition {
    /// The topic.
    pub topic: TopicId,
    /// The partition's index.
    pub index: i32,
    /// The next leader; `None`, or the one that leads, ends a move that was asked for.
    pub to: Option<NodeId>,
    /// The replicas that clients shall be shown from now on; `None` leaves them as they are.
    pub replicas: Option<Vec<NodeId>>,
}

/// See [`Command::HandOver`]. Answered by [`Outcome::HandedOver`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// The leader.
    pub node: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// Partitions that take no appends any more and whose records are all in committed objects.
    pub partitions: Vec<HandedOver>,
}

/// One partition of a [`HandOver`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    /// The topic.
    pub topic: TopicId,
    /// The partition's index.
    pub index: i32,
    /// [`Moving::asked_at`](crate::Moving::asked_at) of the move.
    pub asked_at: LogIndex,
    /// Where the log ends: must be the stream's committed end.
    pub end: u64,
}

/// What a dynamic config belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConfigResource {
    /// One topic, by name.
    Topic(String),
    /// One broker, or with `None` the default of all brokers.
    Broker(Option<NodeId>),
    /// One consumer group.
    Group(String),
}

/// See [`Command::AlterConfigs`]. Values are validated by the proposer; here only lengths are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterConfigs {
    /// Whose configs.
    pub resource: ConfigResource,
    /// Name and new value; `None` deletes. Applied in order.
    pub changes: Vec<(String, Option<String>)>,
}

/// See [`Command::AllocateProducerIds`]. Answered by [`Outcome::ProducerIds`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocateProducerIds {
    /// The asking broker.
    pub node: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// How many ids, at least one.
    pub count: u32,
}

/// See [`Command::OfferMirror`]. Holds until the node registers again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferMirror {
    /// The mirror.
    pub node: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// The disk that it keeps copies on.
    pub disk: DiskId,
}

/// See [`Command::FenceBroker`]. Another registration than the given one is left alone: it came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceBroker {
    /// The broker.
    pub node: NodeId,
    /// The registration that is taken for dead.
    pub broker_epoch: BrokerEpoch,
}

/// See [`Command::StopBroker`]. Moves to the broker end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopBroker {
    /// The broker.
    pub node: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
}

/// See [`Command::DrainBroker`]. Moves to the broker end. It holds over restarts of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainBroker {
    /// The broker, whatever its registration.
    pub node: NodeId,
    /// It shall be forgotten as soon as nothing is left of it.
    pub for_good: bool,
}

/// See [`Command::ResumeBroker`]. A process that is stopping goes on stopping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeBroker {
    /// The broker.
    pub node: NodeId,
}

/// See [`Command::UnregisterBroker`]. Of a broker that is registered: refused unless it was drained for good, leads nothing,
/// mirrors nothing, and left nothing in a mirrored WAL. Its own segments go with it: what they hold belongs to streams
/// that it leads, or is committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnregisterBroker {
    /// The node.
    pub node: NodeId,
}

/// See [`Command::OpenSegment`]. Answered by [`Outcome::SegmentOpened`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSegment {
    /// The owner: the only one who ever writes it.
    pub node: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// The owner's disk.
    pub disk: DiskId,
    /// The mirrors, without the owner itself; empty in mode `local`.
    pub members: Vec<SegmentMember>,
    /// Copies, the owner's included, that hold whatever is acknowledged; 0: all of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub needed: u32,
}

/// What is not written in the form that releases without the field wrote.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// See [`Command::RollSegment`]. Answered by [`Outcome::SegmentOpened`]. A repeated command is answered by the segment
/// that the first one opened, as long as that is not released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollSegment {
    /// The segment that ends; it must be open.
    pub segment: SegmentId,
    /// The LSN after its last record: the first of the next segment.
    pub end_lsn: u64,
    /// The owner of both.
    pub node: NodeId,
    /// Its registration, which must be the one that opened the segment.
    pub broker_epoch: BrokerEpoch,
    /// The owner's disk.
    pub disk: DiskId,
    /// The next segment's mirrors.
    pub members: Vec<SegmentMember>,
    /// As in [`OpenSegment`].
    pub needed: u32,
}

/// See [`Command::CloseSegment`]. The same end again is answered as success, another one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseSegment {
    /// The segment.
    pub segment: SegmentId,
    /// Its owner.
    pub node: NodeId,
    /// The owner's present registration (a later one than the segment's after a restart).
    pub broker_epoch: BrokerEpoch,
    /// The LSN after the last record.
    pub end_lsn: u64,
}

/// See [`Command::ReleaseSegment`]. A segment that is unknown was released before: success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseSegment {
    /// The segment.
    pub segment: SegmentId,
    /// Its owner.
    pub node: NodeId,
    /// The owner's present registration.
    pub broker_epoch: BrokerEpoch,
}

/// See [`Command::TakeOver`]. All of it or nothing; a repeated command is answered as success.
///
/// It names every segment of earlier registrations that the owner left, so that nothing of its partitions can be missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeOver {
    /// The recoverer.
    pub node: NodeId,
    /// Its registration, which must have prepared the objects.
    pub broker_epoch: BrokerEpoch,
    /// Whose segments they are: fenced, or registered anew.
    pub owner: NodeId,
    /// Its segments, each with what was found to be its end.
    pub segments: Vec<SegmentEnd>,
    /// Uploads of what was past the committed ends.
    pub objects: Vec<RecoveredObject>,
    /// Partitions of the owner, each with its next leader. The others stay with the owner.
    pub leaders: Vec<(TopicId, i32, NodeId)>,
    /// The recoverer's wall clock.
    pub now_ms: i64,
}

/// A part of [`TakeOver`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEnd {
    /// The segment.
    pub segment: SegmentId,
    /// The entry that sealed it, which the recoverer sealed its members for; `None` if it was closed before.
    pub sealed_at: Option<LogIndex>,
    /// The LSN after its last record.
    pub end_lsn: u64,
}

/// A part of [`TakeOver`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveredObject {
    /// Prepared by the recoverer.
    pub object: ObjectId,
    /// Bytes in the store.
    pub size_bytes: u64,
    /// As in [`CommitObject`].
    pub ranges: Vec<StreamRange>,
}

/// See [`Command::PrepareObjects`]. Answered by [`Outcome::ObjectsPrepared`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareObjects {
    /// The uploader.
    pub node: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// How many ids, at least one; they are consecutive.
    pub count: u32,
    /// The proposer's wall clock.
    pub now_ms: i64,
    /// How long the ids may stay uncommitted.
    pub time_limit_ms: i64,
}

/// One stream's part of an object that is being committed. Offsets are the stream's; `end` is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRange {
    /// The stream.
    pub stream: StreamId,
    /// First offset: must be the stream's committed end.
    pub first: u64,
    /// Offset after the last one.
    pub end: u64,
    /// Records; at most one per offset. A checkpoint in a meta stream is one record.
    pub records: u64,
    /// Bytes of the batches.
    pub bytes: u64,
    /// Largest record timestamp, or -1 if the records have none.
    pub max_timestamp_ms: i64,
    /// The range makes all older ones of its stream superfluous (a checkpoint in a meta stream): the
    /// stream's start moves to `first`.
    #[serde(default)]
    pub replaces_older: bool,
}

/// See [`Command::CommitObject`]. Answered by [`Outcome::ObjectCommitted`].
///
/// All or nothing, except that ranges of streams that were deleted meanwhile are left out and reported.
/// A retry with the same content is answered as success, also when its ranges were trimmed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitObject {
    /// The committer: must lead every stream.
    pub node: NodeId,
    /// Its registration, which must also be the one that prepared the object.
    pub broker_epoch: BrokerEpoch,
    /// The object, prepared before.
    pub object: ObjectId,
    /// Bytes in the store.
    pub size_bytes: u64,
    /// The proposer's wall clock.
    pub now_ms: i64,
    /// At most one range per stream.
    pub ranges: Vec<StreamRange>,
}

/// See [`Command::TrimStreams`]. Answered by [`Outcome::StreamsTrimmed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrimStreams {
    /// The proposer: must lead every stream.
    pub node: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// The proposer's wall clock.
    pub now_ms: i64,
    /// Streams and their new starts. A start never goes back: a lower one changes nothing. It may lie
    /// above the committed end, when records are deleted that are still in the WAL.
    pub trims: Vec<(StreamId, u64)>,
}

/// See [`Command::ExpirePrepared`]. Answered by [`Outcome::PreparedExpired`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpirePrepared {
    /// The controller's wall clock.
    pub now_ms: i64,
}

/// See [`Command::RemoveObjects`]. Answered by [`Outcome::ObjectsRemoved`]; unknown ids were removed before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveObjects {
    /// Marked objects whose bytes are gone from the store.
    pub objects: Vec<ObjectId>,
}

/// The answer to a command that was carried out (or, being a retry, had been).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing to tell.
    Done,
    /// The broker's epoch from now on.
    BrokerRegistered {
        /// Carried by all of the broker's further commands.
        epoch: BrokerEpoch,
    },
    /// The topic exists.
    TopicCreated {
        /// Its id.
        id: TopicId,
    },
    /// Producer ids `first .. first + count` belong to the asker.
    ProducerIds {
        /// The first of them.
        first: ProducerId,
        /// How many.
        count: u32,
    },
    /// The partitions are led by those to whom they were to move.
    HandedOver {
        /// Those that stay, because their move was withdrawn or something of them is not committed.
        kept: Vec<(TopicId, i32)>,
    },
    /// The segment may be written.
    SegmentOpened {
        /// Its id.
        segment: SegmentId,
    },
    /// Objects `first .. first + count` may be uploaded.
    ObjectsPrepared {
        /// The first of them.
        first: ObjectId,
        /// How many.
        count: u32,
    },
    /// The object's ranges belong to their streams.
    ObjectCommitted {
        /// Streams that no longer exist: their ranges were left out, nothing is left to do for them.
        gone: Vec<StreamId>,
    },
    /// The streams begin where asked, or later.
    StreamsTrimmed {
        /// Streams that no longer exist.
        gone: Vec<StreamId>,
    },
    /// Prepared objects were marked.
    PreparedExpired {
        /// How many.
        count: u64,
    },
    /// Marked objects were forgotten.
    ObjectsRemoved {
        /// How many.
        count: u64,
    },
}

/// `From` for each command's own type, so that `propose(CommitObject { .. }.into())` reads well.
macro_rules! into_command {
    ($($name:ident),* $(,)?) => {
        $(impl From<$name> for Command {
            fn from(command: $name) -> Self {
                Self::$name(command)
            }
        })*

        impl Command {
            /// The command's name, for logs and metrics.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                }
            }
        }
    };
}

into_command!(
    Bootstrap,
    RegisterBroker,
    CreateTopic,
    DeleteTopic,
    CreatePartitions,
    AlterConfigs,
    AllocateProducerIds,
    OfferMirror,
    FenceBroker,
    StopBroker,
    DrainBroker,
    ResumeBroker,
    UnregisterBroker,
    MovePartitions,
    HandOver,
    OpenSegment,
    RollSegment,
    CloseSegment,
    ReleaseSegment,
    TakeOver,
    PrepareObjects,
    CommitObject,
    TrimStreams,
    ExpirePrepared,
    RemoveObjects,
);
