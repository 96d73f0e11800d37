//! Metadata: brokers, topics and leaders; creates topics on demand where both sides want it.

use std::collections::BTreeSet;
use std::sync::Arc;

use aquifer_image::{Image, Topic, check_topic_name};
use aquifer_types::TopicId;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use tracing::info;

use crate::creation::{self, NewTopic};
use crate::dispatch::{Answer, Api, Call};
use crate::errors::{Failure, NONE};
use crate::view;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 3, advertised: 0..=13, served_from: 0, shape: &shapes::METADATA, handle };

/// From here on a topic may be asked for by its id.
const IDS_FROM: i16 = 12;

fn handle(call: Call) -> Answer {
    call.later(|call, request: MetadataRequest| async move { answer(&call, request).await })
}

async fn answer(call: &Arc<Call>, request: MetadataRequest) -> MetadataResponse {
    let all = match &request.topics {
        None => true,
        // Version 0 had no null: an empty list asks for everything.
        Some(topics) => topics.is_empty() && call.version == 0,
    };
    let with_operations = request.include_topic_authorized_operations;
    let mut topics = Vec::new();
    if all {
        let image = call.context.image();
        topics.extend(image.topics().map(|topic| describe(call, &image, topic, with_operations)));
    } else {
        let mut seen = BTreeSet::new();
        for asked in request.topics.unwrap_or_default() {
            if seen.insert((asked.topic_id, asked.name.as_ref().map(|name| name.0.clone()))) {
                topics.push(one(call, asked, request.allow_auto_topic_creation, with_operations).await);
            }
        }
    }
    let image = call.context.image();
    let brokers = view::reachable(&image, &call.peer.listener)
        .map(|(broker, endpoint)| {
            MetadataResponseBroker::default()
                .with_node_id(view::broker_id(broker.node))
                .with_host(view::text(&*endpoint.host))
                .with_port(i32::from(endpoint.port))
                .with_rack(broker.rack.as_deref().map(view::text))
        })
        .collect();
    let operations = if request.include_cluster_authorized_operations {
        view::CLUSTER_OPERATIONS
    } else {
        view::NO_OPERATIONS
    };
    MetadataResponse::default()
        .with_brokers(brokers)
        .with_cluster_id(image.cluster_id().map(|id| view::text(id.to_string())))
        .with_controller_id(view::controller(&image))
        .with_topics(topics)
        .with_cluster_authorized_operations(operations)
}

async fn one(
    call: &Arc<Call>,
    asked: MetadataRequestTopic,
    may_create: bool,
    with_operations: bool,
) -> MetadataResponseTopic {
    let image = call.context.image();
    if call.version < IDS_FROM && (asked.name.is_none() || !asked.topic_id.is_nil()) {
        let name = Some(asked.name.unwrap_or_default());
        return refused(name, asked.topic_id, Code::InvalidRequest);
    }
    let Some(name) = asked.name else {
        return match image.topic(TopicId(asked.topic_id)) {
            Some(topic) => describe(call, &image, topic, with_operations),
            None => refused(None, asked.topic_id, Code::UnknownTopicId),
        };
    };
    if let Some(topic) = image.topic_by_name(&name) {
        return describe(call, &image, topic, with_operations);
    }
    if check_topic_name(&name).is_err() {
        return refused(Some(name), asked.topic_id, Code::InvalidTopicException);
    }
    if !(may_create && call.context.config.auto_create_topics) {
        return refused(Some(name), asked.topic_id, Code::UnknownTopicOrPartition);
    }
    match auto_create(call, &name).await {
        Ok(()) => {
            let image = call.context.image();
            match image.topic_by_name(&name) {
                Some(topic) => describe(call, &image, topic, with_operations),
                None => refused(Some(name), asked.topic_id, Code::LeaderNotAvailable),
            }
        }
        Err(failure) => {
            // What a client retries; the creation itself may have been a race that another one won.
            info!(topic = %name.0, reason = %failure.message, "could not create a topic on demand");
            let retriable = failure.code == Code::InvalidTopicException.code();
            let code = if retriable { Code::InvalidTopicException } else { Code::LeaderNotAvailable };
            refused(Some(name), asked.topic_id, code)
        }
    }
}

async fn auto_create(call: &Call, name: &str) -> Result<(), Failure> {
    let topic = NewTopic::with_defaults(name, &call.context.config);
    let created = creation::create(&call.context, topic).await;
    match created {
        Err(failure) if failure.code == Code::TopicAlreadyExists.code() => Ok(()),
        created => created.map(|_| ()),
    }
}

fn refused(name: Option<TopicName>, id: uuid::Uuid, code: Code) -> MetadataResponseTopic {
    MetadataResponseTopic::default().with_error_code(code.code()).with_name(name).with_topic_id(id)
}

fn describe(call: &Call, image: &Image, topic: &Topic, with_operations: bool) -> MetadataResponseTopic {
    let partitions = image
        .partitions_of(topic.id)
        .map(|(index, partition)| {
            let replicas = view::replicas(image, topic, partition);
            let (error, leader) = match view::live_leader(image, partition) {
                None => (Code::LeaderNotAvailable.code(), BrokerId(-1)),
                Some(broker) if broker.endpoint(&call.peer.listener).is_none() => {
                    (Code::ListenerNotFound.code(), BrokerId(-1))
                }
                Some(broker) => (NONE, view::broker_id(broker.node)),
            };
            MetadataResponsePartition::default()
                .with_error_code(error)
                .with_partition_index(index)
                .with_leader_id(leader)
                .with_leader_epoch(view::leader_epoch(partition))
                .with_isr_nodes(replicas.clone())
                .with_replica_nodes(replicas)
        })
        .collect();
    let operations = if with_operations { view::TOPIC_OPERATIONS } else { view::NO_OPERATIONS };
    MetadataResponseTopic::default()
        .with_name(Some(view::topic_name(&topic.name)))
        .with_topic_id(topic.id.0)
        .with_is_internal(view::is_internal(&topic.name))
        .with_partitions(partitions)
        .with_topic_authorized_operations(operations)
}
