//! FindCoordinator: the broker that leads a group's partition of `__consumer_offsets`.

use aquifer_coordinator::{OFFSETS_TOPIC, partition_for};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use crate::creation::{self, NewTopic};
use crate::dispatch::{Answer, Api, Call};
use crate::errors::{Failure, NONE, invalid};
use crate::view;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 10, advertised: 0..=6, served_from: 0, shape: &shapes::FIND_COORDINATOR, handle };

/// From here on several keys are asked for at once.
const BATCHES_FROM: i16 = 4;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Where a coordinator is reached.
struct Found {
    node: BrokerId,
    host: StrBytes,
    port: i32,
}

fn handle(call: Call) -> Answer {
    call.later(|call, request: FindCoordinatorRequest| async move {
        if call.version < BATCHES_FROM {
            return single(find(&call, request.key_type, &request.key).await, call.version);
        }
        let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
        for key in request.coordinator_keys {
            let found = find(&call, request.key_type, &key).await;
            let coordinator = Coordinator::default().with_key(key);
            coordinators.push(match found {
                Ok(found) => coordinator
                    .with_error_code(NONE)
                    .with_node_id(found.node)
                    .with_host(found.host)
                    .with_port(found.port),
                Err(failure) => coordinator
                    .with_error_code(failure.code)
                    .with_error_message(failure.text())
                    .with_node_id(BrokerId(-1))
                    .with_port(-1),
            });
        }
        FindCoordinatorResponse::default().with_coordinators(coordinators)
    })
}

fn single(found: Result<Found, Failure>, version: i16) -> FindCoordinatorResponse {
    const MESSAGES_FROM: i16 = 1;
    match found {
        Ok(found) => FindCoordinatorResponse::default()
            .with_node_id(found.node)
            .with_host(found.host)
            .with_port(found.port),
        Err(failure) => {
            let response = FindCoordinatorResponse::default()
                .with_error_code(failure.code)
                .with_node_id(BrokerId(-1))
                .with_port(-1);
            if version >= MESSAGES_FROM { response.with_error_message(failure.text()) } else { response }
        }
    }
}

async fn find(call: &Call, key_type: i8, key: &str) -> Result<Found, Failure> {
    match key_type {
        GROUP => {}
        // The one error that stops every client's transactional producer instead of making it retry.
        TRANSACTION => {
            return Err(Failure::new(Code::TransactionalIdAuthorizationFailed, super::NO_TRANSACTIONS));
        }
        other => return Err(invalid(format!("Coordinators of type {other} are not served here."))),
    }
    let context = &call.context;
    if context.image().topic_by_name(OFFSETS_TOPIC).is_none() {
        let topic = NewTopic::with_defaults(OFFSETS_TOPIC, &context.config);
        match creation::create(context, topic).await {
            Err(failure) if failure.code != Code::TopicAlreadyExists.code() => {
                return Err(Failure::new(Code::CoordinatorNotAvailable, failure.message));
            }
            _ => {}
        }
    }
    let image = context.image();
    let missing = || Failure::new(Code::CoordinatorNotAvailable, "The coordinator is not available.");
    let topic = image.topic_by_name(OFFSETS_TOPIC).ok_or_else(missing)?;
    let index = partition_for(key, topic.partition_count.unsigned_abs());
    let partition = image.partition(topic.id, index).ok_or_else(missing)?;
    let broker = view::live_leader(&image, partition).ok_or_else(missing)?;
    let endpoint = broker.endpoint(&call.peer.listener).ok_or_else(missing)?;
    Ok(Found {
        node: view::broker_id(broker.node),
        host: view::text(&*endpoint.host),
        port: i32::from(endpoint.port),
    })
}
