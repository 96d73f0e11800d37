use std::io;

use aquifer_services::ServiceError;

/// Why a measurement could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A broker did not start, or Kafka is not installed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The `aquifer` binary is not there.
    #[error(
        "there is no aquifer binary: run `cargo build --release -p aquifer-node`, or name one in AQUIFER_BIN (looked at {0})"
    )]
    NoBinary(String),
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The client library refused or gave up.
    #[error("{0}")]
    Client(String),
    /// The broker's answers contradict each other, or do not come: a number taken now would mean nothing.
    #[error("{0}")]
    Wrong(String),
    /// An unknown name on the command line.
    #[error("{0}")]
    Unknown(String),
}

impl BenchError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn client(what: impl Into<String>) -> impl FnOnce(rdkafka::error::KafkaError) -> Self {
        let what = what.into();
        move |error| Self::Client(format!("{what}: {error}"))
    }
}
