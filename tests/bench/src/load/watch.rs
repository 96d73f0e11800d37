use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::MetadataBroker;

use super::Topic;
use crate::BenchError;

const LIMIT: Duration = Duration::from_secs(30);

/// A client that looks at who leads a topic, and where its copies are.
pub(crate) struct Watch {
    client: BaseConsumer,
    topic: String,
}

/// What it sees.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    /// The brokers that are alive, in ascending order.
    pub(crate) brokers: Vec<i32>,
    /// In order.
    pub(crate) partitions: Vec<Partition>,
}

/// Of one partition.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    /// -1 while there is none.
    pub(crate) leader: i32,
    /// The preferred leader first.
    pub(crate) replicas: Vec<i32>,
    in_sync: usize,
}

impl Partition {
    /// With all its copies.
    #[cfg(test)]
    pub(crate) fn of(leader: i32, replicas: &[i32]) -> Self {
        Self { leader, replicas: replicas.to_vec(), in_sync: replicas.len() }
    }

    /// The number of the node that leads it; 0 while there is none.
    pub(crate) fn leading_node(&self) -> usize {
        usize::try_from(self.leader).unwrap_or_default()
    }

    /// Whether it has a leader and all its copies.
    pub(crate) fn is_whole(&self) -> bool {
        self.leader >= 0 && self.in_sync == self.replicas.len()
    }
}

impl Watch {
    pub(super) fn new(client: BaseConsumer, topic: &Topic) -> Self {
        Self { client, topic: topic.name.clone() }
    }

    pub(crate) fn look(&self) -> Result<Sight, BenchError> {
        let metadata = self.client.fetch_metadata(Some(&self.topic), LIMIT);
        let metadata = metadata.map_err(BenchError::client(format!("ask for {}", self.topic)))?;
        let mut brokers: Vec<i32> = metadata.brokers().iter().map(MetadataBroker::id).collect();
        brokers.sort_unstable();
        let topic = metadata.topics().first();
        let mut partitions: Vec<_> = topic.map_or(&[][..], |topic| topic.partitions()).iter().collect();
        partitions.sort_by_key(|partition| partition.id());
        let partitions = partitions.into_iter().map(|partition| Partition {
            leader: partition.leader(),
            replicas: partition.replicas().to_vec(),
            in_sync: partition.isr().len(),
        });
        Ok(Sight { brokers, partitions: partitions.collect() })
    }
}
