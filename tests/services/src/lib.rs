//! Real programs for tests: MinIO, HDFS, a KDC, Apache Kafka, each started on free ports in a temporary
//! directory and ended with the test. Nothing here knows Aquifer.
//!
//! ```text
//!   install.sh ──> cache ($AQUIFER_TEST_CACHE)      once per machine
//!                    │
//!   Minio::start  Hdfs::start  HaHdfs::start  Kdc::start  Kafka::start  Kafka::start_cluster  python  kcat   Proxy: an HTTP proxy with faults on demand
//!                    │
//!                 Process     killed on drop, and by the kernel should the test die
//! ```
//!
//! Starting something that is not installed is [`ServiceError::Missing`]; [`or_skip`] turns that into a
//! skipped test that is printed and counted:
//!
//! ```no_run
//! # async fn test() {
//! let Some(minio) = aquifer_services::or_skip(aquifer_services::Minio::start().await) else { return };
//! println!("{}", minio.endpoint());
//! # }
//! ```

mod artifact;
mod hdfs;
mod http;
mod kafka;
mod kdc;
mod minio;
mod ports;
mod private_ca;
mod process;
mod proxy;
mod ready;
mod skip;

pub use artifact::{Artifact, kcat, python};
pub use hdfs::{HaHdfs, Hdfs};
pub use http::get as http_get;
pub use kafka::{Kafka, KafkaConfig};
pub use kdc::{Kdc, Protection};
pub use minio::Minio;
pub use ports::{free_port, free_ports, many_free_ports};
pub use private_ca::PrivateCa;
pub use process::Process;
pub use proxy::{Fault, Proxy};
pub use ready::known_brokers;
pub use skip::{or_skip, skip};

use std::path::PathBuf;
use std::time::Duration;

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// It is not installed.
    #[error("{0} is not installed: run tests/services/install.sh {part}", part = .0.part())]
    Missing(Artifact),
    /// Its process could not be started, or a file could not be written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// It ended by itself.
    #[error("{name} ended while starting; the end of its log:\n{log}")]
    Ended {
        /// Which process.
        name: String,
        /// The last lines of its output.
        log: String,
    },
    /// It was not ready in time.
    #[error("{name} was not ready after {limit:?}; the end of {path}:\n{log}")]
    NotReady {
        /// Which process.
        name: String,
        /// How long we waited.
        limit: Duration,
        /// Its log.
        path: PathBuf,
        /// The last lines of its output.
        log: String,
    },
}

impl ServiceError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
