//! ListPartitionReassignments: none is going on, for moving a partition copies nothing.

use kafka_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::guard::shapes;

pub(crate) const API: Api =
    Api { key: 46, advertised: 0..=0, served_from: 0, shape: &shapes::LIST_PARTITION_REASSIGNMENTS, handle };

fn handle(call: Call) -> Answer {
    call.now(|_, _: ListPartitionReassignmentsRequest| {
        ListPartitionReassignmentsResponse::default().with_error_message(None)
    })
}
