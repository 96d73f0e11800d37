//! LeaveGroup: members that go by themselves, or that an administrator removes.

use aquifer_coordinator::{LeaveRequest, LeaveResponse, LeavingMember};
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::{self, NONE};
use crate::view::{owned, text};
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 13, advertised: 0..=5, served_from: 0, shape: &shapes::LEAVE_GROUP, handle };

/// From here on several members leave at once, each with its own result (KIP-345).
const BATCHES_FROM: i16 = 3;

fn handle(call: Call) -> Answer {
    call.later(|call, request: LeaveGroupRequest| async move {
        let members = if call.version >= BATCHES_FROM {
            let members = request.members.into_iter().map(|member| LeavingMember {
                member_id: member.member_id.to_string(),
                instance_id: owned(member.group_instance_id),
                reason: owned(member.reason),
            });
            members.collect()
        } else {
            vec![LeavingMember { member_id: request.member_id.to_string(), instance_id: None, reason: None }]
        };
        let request = LeaveRequest { group_id: request.group_id.to_string(), members };
        response(call.version, call.context.services.groups.leave(request).await)
    })
}

fn response(version: i16, left: LeaveResponse) -> LeaveGroupResponse {
    let left = match left {
        Ok(left) => left,
        Err(error) => return LeaveGroupResponse::default().with_error_code(errors::group_code(error)),
    };
    if version < BATCHES_FROM {
        let code = left.into_iter().next().map_or(NONE, |member| errors::group_result(member.result));
        return LeaveGroupResponse::default().with_error_code(code);
    }
    let members = left.into_iter().map(|member| {
        MemberResponse::default()
            .with_member_id(text(member.member_id))
            .with_group_instance_id(member.instance_id.map(text))
            .with_error_code(errors::group_result(member.result))
    });
    LeaveGroupResponse::default().with_error_code(NONE).with_members(members.collect())
}

#[cfg(test)]
mod tests {
    use aquifer_coordinator::{GroupError, MemberLeft};
    use bytes::BytesMut;
    use kafka_protocol::ResponseError as Code;
    use kafka_protocol::protocol::Encodable;

    use super::*;

    #[test]
    fn one_members_error_is_the_answers_before_batches_and_its_own_since() {
        for version in API.advertised {
            let left = MemberLeft {
                member_id: "m".into(),
                instance_id: Some("i".into()),
                result: Err(GroupError::UnknownMemberId),
            };
            let response = response(version, Ok(vec![left]));
            response.encode(&mut BytesMut::new(), version).expect("encodable");
            let unknown = Code::UnknownMemberId.code();
            if version < BATCHES_FROM {
                assert_eq!(response.error_code, unknown);
            } else {
                assert_eq!((response.error_code, response.members[0].error_code), (NONE, unknown));
            }
        }
    }
}
