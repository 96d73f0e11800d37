//! DeleteGroups: empty groups and their offsets.

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::errors;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 42, advertised: 0..=2, served_from: 0, shape: &shapes::DELETE_GROUPS, handle };

fn handle(call: Call) -> Answer {
    call.later(|call, request: DeleteGroupsRequest| async move {
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group_id in request.groups_names {
            let result = call.context.services.groups.delete(&group_id).await;
            let code = errors::group_result(result);
            results.push(DeletableGroupResult::default().with_group_id(group_id).with_error_code(code));
        }
        DeleteGroupsResponse::default().with_results(results)
    })
}
