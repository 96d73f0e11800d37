use std::env;
use std::path::{Path, PathBuf};

use aquifer_services::{Artifact, or_skip};

/// A script beside this crate.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

/// The `aquifer` binary: `AQUIFER_BIN`, or the one that `tests/run` builds.
///
/// # Panics
/// If there is none, saying how to get it.
#[must_use]
pub fn aquifer() -> PathBuf {
    if let Some(path) = env::var_os("AQUIFER_BIN") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "AQUIFER_BIN names {}, which is not a file", path.display());
        return path;
    }
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let path = target.join("fast/aquifer");
    assert!(
        path.is_file(),
        "no binary to test: run `cargo build --profile fast -p aquifer-node` or set AQUIFER_BIN ({} is not there)",
        path.display()
    );
    path
}

/// The class path of Kafka's broker and tools; `None` if the test is to be skipped for want of them.
pub(crate) fn kafka_classes() -> Option<String> {
    or_skip(Artifact::Kafka.find()).map(|lib| format!("{}/*", lib.display()))
}
