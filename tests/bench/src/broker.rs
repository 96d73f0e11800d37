mod aquifer;
mod kafka;

use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use self::aquifer::Aquifer;
use self::kafka::ApacheKafka;
use crate::BenchError;
use crate::machine::first_line;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Aquifer with its default configuration, on a store of files.
    Aquifer,
    /// The same on a MinIO of its own, which keeps its objects on the same disk; MinIO's CPU and memory are not
    /// counted as the broker's.
    AquiferMinio,
    /// Apache Kafka that syncs before it acknowledges, as Aquifer does.
    KafkaFsync,
    /// Apache Kafka as it comes: it acknowledges what is in the page cache.
    Kafka,
}

impl System {
    /// In the order of the reports.
    pub const ALL: [Self; 4] = [Self::Aquifer, Self::AquiferMinio, Self::KafkaFsync, Self::Kafka];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aquifer => "aquifer",
            Self::AquiferMinio => "aquifer-minio",
            Self::KafkaFsync => "kafka-fsync",
            Self::Kafka => "kafka",
        }
    }

    /// True for both kinds of Apache Kafka.
    pub fn is_kafka(self) -> bool {
        matches!(self, Self::KafkaFsync | Self::Kafka)
    }

    /// The system of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str) -> Result<Self, BenchError> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|system| system.name() == name);
        found.ok_or_else(|| BenchError::Unknown(format!("there is no system '{name}': one of {names}")))
    }
}

/// What the `aquifer` binary says that it is.
///
/// # Errors
/// If there is none.
pub(crate) fn binary_version() -> Result<String, BenchError> {
    let binary = aquifer::find_binary()?;
    let version = first_line(&binary.display().to_string(), &["--version"]);
    if aquifer::is_named() {
        return Ok(format!("{version}, the binary of AQUIFER_BIN"));
    }
    let profile = binary.parent().and_then(Path::file_name).unwrap_or_default();
    let commit = first_line("git", &["describe", "--always", "--dirty"]);
    Ok(format!("{version}, commit {commit}, profile {}", profile.display()))
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A running broker with a directory of its own; ended when it is dropped.
#[derive(Debug)]
pub struct Broker {
    runtime: Rc<Runtime>,
    process: Kind,
}

#[derive(Debug)]
enum Kind {
    Aquifer(Aquifer),
    Kafka(ApacheKafka),
}

impl Broker {
    /// Starts one whose files lie under `directory`, and waits for its first answer. `heap` is for a JVM.
    ///
    /// # Errors
    /// If it does not come up, or is not installed.
    pub fn start(
        system: System,
        runtime: &Rc<Runtime>,
        directory: &Path,
        heap: &str,
    ) -> Result<Self, BenchError> {
        let process = match system {
            System::Aquifer => Kind::Aquifer(runtime.block_on(Aquifer::start(directory, None))?),
            System::AquiferMinio => Kind::Aquifer(runtime.block_on(Aquifer::start_on_minio(directory))?),
            System::KafkaFsync | System::Kafka => {
                let durable = system == System::KafkaFsync;
                Kind::Kafka(runtime.block_on(ApacheKafka::start(directory, heap, durable))?)
            }
        };
        Ok(Self { runtime: Rc::clone(runtime), process })
    }

    /// `127.0.0.1:PORT`, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        match &self.process {
            Kind::Aquifer(aquifer) => aquifer.bootstrap(),
            Kind::Kafka(kafka) => kafka.bootstrap(),
        }
    }

    /// Its process id, for `/proc`.
    pub fn process_id(&self) -> u32 {
        match &self.process {
            Kind::Aquifer(aquifer) => aquifer.process_id(),
            Kind::Kafka(kafka) => kafka.process_id(),
        }
    }

    /// Its configuration file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn configuration(&self) -> Result<String, BenchError> {
        match &self.process {
            Kind::Aquifer(aquifer) => aquifer.configuration(),
            Kind::Kafka(kafka) => kafka.configuration(),
        }
    }

    /// From exec to the first answer, at its last start.
    pub fn start_took(&self) -> Duration {
        match &self.process {
            Kind::Aquifer(aquifer) => aquifer.start_took(),
            Kind::Kafka(kafka) => kafka.start_took(),
        }
    }

    /// Stops it as an operator does; gives the time from SIGTERM to the exit.
    ///
    /// # Errors
    /// If it had to be killed.
    pub fn stop(&mut self) -> Result<Duration, BenchError> {
        match &mut self.process {
            Kind::Aquifer(aquifer) => self.runtime.block_on(aquifer.stop()),
            Kind::Kafka(kafka) => self.runtime.block_on(kafka.stop()),
        }
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        match &mut self.process {
            Kind::Aquifer(aquifer) => aquifer.kill(),
            Kind::Kafka(kafka) => kafka.kill(),
        }
    }

    /// Starts it again on the same port with the same files.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start_again(&mut self) -> Result<(), BenchError> {
        match &mut self.process {
            Kind::Aquifer(aquifer) => self.runtime.block_on(aquifer.start_again()),
            Kind::Kafka(kafka) => self.runtime.block_on(kafka.start_again()),
        }
    }
}
