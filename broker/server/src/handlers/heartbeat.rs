//! Heartbeat: a member shows that it lives, and learns of a rebalance.

use aquifer_coordinator::HeartbeatRequest as Beat;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::errors;
use crate::view::owned;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 12, advertised: 0..=4, served_from: 0, shape: &shapes::HEARTBEAT, handle };

fn handle(call: Call) -> Answer {
    call.later(|call, request: HeartbeatRequest| async move {
        let beat = Beat {
            group_id: request.group_id.to_string(),
            generation_id: request.generation_id,
            member_id: request.member_id.to_string(),
            instance_id: owned(request.group_instance_id),
        };
        let result = call.context.services.groups.heartbeat(beat).await;
        HeartbeatResponse::default().with_error_code(errors::group_result(result))
    })
}
