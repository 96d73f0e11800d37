//! DeleteTopics, by name or by id.

use std::collections::BTreeSet;

use aquifer_image::DeleteTopic;
use aquifer_types::TopicId;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use crate::dispatch::{Answer, Api, Call};
use crate::errors::{Failure, invalid, unknown_partition};
use crate::view;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 20, advertised: 1..=6, served_from: 1, shape: &shapes::DELETE_TOPICS, handle };

/// From here on topics are listed as structs that may hold an id.
const STATES_FROM: i16 = 6;

fn handle(call: Call) -> Answer {
    call.later(|call, request: DeleteTopicsRequest| async move {
        let asked = if call.version >= STATES_FROM {
            request.topics
        } else {
            let named = request.topic_names.into_iter();
            named.map(|name| DeleteTopicState::default().with_name(Some(name))).collect()
        };
        let mut seen = BTreeSet::new();
        let mut responses = Vec::with_capacity(asked.len());
        for topic in asked {
            responses.push(one(&call, topic, &mut seen).await);
        }
        DeleteTopicsResponse::default().with_responses(responses)
    })
}

async fn one(call: &Call, asked: DeleteTopicState, seen: &mut BTreeSet<TopicId>) -> DeletableTopicResult {
    let mut result =
        DeletableTopicResult::default().with_name(asked.name.clone()).with_topic_id(asked.topic_id);
    let deleted = match find(call, &asked) {
        Ok((id, name)) => {
            result = result.with_name(Some(view::topic_name(&name))).with_topic_id(id.0);
            delete(call, id, seen).await
        }
        Err(failure) => Err(failure),
    };
    match deleted {
        Ok(()) => result,
        Err(failure) => {
            result.with_error_code(failure.code).with_error_message(Some(view::text(failure.message)))
        }
    }
}

fn find(call: &Call, asked: &DeleteTopicState) -> Result<(TopicId, String), Failure> {
    let image = call.context.image();
    let topic = match (&asked.name, asked.topic_id.is_nil()) {
        (Some(name), true) => image.topic_by_name(name).ok_or_else(unknown_partition),
        (None, false) => image
            .topic(TopicId(asked.topic_id))
            .ok_or_else(|| Failure::new(Code::UnknownTopicId, "This server does not host this topic ID.")),
        (Some(_), false) => Err(invalid("You may not specify both topic name and topic id.")),
        (None, true) => Err(invalid("Neither topic name nor id were specified.")),
    }?;
    Ok((topic.id, topic.name.to_string()))
}

async fn delete(call: &Call, id: TopicId, seen: &mut BTreeSet<TopicId>) -> Result<(), Failure> {
    if !seen.insert(id) {
        return Err(invalid("The topic is named more than once."));
    }
    let now_ms = call.context.services.clock.wall_ms();
    call.context.services.metadata.propose(DeleteTopic { id, now_ms }).await?;
    Ok(())
}
