//! Where log lines go: standard error, as text, filtered by `RUST_LOG`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Raft and sled tell of every step, and raft's core warns of messages that came late, as at every start.
const QUIETER: &str = "openraft=warn,openraft::core::raft_core=error,sled=warn";

/// Starts logging at `level` unless `RUST_LOG` says otherwise. What libraries tell the `log` crate is taken too: only there does hdfs-native name the DataNode that fails
/// a read. Under systemd the journal adds the time.
pub(crate) fn start(level: &str) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("{level},{QUIETER}")));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A line that cannot be written, as on a full disk, is lost. Telling of that would panic in whoever logs.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().init();
    } else {
        builder.init();
    }
}
