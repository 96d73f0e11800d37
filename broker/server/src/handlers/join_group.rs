//! JoinGroup: a member asks for its place in the group's next generation, and waits until it is formed.

use aquifer_coordinator::{JoinRequest, JoinResponse, Protocol};
use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::{self, NONE};
use crate::view::{owned, text};
use aquifer_guard::shapes;

/// librdkafka before 2.11 looks at the lowest version to find out about GSSAPI (KAFKA-19444).
pub(crate) const API: Api =
    Api { key: 11, advertised: 0..=9, served_from: 0, shape: &shapes::JOIN_GROUP, handle };

/// From here on there is a timeout for rebalances; before it, the session's counts.
const REBALANCE_TIMEOUT_FROM: i16 = 1;
/// From here on a client comes back with the member id it is given (KIP-394).
const KNOWN_MEMBER_ID_FROM: i16 = 4;
/// From here on the protocol name may be null, and the protocol type is told.
const NULL_PROTOCOL_FROM: i16 = 7;
/// From here on a leader may be told to skip the assignment (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;

fn handle(call: Call) -> Answer {
    call.later(|call, request: JoinGroupRequest| async move {
        let request = asked(&call, request);
        response(call.version, call.context.services.groups.join(request).await)
    })
}

fn asked(call: &Call, request: JoinGroupRequest) -> JoinRequest {
    let rebalance_timeout_ms = if call.version >= REBALANCE_TIMEOUT_FROM {
        request.rebalance_timeout_ms
    } else {
        request.session_timeout_ms
    };
    let protocols = request.protocols.into_iter().map(|protocol| Protocol {
        name: protocol.name.to_string(),
        // A member outlives its request: what it keeps must not pin the frame.
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    });
    JoinRequest {
        group_id: request.group_id.to_string(),
        member_id: request.member_id.to_string(),
        instance_id: owned(request.group_instance_id),
        client_id: owned(call.client_id.clone()).unwrap_or_default(),
        // As Java shows an address.
        client_host: format!("/{}", call.peer.ip),
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.collect(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        reason: owned(request.reason),
        requires_known_member_id: call.version >= KNOWN_MEMBER_ID_FROM,
        supports_skipping_assignment: call.version >= SKIP_ASSIGNMENT_FROM,
    }
}

fn response(version: i16, joined: JoinResponse) -> JoinGroupResponse {
    let joined = match joined {
        Ok(joined) => joined,
        Err(refused) => {
            return JoinGroupResponse::default()
                .with_error_code(errors::group_code(refused.error))
                .with_member_id(text(refused.member_id));
        }
    };
    let members = joined.members.into_iter().map(|member| {
        let wire = JoinGroupResponseMember::default()
            .with_member_id(text(member.member_id))
            .with_metadata(member.metadata);
        const INSTANCE_ID_FROM: i16 = 5;
        if version >= INSTANCE_ID_FROM {
            wire.with_group_instance_id(member.instance_id.map(text))
        } else {
            wire
        }
    });
    let protocol_name = joined.protocol_name.map(text);
    JoinGroupResponse::default()
        .with_error_code(NONE)
        .with_generation_id(joined.generation_id)
        .with_protocol_type(joined.protocol_type.map(text))
        .with_protocol_name(if version >= NULL_PROTOCOL_FROM {
            protocol_name
        } else {
            Some(protocol_name.unwrap_or_default())
        })
        .with_leader(text(joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(joined.member_id))
        .with_members(members.collect())
}

#[cfg(test)]
mod tests {
    use aquifer_coordinator::{GroupError, JoinRefused, Joined, JoinedMember};
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;

    use super::*;

    #[test]
    fn every_version_can_say_everything() {
        for version in API.advertised {
            let joined = Joined {
                member_id: "m".into(),
                generation_id: 3,
                protocol_type: Some("consumer".into()),
                protocol_name: None,
                leader: "m".into(),
                skip_assignment: version >= SKIP_ASSIGNMENT_FROM,
                members: vec![JoinedMember {
                    member_id: "m".into(),
                    instance_id: Some("i".into()),
                    metadata: Bytes::from_static(b"topics"),
                }],
            };
            response(version, Ok(joined)).encode(&mut BytesMut::new(), version).expect("encodable");
            let refused = JoinRefused { error: GroupError::MemberIdRequired, member_id: "new".into() };
            response(version, Err(refused)).encode(&mut BytesMut::new(), version).expect("encodable");
        }
    }
}
