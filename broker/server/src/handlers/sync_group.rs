//! SyncGroup: the leader brings the assignment, the members wait for theirs.

use aquifer_coordinator::SyncRequest;
use bytes::Bytes;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::{self, NONE};
use crate::view::{owned, text};
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 14, advertised: 0..=5, served_from: 0, shape: &shapes::SYNC_GROUP, handle };

fn handle(call: Call) -> Answer {
    call.later(|call, request: SyncGroupRequest| async move {
        let assignments = request.assignments.into_iter().map(|assignment| {
            // An assignment outlives its request: what is kept must not pin the frame.
            (assignment.member_id.to_string(), Bytes::copy_from_slice(&assignment.assignment))
        });
        let request = SyncRequest {
            group_id: request.group_id.to_string(),
            generation_id: request.generation_id,
            member_id: request.member_id.to_string(),
            instance_id: owned(request.group_instance_id),
            protocol_type: owned(request.protocol_type),
            protocol_name: owned(request.protocol_name),
            assignments: assignments.collect(),
        };
        match call.context.services.groups.sync(request).await {
            Ok(synced) => SyncGroupResponse::default()
                .with_error_code(NONE)
                .with_protocol_type(synced.protocol_type.map(text))
                .with_protocol_name(synced.protocol_name.map(text))
                .with_assignment(synced.assignment),
            Err(error) => SyncGroupResponse::default().with_error_code(errors::group_code(error)),
        }
    })
}
