//! DescribeConfigs for topics and brokers.

use aquifer_image::{ConfigResource, Image, check_topic_name};
use aquifer_partition::config::{ConfigSource, ConfigSources, Definition, SynonymValue, TOPIC_CONFIGS};
use aquifer_types::NodeId;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::alter_configs::{dynamic_broker_option, is_throttle};
use crate::config::{BrokerOption, OptionType};
use crate::dispatch::{Answer, Api, Call};
use crate::errors::{Failure, invalid, unknown_partition};
use crate::view;
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 32, advertised: 1..=4, served_from: 1, shape: &shapes::DESCRIBE_CONFIGS, handle };

/// Kafka's resource types.
pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;

/// What one request wants to see.
#[derive(Clone, Copy)]
struct Wanted {
    synonyms: bool,
    documentation: bool,
}

fn handle(call: Call) -> Answer {
    call.now(|call, request: DescribeConfigsRequest| {
        let wanted =
            Wanted { synonyms: request.include_synonyms, documentation: request.include_documentation };
        let results = request
            .resources
            .into_iter()
            .map(|resource| {
                let result = DescribeConfigsResult::default()
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name.clone());
                match describe(call, &resource, wanted) {
                    Ok(configs) => result.with_configs(configs).with_error_message(None),
                    Err(failure) => result.with_error_code(failure.code).with_error_message(failure.text()),
                }
            })
            .collect();
        DescribeConfigsResponse::default().with_results(results)
    })
}

fn describe(
    call: &Call,
    resource: &DescribeConfigsResource,
    wanted: Wanted,
) -> Result<Vec<DescribeConfigsResourceResult>, Failure> {
    let image = call.context.image();
    let mut configs = match resource.resource_type {
        TOPIC => topic(call, &image, &resource.resource_name, wanted)?,
        BROKER => match broker(call, &resource.resource_name)? {
            Some(node) => broker_configs(call, &image, node, wanted),
            None => default_broker_configs(call, &image, wanted),
        },
        other => return Err(unsupported(other)),
    };
    if let Some(keys) = &resource.configuration_keys {
        configs.retain(|config| keys.contains(&config.name));
    }
    Ok(configs)
}

/// The answer to a resource type that has no configs here.
pub(crate) fn unsupported(resource_type: i8) -> Failure {
    invalid(format!(
        "Unsupported resource type {resource_type}: this broker has configs of topics and brokers."
    ))
}

/// The broker that a resource name means: this one, or with an empty name the default of all.
pub(crate) fn broker(call: &Call, name: &str) -> Result<Option<NodeId>, Failure> {
    if name.is_empty() {
        return Ok(None);
    }
    let node = name.parse().ok().and_then(NodeId::from_kafka);
    let node = node.ok_or_else(|| invalid(format!("Broker id must be an integer, but it is: {name}")))?;
    let this = call.context.config.node;
    if node == this {
        Ok(Some(node))
    } else {
        Err(invalid(format!("Unexpected broker id, expected {this}, but received {node}")))
    }
}

/// Kafka's number of a source.
pub(crate) fn source(source: ConfigSource) -> i8 {
    match source {
        ConfigSource::Topic => 1,
        ConfigSource::Broker => 2,
        ConfigSource::DefaultBroker => 3,
        ConfigSource::StaticBroker => 4,
        ConfigSource::Default => 5,
    }
}

fn topic(
    call: &Call,
    image: &Image,
    name: &str,
    wanted: Wanted,
) -> Result<Vec<DescribeConfigsResourceResult>, Failure> {
    check_topic_name(name).map_err(|error| Failure::new(Code::InvalidTopicException, error.to_string()))?;
    let topic = image.topic_by_name(name).ok_or_else(unknown_partition)?;
    let config = &call.context.config;
    let sources = ConfigSources::new(image, config.node, &config.options, Some(&topic.configs));
    Ok(TOPIC_CONFIGS
        .iter()
        .map(|definition| {
            let effective = sources.describe(definition);
            let mut line = line(definition.name, Some(effective.value), effective.source);
            if wanted.synonyms {
                line.synonyms = effective.synonyms.into_iter().map(synonym).collect();
            }
            documented(call, line, definition.kind.into(), definition.doc, wanted)
        })
        .collect())
}

/// The options of this process, overlaid by what was set for this broker or for all.
fn broker_configs(
    call: &Call,
    image: &Image,
    node: NodeId,
    wanted: Wanted,
) -> Vec<DescribeConfigsResourceResult> {
    let own = image.configs(&ConfigResource::Broker(Some(node)));
    let all = image.configs(&ConfigResource::Broker(None));
    let dynamic = |name: &str| {
        let of_own = own.and_then(|configs| configs.get(name)).map(|value| (value, ConfigSource::Broker));
        of_own.or_else(|| {
            all.and_then(|configs| configs.get(name)).map(|value| (value, ConfigSource::DefaultBroker))
        })
    };
    let config = &call.context.config;
    let mut lines: Vec<_> = config
        .broker_options
        .iter()
        .map(|option| broker_option(call, option, dynamic(&option.name), wanted))
        .collect();
    let set = own.into_iter().chain(all).flat_map(|configs| configs.keys());
    for name in set {
        if lines.iter().all(|line| *line.name != **name) {
            let value = dynamic(name);
            let option = BrokerOption::unlisted(name, option_type(name));
            lines.push(broker_option(call, &option, value, wanted));
        }
    }
    lines.sort_by(|a, b| a.name.cmp(&b.name));
    lines
}

fn broker_option(
    call: &Call,
    option: &BrokerOption,
    dynamic: Option<(&String, ConfigSource)>,
    wanted: Wanted,
) -> DescribeConfigsResourceResult {
    let fixed = if option.is_default { ConfigSource::Default } else { ConfigSource::StaticBroker };
    let (value, from) = match dynamic {
        Some((value, from)) => (Some(value.clone()), from),
        None => (option.value.clone(), fixed),
    };
    let value = if option.sensitive { None } else { value };
    let mut line = line(&option.name, value.clone(), from);
    line.is_sensitive = option.sensitive;
    line.read_only = dynamic_broker_option(&option.name).is_none() && !is_throttle(&option.name);
    if let (true, Some(value)) = (wanted.synonyms, value) {
        line.synonyms.push(synonym(SynonymValue { name: option.name.clone(), value, source: from }));
    }
    documented(call, line, option.kind, &option.documentation, wanted)
}

/// The type of an option that is known only by its name.
fn option_type(name: &str) -> OptionType {
    if is_throttle(name) {
        return OptionType::Long;
    }
    dynamic_broker_option(name).map_or(OptionType::String, |(definition, _)| definition.kind.into())
}

fn default_broker_configs(call: &Call, image: &Image, wanted: Wanted) -> Vec<DescribeConfigsResourceResult> {
    let configs = image.configs(&ConfigResource::Broker(None));
    let lines = configs.into_iter().flatten().map(|(name, value)| {
        let mut line = DescribeConfigsResourceResult::default()
            .with_name(view::text(name))
            .with_value(Some(view::text(value)))
            .with_config_source(source(ConfigSource::DefaultBroker));
        if wanted.synonyms {
            let value = value.clone();
            line.synonyms.push(synonym(SynonymValue {
                name: name.clone(),
                value,
                source: ConfigSource::DefaultBroker,
            }));
        }
        documented(call, line, option_type(name), "", wanted)
    });
    lines.collect()
}

fn line(name: &str, value: Option<String>, from: ConfigSource) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(view::text(name))
        .with_value(value.map(view::text))
        .with_config_source(source(from))
}

/// Type and documentation, which only newer versions have.
fn documented(
    call: &Call,
    line: DescribeConfigsResourceResult,
    kind: OptionType,
    doc: &str,
    wanted: Wanted,
) -> DescribeConfigsResourceResult {
    const TYPES_FROM: i16 = 3;
    if call.version < TYPES_FROM {
        return line;
    }
    let doc = (wanted.documentation && !doc.is_empty()).then(|| view::text(doc));
    line.with_config_type(kind as i8).with_documentation(doc)
}

fn synonym(value: SynonymValue) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym::default()
        .with_name(view::text(value.name))
        .with_value(Some(view::text(value.value)))
        .with_source(source(value.source))
}

/// The definition of a topic config, for those who change one.
pub(crate) fn topic_config(name: &str) -> Result<&'static Definition, Failure> {
    Definition::named(name)
        .ok_or_else(|| Failure::new(Code::InvalidConfig, format!("Unknown topic config name: {name}")))
}
