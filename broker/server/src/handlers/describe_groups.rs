//! DescribeGroups: members and their assignments.

use aquifer_coordinator::{DescribeResponse, GroupError, GroupPhase};
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::{self, NONE};
use crate::view::{GROUP_OPERATIONS, text};
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 15, advertised: 0..=6, served_from: 0, shape: &shapes::DESCRIBE_GROUPS, handle };

/// From here on members tell their instance id.
const INSTANCE_ID_FROM: i16 = 4;
/// From here on a group that is not there is an error (KIP-1043); before, it is dead.
const NOT_FOUND_FROM: i16 = 6;

fn handle(call: Call) -> Answer {
    call.later(|call, request: DescribeGroupsRequest| async move {
        let mut groups = Vec::with_capacity(request.groups.len());
        for group_id in request.groups {
            let described = call.context.services.groups.describe(&group_id).await;
            let group = group(call.version, group_id, described);
            groups.push(if request.include_authorized_operations {
                group.with_authorized_operations(GROUP_OPERATIONS)
            } else {
                group
            });
        }
        DescribeGroupsResponse::default().with_groups(groups)
    })
}

fn group(version: i16, group_id: GroupId, described: DescribeResponse) -> DescribedGroup {
    let described = match described {
        Ok(described) => described,
        Err(GroupError::GroupIdNotFound) => {
            let dead = DescribedGroup::default().with_group_state(text(GroupPhase::Dead.name()));
            if version < NOT_FOUND_FROM {
                return dead.with_group_id(group_id);
            }
            let message = format!("Group {} not found.", group_id.as_str());
            return dead
                .with_group_id(group_id)
                .with_error_code(errors::group_code(GroupError::GroupIdNotFound))
                .with_error_message(Some(text(message)));
        }
        Err(error) => {
            return DescribedGroup::default()
                .with_group_id(group_id)
                .with_error_code(errors::group_code(error));
        }
    };
    let members = described.members.into_iter().map(|member| {
        let wire = DescribedGroupMember::default()
            .with_member_id(text(member.member_id))
            .with_client_id(text(member.client_id))
            .with_client_host(text(member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment);
        if version >= INSTANCE_ID_FROM {
            wire.with_group_instance_id(member.instance_id.map(text))
        } else {
            wire
        }
    });
    DescribedGroup::default()
        .with_error_code(NONE)
        .with_group_id(group_id)
        .with_group_state(text(described.state.name()))
        .with_protocol_type(text(described.protocol_type))
        .with_protocol_data(text(described.protocol_name))
        .with_members(members.collect())
}

#[cfg(test)]
mod tests {
    use aquifer_coordinator::{GroupDescription, MemberDescription};
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::protocol::Encodable;

    use super::*;

    #[test]
    fn every_version_can_say_everything() {
        for version in API.advertised {
            let described = GroupDescription {
                group_id: "g".into(),
                state: GroupPhase::Stable,
                protocol_type: "consumer".into(),
                protocol_name: "range".into(),
                members: vec![MemberDescription {
                    member_id: "m".into(),
                    instance_id: Some("i".into()),
                    client_id: "c".into(),
                    client_host: "/::1".into(),
                    metadata: Bytes::from_static(b"m"),
                    assignment: Bytes::from_static(b"a"),
                }],
            };
            let found = group(version, GroupId(text("g")), Ok(described));
            let missing = group(version, GroupId(text("g")), Err(GroupError::GroupIdNotFound));
            assert_eq!(missing.group_state.as_str(), "Dead");
            assert_eq!(missing.error_code != NONE, version >= NOT_FOUND_FROM);
            let response = DescribeGroupsResponse::default().with_groups(vec![found, missing]);
            response.encode(&mut BytesMut::new(), version).expect("encodable");
        }
    }
}
