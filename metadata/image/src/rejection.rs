//! Why a command was refused.

use aquifer_types::{BrokerEpoch, ClusterId, LogIndex, NodeId, ObjectId, SegmentId, StreamId, TopicId};
use serde::{Deserialize, Serialize};

use crate::names::InvalidTopicName;

/// A command was refused and changed nothing. Each kind maps to one Kafka error code or to one reaction
/// of the proposer; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Rejection {
    /// The cluster has no id yet.
    #[error("the metadata quorum is not bootstrapped: its first command must set the cluster id")]
    NotBootstrapped,
    /// The quorum belongs to another cluster.
    #[error("the metadata quorum already belongs to cluster {present}, not to {asked}")]
    OtherCluster {
        /// The id it has.
        present: ClusterId,
        /// The id that was asked for.
        asked: ClusterId,
    },
    /// The node never registered.
    #[error("broker {node} is not registered")]
    UnknownBroker {
        /// The node.
        node: NodeId,
    },
    /// The proposer was superseded by a later registration of its node.
    #[error(
        "broker {node} speaks with epoch {given} but is registered with epoch {present}: a newer process \
         of this node has taken over, this one must stop"
    )]
    StaleBrokerEpoch {
        /// The node.
        node: NodeId,
        /// The epoch in the command.
        given: BrokerEpoch,
        /// The valid epoch.
        present: BrokerEpoch,
    },
    /// The proposer is taken for dead.
    #[error(
        "broker {node} was fenced by entry {at}: others take over what it led, its process must start over"
    )]
    BrokerFenced {
        /// The node.
        node: NodeId,
        /// The fencing entry.
        at: LogIndex,
    },
    /// The broker is on its way out of service.
    #[error("broker {node} is being drained or stopped: it takes no partitions until it is back in service")]
    BrokerLeaving {
        /// The node.
        node: NodeId,
    },
    /// The node was forgotten for good.
    #[error(
        "node {node} was decommissioned and is not let in again; to take it back, run `aquifer node resume {node}` on \
         another node, then start it"
    )]
    Decommissioned {
        /// The node.
        node: NodeId,
    },
    /// Something of the broker is left.
    #[error("broker {node} cannot be forgotten: {reason}")]
    BrokerInUse {
        /// The node.
        node: NodeId,
        /// What is left.
        reason: String,
    },
    /// The registration lacks something.
    #[error("registration of broker {node} refused: {reason}")]
    InvalidRegistration {
        /// The node.
        node: NodeId,
        /// What is wrong.
        reason: String,
    },
    /// The name is not a legal topic name.
    #[error("{0}")]
    InvalidTopicName(#[from] InvalidTopicName),
    /// The name differs from an existing one only in `.` and `_`.
    #[error(
        "topic `{name}` collides with existing topic `{existing}`: in metric names `.` and `_` are the same"
    )]
    TopicNameCollides {
        /// The name asked for.
        name: String,
        /// The topic in the way.
        existing: String,
    },
    /// The name is taken.
    #[error("topic `{name}` already exists (id {id})")]
    TopicExists {
        /// The name.
        name: String,
        /// Who has it.
        id: TopicId,
    },
    /// The id is taken by a topic with another name.
    #[error("topic id {id} already belongs to topic `{name}`")]
    TopicIdExists {
        /// The id.
        id: TopicId,
        /// Who has it.
        name: String,
    },
    /// The topic has no such partition.
    #[error("topic {topic} has no partition {index}")]
    UnknownPartition {
        /// The topic.
        topic: TopicId,
        /// The index asked for.
        index: i32,
    },
    /// No topic has this id.
    #[error("topic id {id} does not exist")]
    UnknownTopicId {
        /// The id.
        id: TopicId,
    },
    /// No topic has this name.
    #[error("topic `{name}` does not exist")]
    UnknownTopicName {
        /// The name.
        name: String,
    },
    /// The number of partitions cannot be had.
    #[error("topic `{topic}`: {reason}")]
    InvalidPartitions {
        /// The topic.
        topic: String,
        /// What is wrong.
        reason: String,
    },
    /// The replication factor is not positive.
    #[error("topic `{topic}`: replication factor {given} is not positive")]
    InvalidReplicationFactor {
        /// The topic.
        topic: String,
        /// What was asked.
        given: i16,
    },
    /// A config name or value that cannot be kept.
    #[error("config `{name}`: {reason}")]
    InvalidConfig {
        /// Its name, cut to a length fit for a message.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A count outside its limits.
    #[error("{what}: {given} is not within {least} to {most}")]
    OutOfLimits {
        /// What is counted.
        what: String,
        /// The count in the command.
        given: u64,
        /// Smallest allowed.
        least: u64,
        /// Largest allowed.
        most: u64,
    },
    /// The numbers are used up.
    #[error("no {what} are left")]
    Exhausted {
        /// Which ids.
        what: String,
    },
    /// The proposer does not lead the stream's partition.
    #[error(
        "broker {node} does not lead stream {stream} (topic id {topic}, partition {partition}); {}",
        leader.map_or_else(|| "nobody does".to_owned(), |leader| format!("broker {leader} does"))
    )]
    NotStreamLeader {
        /// The proposer.
        node: NodeId,
        /// The stream.
        stream: StreamId,
        /// Its topic.
        topic: TopicId,
        /// Its partition.
        partition: i32,
        /// Who leads it.
        leader: Option<NodeId>,
    },
    /// The range does not continue where the stream ends.
    #[error(
        "object {object}: range of stream {stream} begins at {first}, but the committed end is {committed_end}"
    )]
    NotContinuous {
        /// The object.
        object: ObjectId,
        /// The stream.
        stream: StreamId,
        /// Where the range begins.
        first: u64,
        /// Where it had to begin.
        committed_end: u64,
    },
    /// The range contradicts itself or another one.
    #[error("object {object}: range of stream {stream}: {reason}")]
    InvalidRange {
        /// The object.
        object: ObjectId,
        /// The stream.
        stream: StreamId,
        /// What is wrong.
        reason: String,
    },
    /// A start that no offset can have.
    #[error("stream {stream} cannot be trimmed to {start}: larger than any offset")]
    InvalidTrim {
        /// The stream.
        stream: StreamId,
        /// The start asked for.
        start: u64,
    },
    /// The object was never prepared, or is removed already.
    #[error("object {object} is not known: never prepared, or expired and removed")]
    UnknownObject {
        /// The object.
        object: ObjectId,
    },
    /// The object was prepared by another process.
    #[error("object {object} was prepared by broker {owner} with epoch {owner_epoch}, not by the committer")]
    ForeignObject {
        /// The object.
        object: ObjectId,
        /// Who prepared it.
        owner: NodeId,
        /// With which registration.
        owner_epoch: BrokerEpoch,
    },
    /// The object's time limit passed before it was committed. Its bytes will be deleted: upload again.
    #[error("object {object} was not committed in time and is given up: upload again under a new id")]
    ObjectExpired {
        /// The object.
        object: ObjectId,
    },
    /// The id was committed with another content.
    #[error("object {object} is already committed with other ranges or another size")]
    CommitConflict {
        /// The object.
        object: ObjectId,
    },
    /// Only marked objects may be removed.
    #[error("object {object} is not marked for removal")]
    ObjectNotMarked {
        /// The object.
        object: ObjectId,
    },
    /// No such segment.
    #[error("WAL segment {segment} is not known")]
    UnknownSegment {
        /// The segment.
        segment: SegmentId,
    },
    /// The segment belongs to another node.
    #[error("WAL segment {segment} belongs to broker {owner}, not to broker {node}")]
    ForeignSegment {
        /// The segment.
        segment: SegmentId,
        /// Who owns it.
        owner: NodeId,
        /// Who asked.
        node: NodeId,
    },
    /// The segment's end is decided, or others are deciding it.
    #[error("WAL segment {segment} cannot be closed at LSN {end_lsn}: {reason}")]
    SegmentEndDecided {
        /// The segment.
        segment: SegmentId,
        /// The end asked for.
        end_lsn: u64,
        /// What is in the way.
        reason: String,
    },
    /// Copies on one node do not make a segment safer.
    #[error("a WAL segment of broker {owner} cannot have two copies on broker {twice}")]
    InvalidMembers {
        /// The owner.
        owner: NodeId,
        /// The node that is named twice.
        twice: NodeId,
    },
    /// What the recoverer found does not fit what the image knows by now. It starts over from a newer image.
    #[error("the takeover of broker {owner} is refused: {reason}")]
    TakeOverConflict {
        /// The broker whose segments are taken over.
        owner: NodeId,
        /// What does not fit.
        reason: String,
    },
    /// Only closed segments may be released.
    #[error("WAL segment {segment} is not closed yet")]
    SegmentNotClosed {
        /// The segment.
        segment: SegmentId,
    },
}
