//! Which value of a config is in force, and where it comes from.

use std::collections::BTreeMap;

use aquifer_image::{ConfigResource, Configs, Image};
use aquifer_types::NodeId;

use super::definition::{Definition, Synonym};

/// Where a value comes from, by Kafka's names in DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// DYNAMIC_TOPIC_CONFIG
    Topic,
    /// DYNAMIC_BROKER_CONFIG
    Broker,
    /// DYNAMIC_DEFAULT_BROKER_CONFIG
    DefaultBroker,
    /// STATIC_BROKER_CONFIG
    StaticBroker,
    /// DEFAULT_CONFIG
    Default,
}

/// A value that was considered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynonymValue {
    /// Name under which it was set.
    pub name: String,
    /// The value as set there.
    pub value: String,
    /// Where.
    pub source: ConfigSource,
}

/// The value in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveConfig {
    /// In the unit of the topic config.
    pub value: String,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Everything that was considered, the strongest first; the first one gave the value.
    pub synonyms: Vec<SynonymValue>,
}

/// What the operator set in the properties file, by Kafka's broker option names. Only those that topic configs have as
/// synonyms matter here.
pub type BrokerOptions = BTreeMap<String, String>;

/// All places where a topic's configs may be set.
#[derive(Clone, Copy, Debug)]
pub struct ConfigSources<'a> {
    topic: Option<&'a Configs>,
    broker: Option<&'a Configs>,
    default_broker: Option<&'a Configs>,
    options: &'a BrokerOptions,
}

impl<'a> ConfigSources<'a> {
    /// The places for a topic with these own configs (`None`: a topic yet to be made) on this node.
    pub fn new(
        image: &'a Image,
        node: NodeId,
        options: &'a BrokerOptions,
        topic: Option<&'a Configs>,
    ) -> Self {
        Self {
            topic,
            broker: image.configs(&ConfigResource::Broker(Some(node))),
            default_broker: image.configs(&ConfigResource::Broker(None)),
            options,
        }
    }

    /// The value in force, without its history.
    pub fn value(&self, definition: &Definition) -> String {
        if let Some(value) = self.topic.and_then(|configs| configs.get(definition.name)) {
            return value.trim().to_owned();
        }
        self.of_brokers(definition)
            .next()
            .map_or_else(|| definition.default.to_owned(), |(synonym, value, _)| scale(value, synonym))
    }

    /// The value in force with all that was considered.
    pub fn describe(&self, definition: &Definition) -> EffectiveConfig {
        let mut synonyms = Vec::new();
        let mut chosen = None;
        if let Some(value) = self.topic.and_then(|configs| configs.get(definition.name)) {
            chosen = Some((value.clone(), ConfigSource::Topic));
            let name = definition.name.to_owned();
            synonyms.push(SynonymValue { name, value: value.clone(), source: ConfigSource::Topic });
        }
        for (synonym, value, source) in self.of_brokers(definition) {
            chosen.get_or_insert_with(|| (scale(value, synonym), source));
            synonyms.push(SynonymValue { name: synonym.name.to_owned(), value: value.to_owned(), source });
        }
        let default = || (definition.default.to_owned(), ConfigSource::Default);
        // Where several broker options mean one config, such as `log.retention.{ms,minutes,hours}`, Kafka shows no default.
        if let [only] = definition.synonyms {
            let (name, value) = (only.name.to_owned(), definition.default.to_owned());
            synonyms.push(SynonymValue { name, value, source: ConfigSource::Default });
        }
        let (value, source) = chosen.unwrap_or_else(default);
        EffectiveConfig { value, source, synonyms }
    }

    /// What brokers say, the strongest first: place before name.
    fn of_brokers<'d>(
        &self,
        definition: &'d Definition,
    ) -> impl Iterator<Item = (Synonym, &'a str, ConfigSource)> + use<'a, 'd> {
        let (broker, default_broker, options) = (self.broker, self.default_broker, self.options);
        let dynamic = [(broker, ConfigSource::Broker), (default_broker, ConfigSource::DefaultBroker)];
        let dynamic = dynamic.into_iter().flat_map(move |(configs, source)| {
            definition
                .synonyms
                .iter()
                .filter_map(move |synonym| Some((*synonym, configs?.get(synonym.name)?.as_str(), source)))
        });
        let fixed = definition.synonyms.iter().filter_map(move |synonym| {
            Some((*synonym, options.get(synonym.name)?.as_str(), ConfigSource::StaticBroker))
        });
        dynamic.chain(fixed)
    }
}

fn scale(value: &str, synonym: Synonym) -> String {
    let value = value.trim();
    if synonym.factor == 1 {
        return value.to_owned();
    }
    match value.parse::<i64>() {
        // Negative means "no limit", whatever the unit.
        Ok(number) if number < 0 => value.to_owned(),
        Ok(number) => number.saturating_mul(synonym.factor).to_string(),
        Err(_) => value.to_owned(),
    }
}
