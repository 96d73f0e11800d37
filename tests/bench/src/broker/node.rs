use std::process::Command;
use std::time::Duration;

use aquifer_services::Kafka;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::aquifer::Aquifer;
use crate::BenchError;

/// For an answer of a node that may have died.
const ANSWER: Duration = Duration::from_secs(2);

/// One process of a system.
#[derive(Debug)]
pub(super) enum Node {
    Aquifer(Aquifer),
    Kafka(Kafka),
}

/// What Kafka notes about its quorum.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Election {
    leader_id: i64,
    leader_epoch: u64,
}

impl Node {
    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Aquifer(aquifer) => aquifer.port(),
            Self::Kafka(kafka) => kafka.port(),
        }
    }

    /// False for a node that is only a controller.
    pub(super) fn is_broker(&self) -> bool {
        match self {
            Self::Aquifer(aquifer) => aquifer.is_broker(),
            Self::Kafka(kafka) => kafka.is_broker(),
        }
    }

    pub(super) fn process_id(&self) -> u32 {
        match self {
            Self::Aquifer(aquifer) => aquifer.process_id(),
            Self::Kafka(kafka) => kafka.id(),
        }
    }

    pub(super) fn configuration(&self) -> Result<String, BenchError> {
        match self {
            Self::Aquifer(aquifer) => aquifer.configuration(),
            Self::Kafka(kafka) => Ok(kafka.configuration()?),
        }
    }

    pub(super) fn start_took(&self) -> Duration {
        match self {
            Self::Aquifer(aquifer) => aquifer.start_took(),
            Self::Kafka(kafka) => kafka.start_took(),
        }
    }

    pub(super) async fn stop(&mut self) -> Result<Duration, BenchError> {
        let asked = Instant::now();
        let (stopped, name) = match self {
            Self::Aquifer(aquifer) => (aquifer.stop().await, "aquifer"),
            Self::Kafka(kafka) => (kafka.stop().await, "Kafka"),
        };
        if stopped {
            Ok(asked.elapsed())
        } else {
            Err(BenchError::Wrong(format!("{name} did not stop by itself")))
        }
    }

    pub(super) fn kill(&mut self) {
        match self {
            Self::Aquifer(aquifer) => aquifer.kill(),
            Self::Kafka(kafka) => kafka.kill(),
        }
    }

    pub(super) fn freeze(&self) -> Result<(), BenchError> {
        let sent = Command::new("kill").args(["-STOP", &self.process_id().to_string()]).status();
        sent.map(drop).map_err(BenchError::io("send SIGSTOP to a node"))
    }

    pub(super) fn runs(&mut self) -> bool {
        match self {
            Self::Aquifer(aquifer) => aquifer.runs(),
            Self::Kafka(kafka) => kafka.runs(),
        }
    }

    pub(super) fn launch(&mut self) -> Result<(), BenchError> {
        match self {
            Self::Aquifer(aquifer) => aquifer.launch(),
            Self::Kafka(kafka) => Ok(kafka.launch()?),
        }
    }

    pub(super) async fn until_it_answers(&mut self) -> Result<(), BenchError> {
        match self {
            Self::Aquifer(aquifer) => aquifer.until_it_knows(1).await,
            Self::Kafka(kafka) => Ok(kafka.until_it_knows(1).await?),
        }
    }

    /// Whether it is well: a broker knows so many, and has so many copies of its write-ahead log if it is Aquifer's.
    pub(super) async fn is_whole(&self, brokers: usize, copies: u64) -> bool {
        let well = async {
            match self {
                Self::Aquifer(aquifer) if aquifer.is_broker() && copies > 1 => {
                    aquifer.knows(brokers).await && aquifer.metric("aquifer_wal_copies").await == Some(copies)
                }
                Self::Aquifer(aquifer) => aquifer.knows(brokers).await,
                Self::Kafka(kafka) => kafka.knows(brokers).await,
            }
        };
        timeout(ANSWER, well).await == Ok(true)
    }

    /// The newest election that this node, whose number is `id`, knows of: the later is the greater.
    pub(super) async fn elected(&self, id: usize) -> Option<(u64, usize)> {
        match self {
            Self::Aquifer(aquifer) => {
                (aquifer.metric("aquifer_quorum_leader").await == Some(1)).then_some((0, id))
            }
            Self::Kafka(kafka) => {
                let election: Election = serde_json::from_str(&kafka.quorum_state().ok()?).ok()?;
                Some((election.leader_epoch, usize::try_from(election.leader_id).ok()?))
            }
        }
    }

    /// How often the mirrors of its write-ahead log came or went.
    pub(super) async fn rolls(&self) -> Option<u64> {
        match self {
            Self::Aquifer(aquifer) => aquifer.metric("aquifer_wal_rolls_total").await,
            Self::Kafka(_) => None,
        }
    }
}
