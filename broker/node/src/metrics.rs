//! The metrics page: what each layer counts, in Prometheus' text format, which every collector reads.

use std::fmt::{Result, Write};

use aquifer_mirror::{PeerCopies, Takeovers};
use aquifer_objects::Store;
use aquifer_quorum::{Quorum, Role};
use aquifer_server::Server;
use aquifer_stream::Streams;

use crate::process_use::ProcessUse;

/// The layers whose numbers are shown.
pub(crate) struct Page {
    /// Absent on a node that is a controller only.
    pub(crate) broker: Option<BrokerLayers>,
    /// Absent on a node that is a broker only.
    pub(crate) quorum: Option<Quorum>,
}

/// The layers of a broker.
pub(crate) struct BrokerLayers {
    pub(crate) server: Server,
    pub(crate) streams: Streams,
    pub(crate) store: Store,
    /// In a cluster.
    pub(crate) takeovers: Option<Takeovers<PeerCopies>>,
}

impl Page {
    /// All metrics now.
    pub(crate) fn render(&self) -> String {
        let mut text = String::with_capacity(16 << 10);
        self.write(&mut text).expect("writing to a string does not fail");
        text
    }

    fn write(&self, text: &mut String) -> Result {
        if let Some(broker) = &self.broker {
            for sample in broker.server.metrics().samples() {
                single(text, sample.name, sample.counter, sample.help, sample.value)?;
            }
            let held = broker.server.request_memory_bytes() as u64;
            single(text, "aquifer_server_request_memory_bytes", false, "Memory that requests hold.", held)?;
            broker.streams(text)?;
            store(text, &broker.store)?;
        }
        if let Some(quorum) = &self.quorum {
            write_quorum(text, quorum)?;
        }
        process(text, &ProcessUse::now())
    }
}

impl BrokerLayers {
    fn streams(&self, text: &mut String) -> Result {
        let stats = self.streams.stats();
        let samples: [(&str, bool, &str, u64); 17] = [
            (
                "aquifer_wal_unoffloaded_bytes",
                false,
                "Payload that only the WAL and memory hold.",
                stats.unoffloaded_bytes,
            ),
            (
                "aquifer_wal_unoffloaded_limit_bytes",
                false,
                "How much of it there may be.",
                stats.unoffloaded_limit_bytes,
            ),
            (
                "aquifer_wal_copies",
                false,
                "Copies of the WAL's present segment, this node's included; 0 while there are too few to write.",
                stats.wal_copies,
            ),
            (
                "aquifer_wal_rolls_total",
                true,
                "WAL segments that were begun because mirrors came or went.",
                stats.wal_rolls,
            ),
            (
                "aquifer_takeovers_blocked",
                false,
                "Dead brokers that cannot be taken over yet; the log says what is waited for.",
                self.takeovers.as_ref().map_or(0, |takeovers| takeovers.blocked().len() as u64),
            ),
            ("aquifer_cache_log_bytes", false, "Memory of the log caches.", stats.tail_cache_bytes),
            ("aquifer_cache_block_bytes", false, "Memory of the block cache.", stats.block_cache_bytes),
            ("aquifer_cache_index_bytes", false, "Memory of the index cache.", stats.index_cache_bytes),
            ("aquifer_objects_committed_total", true, "Objects committed.", stats.objects_committed),
            (
                "aquifer_objects_committed_bytes_total",
                true,
                "Bytes of objects committed.",
                stats.object_bytes_committed,
            ),
            (
                "aquifer_objects_deleted_total",
                true,
                "Objects deleted because nobody needs them.",
                stats.objects_deleted,
            ),
            (
                "aquifer_upload_failures_total",
                true,
                "Attempts to upload or commit that failed.",
                stats.upload_failures,
            ),
            (
                "aquifer_cache_block_hits_total",
                true,
                "Blocks that reads found in the block cache.",
                stats.block_hits,
            ),
            ("aquifer_cache_block_misses_total", true, "Blocks that had to be fetched.", stats.block_misses),
            ("aquifer_cold_fetches_total", true, "Ranged reads from the store.", stats.fetches),
            ("aquifer_cold_fetched_bytes_total", true, "Bytes of those.", stats.fetched_bytes),
            (
                "aquifer_objects_damaged_total",
                true,
                "Blocks, indexes and footers that were not what was written.",
                stats.damaged,
            ),
        ];
        samples
            .into_iter()
            .try_for_each(|(name, counter, help, value)| single(text, name, counter, help, value))
    }
}

fn write_quorum(text: &mut String, quorum: &Quorum) -> Result {
    let status = quorum.status();
    let leads = u64::from(status.role == Role::Leader);
    single(text, "aquifer_quorum_leader", false, "Whether this member leads the quorum.", leads)?;
    single(text, "aquifer_quorum_voters", false, "Voters of the quorum.", status.voters.len() as u64)?;
    single(text, "aquifer_quorum_applied_index", false, "Last entry applied.", status.applied.get())?;
    if let Some(free) = status.free_bytes {
        single(text, "aquifer_metadata_free_bytes", false, "Bytes free under metadata.dir.", free)?;
    }
    Ok(())
}

fn single(text: &mut String, name: &str, counter: bool, help: &str, value: u64) -> Result {
    family(text, name, if counter { "counter" } else { "gauge" }, help)?;
    writeln!(text, "{name} {value}")
}

/// Head of a metric family.
fn family(text: &mut String, name: &str, kind: &str, help: &str) -> Result {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// Under the names that Prometheus' own clients give them, so that dashboards know them.
fn process(text: &mut String, used: &ProcessUse) -> Result {
    family(text, "aquifer_build_info", "gauge", "Always 1; the label is the version that runs.")?;
    writeln!(text, "aquifer_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))?;
    if let Some(seconds) = used.cpu_seconds {
        family(text, "process_cpu_seconds_total", "counter", "CPU time spent, of the user and the system.")?;
        writeln!(text, "process_cpu_seconds_total {seconds}")?;
    }
    let resident = "Resident memory.";
    let samples = [
        ("process_resident_memory_bytes", resident, used.resident_bytes),
        ("process_open_fds", "Open file descriptors.", used.open_fds),
        ("process_max_fds", "The most file descriptors there may be.", used.max_fds),
    ];
    samples
        .into_iter()
        .filter_map(|(name, help, value)| Some((name, help, value?)))
        .try_for_each(|(name, help, value)| single(text, name, false, help, value))
}

fn store(text: &mut String, store: &Store) -> Result {
    let snapshot = store.metrics();
    let name = "aquifer_store_attempts_total";
    family(text, name, "counter", "Requests to the object store, retries included.")?;
    for operation in &snapshot.operations {
        writeln!(text, "{name}{{operation=\"{}\"}} {}", operation.operation.label(), operation.attempts)?;
    }
    let name = "aquifer_store_failures_total";
    family(text, name, "counter", "Requests to the object store that failed, by kind.")?;
    for operation in &snapshot.operations {
        for (kind, count) in operation.failures.iter().filter(|(_, count)| *count > 0) {
            let (operation, kind) = (operation.operation.label(), kind.label());
            writeln!(text, "{name}{{operation=\"{operation}\",kind=\"{kind}\"}} {count}")?;
        }
    }
    let name = "aquifer_store_bytes_total";
    family(text, name, "counter", "Payload bytes of successful requests.")?;
    for operation in &snapshot.operations {
        writeln!(text, "{name}{{operation=\"{}\"}} {}", operation.operation.label(), operation.bytes)?;
    }
    let name = "aquifer_store_request_seconds";
    family(text, name, "histogram", "Time per request to the object store.")?;
    for operation in snapshot.operations.iter().filter(|operation| operation.attempts > 0) {
        let label = operation.operation.label();
        for (bound, count) in &operation.latency.buckets {
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            writeln!(text, "{name}_bucket{{operation=\"{label}\",le=\"{bound}\"}} {count}")?;
        }
        writeln!(text, "{name}_sum{{operation=\"{label}\"}} {}", operation.latency.total_seconds)?;
        writeln!(text, "{name}_count{{operation=\"{label}\"}} {}", operation.attempts)?;
    }
    let retries = ("aquifer_store_retries_total", "Requests after the first attempt.", snapshot.retries);
    single(text, retries.0, true, retries.1, retries.2)?;
    let reduced = "Objects written with fewer copies than configured, because DataNodes failed.";
    single(text, "aquifer_store_reduced_writes_total", true, reduced, snapshot.reduced_writes)?;
    let swept = "Left-overs of interrupted uploads that were removed.";
    single(text, "aquifer_store_swept_orphans_total", true, swept, snapshot.swept_orphans)?;
    if let Some(end_ms) = snapshot.credentials_end_ms {
        let name = "aquifer_store_ticket_end_timestamp_seconds";
        family(text, name, "gauge", "When the Kerberos ticket of store.hdfs.ticket.cache ends, since 1970.")?;
        writeln!(text, "{name} {}", end_ms / 1000)?;
    }
    let (up, down) = (snapshot.upload_bytes_in_flight, snapshot.download_bytes_in_flight);
    single(text, "aquifer_store_upload_in_flight_bytes", false, "Bytes of uploads on their way.", up)?;
    single(text, "aquifer_store_download_in_flight_bytes", false, "Bytes of reads on their way.", down)
}
