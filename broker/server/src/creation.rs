//! Creating topics, for CreateTopics and for Metadata's auto-creation.

use aquifer_client::ProposeError;
use aquifer_controller::place;
use aquifer_image::{Command, CreateTopic, Image, check_topic_name};
use aquifer_partition::config::{ConfigSources, check_topic_configs};
use aquifer_types::{NodeId, TopicId};
use kafka_protocol::ResponseError as Code;

use crate::config::ServerConfig;
use crate::errors::Failure;
use crate::server::Context;

/// A topic as its creator wants it, with the defaults filled in.
#[derive(Clone, Debug)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i16,
    /// The leader of each partition, where the creator assigned them.
    pub(crate) leaders: Option<Vec<NodeId>>,
    pub(crate) configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic of which only the name is given.
    pub(crate) fn with_defaults(name: &str, config: &ServerConfig) -> Self {
        let offsets = name == aquifer_coordinator::OFFSETS_TOPIC;
        let partitions = if offsets { config.offsets_topic_partitions } else { config.default_partitions };
        let factor =
            if offsets { config.offsets_topic_replication_factor } else { config.default_replication_factor };
        // As Kafka sets it up: the newest commit of each group and partition is what counts.
        let configs =
            if offsets { vec![("cleanup.policy".to_owned(), "compact".to_owned())] } else { vec![] };
        Self { name: name.to_owned(), partitions, replication_factor: factor, leaders: None, configs }
    }

    /// Everything that can be refused before the quorum is asked.
    pub(crate) fn check(&self, context: &Context, image: &Image) -> Result<Vec<NodeId>, Failure> {
        check_topic_name(&self.name)
            .map_err(|error| Failure::new(Code::InvalidTopicException, error.to_string()))?;
        if image.topic_by_name(&self.name).is_some() {
            let message = format!("Topic '{}' already exists.", self.name);
            return Err(Failure::new(Code::TopicAlreadyExists, message));
        }
        let count = usize::try_from(self.partitions).ok().filter(|count| *count > 0).ok_or_else(|| {
            Failure::new(
                Code::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value.",
            )
        })?;
        if self.replication_factor <= 0 {
            let message = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(Failure::new(Code::InvalidReplicationFactor, message));
        }
        let sources = ConfigSources::new(image, context.config.node, &context.config.options, None);
        let configs = self.configs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        check_topic_configs(configs, |definition| sources.value(definition))?;
        match &self.leaders {
            Some(leaders) => Ok(leaders.clone()),
            None => Ok(place(image, count)?),
        }
    }
}

/// Creates a topic; it is in this node's image when this returns.
pub(crate) async fn create(context: &Context, topic: NewTopic) -> Result<TopicId, Failure> {
    let leaders = topic.check(context, &context.image())?;
    let id = TopicId(context.services.random.uuid());
    let command = CreateTopic {
        name: topic.name,
        id,
        replication_factor: topic.replication_factor,
        configs: topic.configs,
        leaders,
    };
    // The same name and id again is a retry: an unknown outcome may be asked for once more.
    let proposed = match context.services.metadata.propose(command.clone()).await {
        Err(ProposeError::Unknown { .. }) => context.services.metadata.propose(Command::from(command)).await,
        proposed => proposed,
    };
    proposed?;
    Ok(id)
}
