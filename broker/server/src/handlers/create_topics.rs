//! CreateTopics. Each topic is its own success or failure.

use std::collections::BTreeMap;
use std::sync::Arc;

use aquifer_partition::config::{ConfigSources, TOPIC_CONFIGS};
use aquifer_types::NodeId;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use uuid::Uuid;

use crate::creation::{self, NewTopic};
use crate::dispatch::{Answer, Api, Call};
use crate::errors::{Failure, invalid};
use crate::handlers::describe_configs;
use crate::view;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 19, advertised: 2..=7, served_from: 2, shape: &shapes::CREATE_TOPICS, handle };

/// From here on the answer tells partitions, factor and configs of the new topic.
const DETAILS_FROM: i16 = 5;
/// From here on the answer tells the new topic's id.
const IDS_FROM: i16 = 7;

fn handle(call: Call) -> Answer {
    call.later(|call, request: CreateTopicsRequest| async move {
        let mut named = BTreeMap::<_, usize>::new();
        for topic in &request.topics {
            *named.entry(topic.name.clone()).or_default() += 1;
        }
        let mut results = Vec::with_capacity(named.len());
        for topic in request.topics {
            let name = topic.name.clone();
            let result = match named.get_mut(&name) {
                // A name that comes twice is answered once, as an error.
                Some(count) if *count > 1 => {
                    *count = 0;
                    Err(invalid("Duplicate topic name."))
                }
                Some(0) => continue,
                _ => one(&call, topic, request.validate_only).await,
            };
            results.push(result.unwrap_or_else(|failure| {
                CreatableTopicResult::default()
                    .with_error_code(failure.code)
                    .with_error_message(failure.text())
                    .with_name(name)
            }));
        }
        CreateTopicsResponse::default().with_topics(results)
    })
}

async fn one(
    call: &Arc<Call>,
    asked: CreatableTopic,
    validate_only: bool,
) -> Result<CreatableTopicResult, Failure> {
    let context = &call.context;
    let topic = resolve(call, &asked)?;
    topic.check(context, &context.image())?;
    let mut result = CreatableTopicResult::default().with_name(asked.name);
    if call.version >= DETAILS_FROM {
        result = result
            .with_num_partitions(topic.partitions)
            .with_replication_factor(topic.replication_factor)
            .with_configs(Some(configs(call, &topic)));
    }
    let id = if validate_only { Uuid::nil() } else { creation::create(context, topic).await?.0 };
    if call.version >= IDS_FROM {
        result = result.with_topic_id(id);
    }
    Ok(result)
}

/// Fills in defaults and reads manual assignments.
fn resolve(call: &Call, asked: &CreatableTopic) -> Result<NewTopic, Failure> {
    let config = &call.context.config;
    let mut topic = NewTopic::with_defaults(&asked.name, config);
    for entry in &asked.configs {
        let value = entry.value.as_ref().ok_or_else(|| {
            let message = format!("Null value not supported for topic configs: {}", entry.name);
            Failure::new(Code::InvalidConfig, message)
        })?;
        topic.configs.retain(|(name, _)| *name != *entry.name);
        topic.configs.push((entry.name.to_string(), value.to_string()));
    }
    if !asked.assignments.is_empty() {
        if asked.num_partitions != -1 || asked.replication_factor != -1 {
            return Err(invalid(
                "Both partition count and manual assignments, or replication factor and manual assignments, \
                 were given; with assignments both must be -1.",
            ));
        }
        return assigned(call, asked, topic);
    }
    if asked.num_partitions != -1 {
        topic.partitions = asked.num_partitions;
    }
    if asked.replication_factor != -1 {
        topic.replication_factor = asked.replication_factor;
    }
    Ok(topic)
}

fn assigned(call: &Call, asked: &CreatableTopic, mut topic: NewTopic) -> Result<NewTopic, Failure> {
    let wrong = |message: String| Failure::new(Code::InvalidReplicaAssignment, message);
    let image = call.context.image();
    let mut leaders = BTreeMap::new();
    let mut factor = None;
    for assignment in &asked.assignments {
        let index = assignment.partition_index;
        let replicas: Vec<NodeId> = assignment
            .broker_ids
            .iter()
            .map(|id| {
                NodeId::from_kafka(id.0).filter(|node| image.broker(*node).is_some()).ok_or_else(|| {
                    wrong(format!("The manual partition assignment includes broker {}, but no such broker is registered.", id.0))
                })
            })
            .collect::<Result<_, _>>()?;
        let Some(leader) = replicas.first() else {
            return Err(wrong("The manual partition assignment includes an empty replica list.".to_owned()));
        };
        let mut distinct = replicas.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() != replicas.len() {
            return Err(wrong(format!("The manual assignment of partition {index} names a broker twice.")));
        }
        if *factor.get_or_insert(replicas.len()) != replicas.len() {
            return Err(wrong(
                "The manual partition assignment has different replication factors.".to_owned(),
            ));
        }
        if leaders.insert(index, *leader).is_some() {
            return Err(wrong(format!("Found multiple manual partition assignments for partition {index}")));
        }
    }
    if leaders.keys().zip(0..).any(|(index, expected)| *index != expected) {
        return Err(wrong("partitions should be a consecutive 0-based integer sequence".to_owned()));
    }
    topic.partitions = i32::try_from(leaders.len()).unwrap_or(i32::MAX);
    topic.replication_factor = factor.and_then(|factor| i16::try_from(factor).ok()).unwrap_or(1);
    topic.leaders = Some(leaders.into_values().collect());
    Ok(topic)
}

fn configs(call: &Call, topic: &NewTopic) -> Vec<CreatableTopicConfigs> {
    let image = call.context.image();
    let own = topic.configs.iter().cloned().collect();
    let config = &call.context.config;
    let sources = ConfigSources::new(&image, config.node, &config.options, Some(&own));
    TOPIC_CONFIGS
        .iter()
        .map(|definition| {
            let effective = sources.describe(definition);
            CreatableTopicConfigs::default()
                .with_name(view::text(definition.name))
                .with_value(Some(view::text(effective.value)))
                .with_config_source(describe_configs::source(effective.source))
        })
        .collect()
}
