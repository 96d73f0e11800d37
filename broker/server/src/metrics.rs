//! Counters of the server, read by whoever renders them.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the server counts about itself.
#[derive(Debug, Default)]
pub struct Metrics {
    pub(crate) connections: Counter,
    pub(crate) connections_closed: Counter,
    pub(crate) connections_refused: Counter,
    pub(crate) connection_panics: Counter,
    pub(crate) requests: Counter,
    pub(crate) malformed_requests: Counter,
    pub(crate) muted_requests: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) produced_bytes: Counter,
    pub(crate) fetched_bytes: Counter,
}

/// One value for a metrics page, named by Prometheus' conventions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Name with unit.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// A counter only grows; otherwise a gauge.
    pub counter: bool,
    /// Its value now.
    pub value: u64,
}

/// A number that grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, by: usize) {
        self.0.fetch_add(by as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metrics {
    /// All values now.
    pub fn samples(&self) -> Vec<Sample> {
        let counter =
            |name, help, counter: &Counter| Sample { name, help, counter: true, value: counter.get() };
        vec![
            Sample {
                name: "aquifer_server_connections",
                help: "Open client connections.",
                counter: false,
                value: self.connections.get().saturating_sub(self.connections_closed.get()),
            },
            counter("aquifer_server_connections_total", "Client connections accepted.", &self.connections),
            counter(
                "aquifer_server_connections_refused_total",
                "Client connections closed at once because of a connection limit.",
                &self.connections_refused,
            ),
            counter(
                "aquifer_server_connection_panics_total",
                "Connections that ended by a bug of ours.",
                &self.connection_panics,
            ),
            counter("aquifer_server_requests_total", "Requests dispatched.", &self.requests),
            counter(
                "aquifer_server_malformed_requests_total",
                "Requests that the frame guard or a decoder refused.",
                &self.malformed_requests,
            ),
            counter(
                "aquifer_server_muted_requests_total",
                "Requests after which their connection was muted for a while, because the WAL fills.",
                &self.muted_requests,
            ),
            counter("aquifer_server_received_bytes_total", "Bytes of requests.", &self.received_bytes),
            counter("aquifer_server_sent_bytes_total", "Bytes of replies.", &self.sent_bytes),
            counter(
                "aquifer_server_produced_bytes_total",
                "Bytes of records appended.",
                &self.produced_bytes,
            ),
            counter("aquifer_server_fetched_bytes_total", "Bytes of records fetched.", &self.fetched_bytes),
        ]
    }
}
