//! Why a group request was refused.

use thiserror::Error;

/// The kinds of refusal. The server maps each to the Kafka error code of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum GroupError {
    /// The group id is empty where a group is needed.
    #[error("the group id is empty")]
    InvalidGroupId,
    /// A text of the request is longer than a record of the offsets topic can hold.
    #[error("a name in the request is longer than 16 KiB")]
    InvalidRequest,
    /// The session timeout lies outside `group.min.session.timeout.ms ..= group.max.session.timeout.ms`.
    #[error("the session timeout is outside group.min.session.timeout.ms and group.max.session.timeout.ms")]
    InvalidSessionTimeout,
    /// Another broker coordinates this group.
    #[error("this broker does not coordinate the group")]
    NotCoordinator,
    /// The coordinator is still reading its partition of `__consumer_offsets`.
    #[error("the coordinator is loading its groups")]
    CoordinatorLoadInProgress,
    /// The coordinator cannot serve now: no offsets topic yet, its queue is full, or its log refuses writes.
    #[error("the coordinator is not available")]
    CoordinatorNotAvailable,
    /// The member id is not in the group.
    #[error("the member is not in the group")]
    UnknownMemberId,
    /// A new dynamic member must join again with the id it is given (KIP-394).
    #[error("the member must join again with the member id it was given")]
    MemberIdRequired,
    /// The generation is not the current one.
    #[error("the generation is not the group's current one")]
    IllegalGeneration,
    /// The group is rebalancing: join again.
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    /// Protocol type or protocols do not fit the group's.
    #[error("the protocol type or the protocols do not fit the group")]
    InconsistentGroupProtocol,
    /// Another member now owns this `group.instance.id` (KIP-345).
    #[error("another member took over this group.instance.id")]
    FencedInstanceId,
    /// The group has `group.max.size` members.
    #[error("the group has reached group.max.size")]
    GroupMaxSizeReached,
    /// No such group.
    #[error("the group does not exist")]
    GroupIdNotFound,
    /// The group still has members.
    #[error("the group is not empty")]
    NonEmptyGroup,
    /// The group is subscribed to the topic whose offsets should go.
    #[error("the group is subscribed to the topic")]
    GroupSubscribedToTopic,
    /// Commit metadata is longer than `offset.metadata.max.bytes`.
    #[error("the offset metadata is longer than offset.metadata.max.bytes")]
    OffsetMetadataTooLarge,
}
