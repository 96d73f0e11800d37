//! One member of a classic group.

use bytes::Bytes;

use crate::{MemberDescription, Protocol, event::ReplyId};

/// What a member asks for, and may change with every join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
}

#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) subscription: Subscription,
    pub(crate) assignment: Bytes,
    /// Who waits for the generation to form.
    pub(crate) awaiting_join: Option<ReplyId>,
    /// Who waits for the assignment.
    pub(crate) awaiting_sync: Option<ReplyId>,
    /// Never been in a generation: waiting does not count as a heartbeat, so that a vanished client is found out.
    pub(crate) is_new: bool,
}

impl Member {
    /// The member's metadata in a protocol; empty if it does not speak it.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let spoken = self.subscription.protocols.iter().find(|spoken| spoken.name == protocol);
        spoken.map(|protocol| protocol.metadata.clone()).unwrap_or_default()
    }

    pub(crate) fn speaks(&self, protocol: &str) -> bool {
        self.subscription.protocols.iter().any(|spoken| spoken.name == protocol)
    }

    /// While it waits for us, its silence is our doing.
    pub(crate) fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }

    pub(crate) fn describe(&self, protocol: Option<&str>) -> MemberDescription {
        MemberDescription {
            member_id: self.member_id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            metadata: protocol.map(|protocol| self.metadata(protocol)).unwrap_or_default(),
            assignment: self.assignment.clone(),
        }
    }
}
