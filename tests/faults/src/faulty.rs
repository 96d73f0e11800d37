use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aquifer_harness::Node;
use aquifer_services::{Artifact, Fault, Proxy, or_skip};
use tokio::time::Instant;

/// How often something that shall come is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The store behind the proxy is away, until the proxy is healed.
pub fn away(proxy: &Proxy) {
    proxy.inject_one_of(1, "", "", Fault::LoseRequest);
}

/// Waits until nothing waits for the store any more; how long that took.
///
/// # Panics
/// If it does not come so far within `limit`.
pub async fn settled(node: &Node, limit: Duration) -> Duration {
    let start = Instant::now();
    loop {
        let waiting = node.metric("aquifer_wal_unoffloaded_bytes").await;
        if waiting == Some(0) {
            return start.elapsed();
        }
        assert!(
            start.elapsed() < limit,
            "{waiting:?} bytes wait for the store after {limit:?}:\n{}",
            node.log()
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Has the node believe that so many hours more have passed, from its next start on; `None`, and a note that the test
/// was skipped, if libfaketime is not installed. `hours` may be written anew while the node runs: see [`Self::set`].
#[derive(Debug)]
pub struct FalseClock(PathBuf);

impl FalseClock {
    /// Puts a clock of its own under a node.
    pub fn under(node: &mut Node) -> Option<Self> {
        let library = or_skip(Artifact::Faketime.find())?;
        let clock = Self(node.dir().join("clock"));
        clock.set(0);
        node.set_environment("LD_PRELOAD", &library.display().to_string());
        node.set_environment("FAKETIME_TIMESTAMP_FILE", &clock.0.display().to_string());
        // Looked at for each call: a jump is a jump.
        node.set_environment("FAKETIME_NO_CACHE", "1");
        node.set_environment("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Some(clock)
    }

    /// Sets the clock so many hours ahead of the real one.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn set(&self, hours: i64) {
        let new = self.0.with_extension("new");
        let written = fs::write(&new, format!("{hours:+}h\n")).and_then(|()| fs::rename(&new, &self.0));
        written.expect("the clock's file can be written");
    }
}

/// What a process holds in memory now, and at most so far, in MiB.
///
/// # Panics
/// If it does not run.
#[must_use]
pub fn memory_mib(process: u32) -> (u64, u64) {
    let status = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"));
    let status = status.expect("the process runs");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("the kernel tells it") / 1024
    };
    (field("VmRSS:"), field("VmHWM:"))
}
