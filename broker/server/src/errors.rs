//! The one place where our typed errors become Kafka's error codes.

use aquifer_client::ProposeError;
use aquifer_controller::PlaceError;
use aquifer_coordinator::GroupError;
use aquifer_image::Rejection;
use aquifer_partition::config::InvalidConfig;
use aquifer_partition::{AppendError, DeleteError, EpochError, LookupError, ReadError, Unsettled};
use aquifer_record::BatchError;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::protocol::StrBytes;

/// No error.
pub(crate) const NONE: i16 = 0;

/// What a client is told about something that was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Kafka's code.
    pub(crate) code: i16,
    /// For people, where the response has room for it.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code: code.code(), message: message.into() }
    }

    /// The message as a response field.
    pub(crate) fn text(self) -> Option<StrBytes> {
        Some(StrBytes::from_string(self.message))
    }
}

/// A topic or a partition of it that nobody has.
pub(crate) fn unknown_partition() -> Failure {
    Failure::new(Code::UnknownTopicOrPartition, "This server does not host this topic-partition.")
}

/// A request that contradicts itself.
pub(crate) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Code::InvalidRequest, message)
}

impl From<ProposeError> for Failure {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Rejected(rejection) => rejection.into(),
            // Admin clients look for the controller again and retry.
            ProposeError::Unavailable { .. } => Self::new(Code::NotController, error.to_string()),
            ProposeError::Unknown { .. } => Self::new(Code::RequestTimedOut, error.to_string()),
        }
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        let code = match &rejection {
            Rejection::InvalidTopicName(_) | Rejection::TopicNameCollides { .. } => {
                Code::InvalidTopicException
            }
            Rejection::TopicExists { .. } => Code::TopicAlreadyExists,
            Rejection::UnknownTopicId { .. } => Code::UnknownTopicId,
            Rejection::UnknownTopicName { .. } | Rejection::UnknownPartition { .. } => {
                Code::UnknownTopicOrPartition
            }
            Rejection::InvalidPartitions { .. } => Code::InvalidPartitions,
            Rejection::InvalidReplicationFactor { .. } => Code::InvalidReplicationFactor,
            Rejection::InvalidConfig { .. } => Code::InvalidConfig,
            Rejection::OutOfLimits { .. } => Code::InvalidRequest,
            Rejection::StaleBrokerEpoch { .. }
            | Rejection::BrokerFenced { .. }
            | Rejection::UnknownBroker { .. } => Code::NotController,
            Rejection::BrokerLeaving { .. } => Code::InvalidReplicaAssignment,
            Rejection::NotStreamLeader { .. } => Code::NotLeaderOrFollower,
            _ => Code::UnknownServerError,
        };
        Self::new(code, rejection.to_string())
    }
}

impl From<PlaceError> for Failure {
    fn from(error: PlaceError) -> Self {
        let code = match error {
            PlaceError::NoBroker => Code::BrokerNotAvailable,
            PlaceError::TooMany { .. } => Code::InvalidPartitions,
        };
        Self::new(code, error.to_string())
    }
}

impl From<InvalidConfig> for Failure {
    fn from(error: InvalidConfig) -> Self {
        Self::new(Code::InvalidConfig, error.to_string())
    }
}

impl From<LookupError> for Failure {
    fn from(error: LookupError) -> Self {
        let code = match &error {
            LookupError::UnknownTopic | LookupError::UnknownPartition { .. } => Code::UnknownTopicOrPartition,
            LookupError::UnknownTopicId => Code::UnknownTopicId,
            LookupError::NotLeader { .. } | LookupError::Opening => Code::NotLeaderOrFollower,
            LookupError::Failed { .. } => Code::KafkaStorageError,
        };
        Self::new(code, error.to_string())
    }
}

impl From<EpochError> for Failure {
    fn from(error: EpochError) -> Self {
        let code = match error {
            EpochError::Fenced { .. } => Code::FencedLeaderEpoch,
            EpochError::Unknown { .. } => Code::UnknownLeaderEpoch,
        };
        Self::new(code, error.to_string())
    }
}

impl From<&BatchError> for Failure {
    fn from(error: &BatchError) -> Self {
        let code = match error {
            BatchError::BadLength { .. } | BatchError::BadChecksum { .. } | BatchError::Decompression(_) => {
                Code::CorruptMessage
            }
            // What was a format once is told from what never was one.
            BatchError::UnsupportedMagic { magic } if !(0..2).contains(magic) => Code::CorruptMessage,
            BatchError::Empty
            | BatchError::Truncated { .. }
            | BatchError::UnsupportedMagic { .. }
            | BatchError::MoreThanOneBatch
            | BatchError::BaseOffset { .. }
            | BatchError::Count { .. }
            | BatchError::ControlBatch
            | BatchError::Sequence { .. }
            | BatchError::Malformed { .. }
            | BatchError::InvalidRecords { .. } => Code::InvalidRecord,
            BatchError::TooLarge { .. } => Code::MessageTooLarge,
            BatchError::UnsupportedCompression { .. } => Code::UnsupportedCompressionType,
            BatchError::InvalidTimestamps { .. } => Code::InvalidTimestamp,
        };
        Self::new(code, error.to_string())
    }
}

impl From<&AppendError> for Failure {
    fn from(error: &AppendError) -> Self {
        let code = match error {
            AppendError::Batch(error) => return error.into(),
            AppendError::OutOfOrderSequence { .. } => Code::OutOfOrderSequenceNumber,
            AppendError::InvalidProducerEpoch { .. } => Code::InvalidProducerEpoch,
            AppendError::Transactional => Code::InvalidTxnState,
            AppendError::NotEnoughReplicas { .. } => Code::NotEnoughReplicas,
            AppendError::NotLeader | AppendError::BehindRefused { .. } => Code::NotLeaderOrFollower,
            // Every client retries it, none takes it for the end.
            AppendError::Full(_) => Code::RequestTimedOut,
            AppendError::Storage(_) => Code::KafkaStorageError,
        };
        Self::new(code, error.to_string())
    }
}

impl From<Unsettled> for Failure {
    fn from(error: Unsettled) -> Self {
        Self::new(Code::NotEnoughReplicasAfterAppend, error.to_string())
    }
}

impl From<&ReadError> for Failure {
    fn from(error: &ReadError) -> Self {
        let code = match error {
            ReadError::OutOfRange { .. } => Code::OffsetOutOfRange,
            ReadError::Epoch(error) => return (*error).into(),
            ReadError::NotLeader => Code::NotLeaderOrFollower,
            ReadError::Damaged(_) => Code::CorruptMessage,
            ReadError::Storage(_) => Code::KafkaStorageError,
        };
        Self::new(code, error.to_string())
    }
}

impl From<DeleteError> for Failure {
    fn from(error: DeleteError) -> Self {
        let code = match &error {
            DeleteError::OutOfRange { .. } => Code::OffsetOutOfRange,
            DeleteError::Policy { .. } => Code::PolicyViolation,
            DeleteError::NotLeader => Code::NotLeaderOrFollower,
            DeleteError::Metadata(_) => Code::RequestTimedOut,
        };
        Self::new(code, error.to_string())
    }
}

/// The code of a group's refusal. Group responses have no room for messages.
pub(crate) fn group_code(error: GroupError) -> i16 {
    let code = match error {
        GroupError::InvalidGroupId => Code::InvalidGroupId,
        GroupError::InvalidRequest => Code::InvalidRequest,
        GroupError::InvalidSessionTimeout => Code::InvalidSessionTimeout,
        GroupError::NotCoordinator => Code::NotCoordinator,
        GroupError::CoordinatorLoadInProgress => Code::CoordinatorLoadInProgress,
        GroupError::CoordinatorNotAvailable => Code::CoordinatorNotAvailable,
        GroupError::UnknownMemberId => Code::UnknownMemberId,
        GroupError::MemberIdRequired => Code::MemberIdRequired,
        GroupError::IllegalGeneration => Code::IllegalGeneration,
        GroupError::RebalanceInProgress => Code::RebalanceInProgress,
        GroupError::InconsistentGroupProtocol => Code::InconsistentGroupProtocol,
        GroupError::FencedInstanceId => Code::FencedInstanceId,
        GroupError::GroupMaxSizeReached => Code::GroupMaxSizeReached,
        GroupError::GroupIdNotFound => Code::GroupIdNotFound,
        GroupError::NonEmptyGroup => Code::NonEmptyGroup,
        GroupError::GroupSubscribedToTopic => Code::GroupSubscribedToTopic,
        GroupError::OffsetMetadataTooLarge => Code::OffsetMetadataTooLarge,
    };
    code.code()
}

/// The code of what a group was asked to do.
pub(crate) fn group_result(result: Result<(), GroupError>) -> i16 {
    result.map_or_else(group_code, |()| NONE)
}
