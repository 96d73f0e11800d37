//! ListGroups: the groups that this broker coordinates.

use aquifer_coordinator::ListedGroup as Group;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use crate::dispatch::{Answer, Api, Call};
use crate::errors::{self, NONE};
use crate::view::text;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 16, advertised: 0..=5, served_from: 0, shape: &shapes::LIST_GROUPS, handle };

/// The type of every group there is so far (KIP-848).
const CLASSIC: &str = "classic";

fn handle(call: Call) -> Answer {
    call.later(|call, request: ListGroupsRequest| async move {
        match call.context.services.groups.list().await {
            Ok(groups) => {
                let wanted = groups.into_iter().filter(|group| is_wanted(&request, group));
                let groups = wanted.map(|group| {
                    ListedGroup::default()
                        .with_group_id(GroupId(text(group.group_id)))
                        .with_protocol_type(text(group.protocol_type))
                        .with_group_state(text(group.state.name()))
                        .with_group_type(text(CLASSIC))
                });
                ListGroupsResponse::default().with_error_code(NONE).with_groups(groups.collect())
            }
            Err(error) => ListGroupsResponse::default().with_error_code(errors::group_code(error)),
        }
    })
}

/// Empty filters let everything through; names are compared without regard to case.
fn is_wanted(request: &ListGroupsRequest, group: &Group) -> bool {
    let has = |filter: &[StrBytes], name: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
    };
    has(&request.states_filter, group.state.name()) && has(&request.types_filter, CLASSIC)
}

#[cfg(test)]
mod tests {
    use aquifer_coordinator::GroupPhase;

    use super::*;

    #[test]
    fn filters_disregard_case_and_unknown_types_match_nothing() {
        let group =
            Group { group_id: "g".into(), protocol_type: "consumer".into(), state: GroupPhase::Stable };
        let filtered = |states: &[&str], types: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|name| text(*name)).collect();
            let request =
                ListGroupsRequest::default().with_states_filter(list(states)).with_types_filter(list(types));
            is_wanted(&request, &group)
        };
        assert!(filtered(&[], &[]) && filtered(&["empty", " STABLE "], &["Classic"]));
        assert!(!filtered(&["Empty"], &[]) && !filtered(&[], &["consumer"]) && !filtered(&[], &["nonsense"]));
    }
}
