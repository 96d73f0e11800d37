//! IncrementalAlterConfigs and the older AlterConfigs, for topics and brokers.

use std::collections::BTreeMap;

use aquifer_image::{AlterConfigs, ConfigResource, Configs, Image};
use aquifer_partition::config::{
    ConfigSources, Definition, InvalidConfig, Kind, Synonym, TOPIC_CONFIGS, check_topic_configs, list_entries,
};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use kafka_protocol::messages::{alter_configs_response, incremental_alter_configs_response};
use kafka_protocol::protocol::StrBytes;

use super::describe_configs::{self, BROKER, TOPIC};
use crate::dispatch::{Answer, Api, Call};
use crate::errors::{Failure, NONE, invalid, unknown_partition};
use aquifer_guard::shapes;

pub(crate) const API: Api =
    Api { key: 33, advertised: 0..=2, served_from: 0, shape: &shapes::ALTER_CONFIGS, handle };

pub(crate) const INCREMENTAL_API: Api = Api {
    key: 44,
    advertised: 0..=1,
    served_from: 0,
    shape: &shapes::INCREMENTAL_ALTER_CONFIGS,
    handle: handle_incremental,
};

/// One change of one config, by Kafka's operation numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Set(String),
    Delete,
    Append(String),
    Subtract(String),
}

type Changes = Vec<(String, Change)>;

fn handle(call: Call) -> Answer {
    call.later(|call, request: AlterConfigsRequest| async move {
        let keys: Vec<_> =
            request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())).collect();
        let mut responses = Vec::with_capacity(keys.len());
        for resource in request.resources {
            let key = (resource.resource_type, resource.resource_name);
            let entries = resource.configs.into_iter().map(|config| (config.name, config.value));
            let changed = match once(&keys, &key).and_then(|()| all_set(entries)) {
                Ok(changes) => alter(&call, &key, changes, true, request.validate_only).await,
                Err(failure) => Err(failure),
            };
            let (code, message) = outcome(changed);
            responses.push(
                alter_configs_response::AlterConfigsResourceResponse::default()
                    .with_error_code(code)
                    .with_error_message(message)
                    .with_resource_type(key.0)
                    .with_resource_name(key.1),
            );
        }
        AlterConfigsResponse::default().with_responses(responses)
    })
}

fn handle_incremental(call: Call) -> Answer {
    call.later(|call, request: IncrementalAlterConfigsRequest| async move {
        let keys: Vec<_> =
            request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())).collect();
        let mut responses = Vec::with_capacity(keys.len());
        for resource in request.resources {
            let key = (resource.resource_type, resource.resource_name);
            let entries = resource.configs.into_iter().map(|c| (c.name, c.config_operation, c.value));
            let changed = match once(&keys, &key).and_then(|()| operations(entries)) {
                Ok(changes) => alter(&call, &key, changes, false, request.validate_only).await,
                Err(failure) => Err(failure),
            };
            let (code, message) = outcome(changed);
            responses.push(
                incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                    .with_error_code(code)
                    .with_error_message(message)
                    .with_resource_type(key.0)
                    .with_resource_name(key.1),
            );
        }
        IncrementalAlterConfigsResponse::default().with_responses(responses)
    })
}

fn outcome(changed: Result<(), Failure>) -> (i16, Option<StrBytes>) {
    match changed {
        Ok(()) => (NONE, None),
        Err(failure) => (failure.code, failure.text()),
    }
}

fn once(keys: &[(i8, StrBytes)], key: &(i8, StrBytes)) -> Result<(), Failure> {
    if keys.iter().filter(|other| *other == key).count() > 1 {
        return Err(invalid("Each resource must appear at most once."));
    }
    Ok(())
}

fn all_set(entries: impl Iterator<Item = (StrBytes, Option<StrBytes>)>) -> Result<Changes, Failure> {
    operations(entries.map(|(name, value)| (name, 0, value)))
}

fn operations(entries: impl Iterator<Item = (StrBytes, i8, Option<StrBytes>)>) -> Result<Changes, Failure> {
    let mut changes = Changes::new();
    for (name, operation, value) in entries {
        if changes.iter().any(|(other, _)| **other == *name) {
            return Err(invalid(format!("Error due to duplicate config keys: {name}")));
        }
        let value = value.map(|value| value.to_string());
        let change = match (operation, value) {
            (1, _) => Change::Delete,
            (0, Some(value)) => Change::Set(value),
            (2, Some(value)) => Change::Append(value),
            (3, Some(value)) => Change::Subtract(value),
            (0 | 2 | 3, None) => return Err(invalid(format!("Null value not supported for : {name}"))),
            (other, _) => return Err(invalid(format!("Unknown config operation {other} for {name}"))),
        };
        changes.push((name.to_string(), change));
    }
    Ok(changes)
}

async fn alter(
    call: &Call,
    (resource_type, name): &(i8, StrBytes),
    changes: Changes,
    replace: bool,
    validate_only: bool,
) -> Result<(), Failure> {
    let image = call.context.image();
    let (resource, changes) = match *resource_type {
        TOPIC => (ConfigResource::Topic(name.to_string()), topic(call, &image, name, changes, replace)?),
        BROKER => {
            let resource = ConfigResource::Broker(describe_configs::broker(call, name)?);
            let changes = broker(&image, &resource, changes, replace)?;
            (resource, changes)
        }
        other => return Err(describe_configs::unsupported(other)),
    };
    if !validate_only && !changes.is_empty() {
        call.context.services.metadata.propose(AlterConfigs { resource, changes }).await?;
    }
    Ok(())
}

/// The plain changes of a topic's own configs; checks what it would have afterwards.
fn topic(
    call: &Call,
    image: &Image,
    name: &str,
    changes: Changes,
    replace: bool,
) -> Result<Vec<(String, Option<String>)>, Failure> {
    let topic = image.topic_by_name(name).ok_or_else(unknown_partition)?;
    let config = &call.context.config;
    let present = ConfigSources::new(image, config.node, &config.options, Some(&topic.configs));
    let mut plain = removed(&topic.configs, &changes, replace);
    for (name, change) in changes {
        let definition = describe_configs::topic_config(&name)?;
        let value = resolve(definition.kind, &name, change, || present.value(definition))?;
        plain.push((name, value));
    }
    let mut after: BTreeMap<&str, &str> =
        topic.configs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for (name, value) in &plain {
        match value {
            Some(value) => after.insert(name, value),
            None => after.remove(name.as_str()),
        };
    }
    let defaults = ConfigSources::new(image, config.node, &config.options, None);
    check_topic_configs(after, |definition| defaults.value(definition))?;
    Ok(plain)
}

/// A broker option that may be set at run time: the topic config that it gives the default of.
pub(crate) fn dynamic_broker_option(name: &str) -> Option<(&'static Definition, Synonym)> {
    TOPIC_CONFIGS.iter().find_map(|definition| {
        let synonym = definition.synonyms.iter().find(|synonym| synonym.name == name)?;
        Some((definition, *synonym))
    })
}

/// Replication throttles (KIP-73), bytes per second. Nothing is copied between brokers, so they throttle nothing; they are
/// taken because Kafka's reassignment tool sets them, and deletes them when it verifies.
const THROTTLES: [&str; 3] = [
    "leader.replication.throttled.rate",
    "follower.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];

/// Whether an option of brokers is such a throttle.
pub(crate) fn is_throttle(name: &str) -> bool {
    THROTTLES.contains(&name)
}

fn throttle(name: &str, change: Change) -> Result<Option<String>, Failure> {
    let value = resolve(Kind::Long, name, change, || i64::MAX.to_string())?;
    if value.as_ref().is_some_and(|value| !value.parse::<i64>().is_ok_and(|rate| rate >= 0)) {
        let value = value.unwrap_or_default();
        let expected = "Not a number of type LONG, at least 0".to_owned();
        return Err(InvalidConfig::Value { name: name.to_owned(), value, expected }.into());
    }
    Ok(value)
}

fn broker(
    image: &Image,
    resource: &ConfigResource,
    changes: Changes,
    replace: bool,
) -> Result<Vec<(String, Option<String>)>, Failure> {
    let empty = Configs::new();
    let present = image.configs(resource).unwrap_or(&empty);
    let mut plain = removed(present, &changes, replace);
    for (name, change) in changes {
        if is_throttle(&name) {
            let value = throttle(&name, change)?;
            plain.push((name, value));
            continue;
        }
        let (definition, synonym) = dynamic_broker_option(&name).ok_or_else(|| {
            invalid(format!(
                "Cannot update these configs dynamically: {name}. Set it in the broker's properties file and \
                 restart the broker."
            ))
        })?;
        let now = || present.get(&name).cloned().unwrap_or_else(|| definition.default.to_owned());
        let value = resolve(definition.kind, &name, change, now)?;
        if let Some(value) = &value {
            check_option(definition, synonym, value)?;
        }
        plain.push((name, value));
    }
    Ok(plain)
}

/// A broker option's value has the unit of the option.
fn check_option(definition: &Definition, synonym: Synonym, value: &str) -> Result<(), InvalidConfig> {
    let wrong = || InvalidConfig::Value {
        name: synonym.name.to_owned(),
        value: value.to_owned(),
        expected: "Not a number of type LONG".to_owned(),
    };
    if synonym.factor == 1 {
        return definition.check(value);
    }
    let number: i64 = value.trim().parse().map_err(|_| wrong())?;
    // -1 means "no limit" in every unit.
    let scaled = if number < 0 { number } else { number.saturating_mul(synonym.factor) };
    definition.check(&scaled.to_string())
}

/// With AlterConfigs, what is not named is taken away.
fn removed(present: &Configs, changes: &Changes, replace: bool) -> Vec<(String, Option<String>)> {
    let named = |name: &str| changes.iter().any(|(other, _)| other == name);
    let gone = present.keys().filter(|name| replace && !named(name));
    gone.map(|name| (name.clone(), None)).collect()
}

/// The value that a config gets; `None` takes it away. `present` gives the list that is changed.
fn resolve(
    kind: Kind,
    name: &str,
    change: Change,
    present: impl FnOnce() -> String,
) -> Result<Option<String>, Failure> {
    let operation = match &change {
        Change::Set(value) => return Ok(Some(value.clone())),
        Change::Delete => return Ok(None),
        Change::Append(_) => "APPEND",
        Change::Subtract(_) => "SUBTRACT",
    };
    if kind != Kind::List {
        let message = format!("Can't {operation} to key {name} because its type is not LIST.");
        return Err(Failure::new(Code::InvalidConfig, message));
    }
    let present = present();
    let mut entries: Vec<&str> = list_entries(&present).collect();
    match &change {
        Change::Append(more) => {
            for entry in list_entries(more) {
                if !entries.contains(&entry) {
                    entries.push(entry);
                }
            }
        }
        Change::Subtract(less) => entries.retain(|entry| !list_entries(less).any(|gone| gone == *entry)),
        Change::Set(_) | Change::Delete => {}
    }
    Ok(Some(entries.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(change: Change) -> Result<Option<String>, Failure> {
        resolve(Kind::List, "cleanup.policy", change, || "delete".to_owned())
    }

    #[test]
    fn append_and_subtract_work_on_lists_only() {
        assert_eq!(resolved(Change::Append("compact,delete".into())), Ok(Some("delete,compact".into())));
        assert_eq!(resolved(Change::Subtract("delete".into())), Ok(Some(String::new())));
        let failure = resolve(Kind::Long, "retention.ms", Change::Append("1".into()), String::new);
        let failure = failure.expect_err("not a list");
        assert_eq!(failure.code, Code::InvalidConfig.code());
        assert_eq!(failure.message, "Can't APPEND to key retention.ms because its type is not LIST.");
    }

    #[test]
    fn a_broker_option_is_checked_in_its_own_unit() {
        let (definition, synonym) = dynamic_broker_option("log.retention.hours").expect("dynamic");
        assert_eq!(check_option(definition, synonym, "24"), Ok(()));
        assert_eq!(check_option(definition, synonym, "-1"), Ok(()));
        assert!(check_option(definition, synonym, "soon").is_err());
        assert!(dynamic_broker_option("node.id").is_none());
    }

    #[test]
    fn a_key_may_come_once_and_needs_a_value() {
        let text = |text: &'static str| StrBytes::from_static_str(text);
        let twice = [(text("a"), 0, Some(text("1"))), (text("a"), 1, None)];
        assert_eq!(operations(twice.into_iter()).expect_err("twice").code, Code::InvalidRequest.code());
        let null = [(text("a"), 0, None)];
        assert_eq!(
            operations(null.into_iter()).expect_err("null").message,
            "Null value not supported for : a"
        );
        let unknown = [(text("a"), 9, Some(text("1")))];
        assert!(operations(unknown.into_iter()).is_err());
    }
}
