use std::env;
use std::path::{Path, PathBuf};

use aquifer_services::{Artifact, or_skip};

/// A script of the crate whose test is running: cargo tells every test where its crate lies.
///
/// # Panics
/// Outside of cargo's tests.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    let krate = env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
    Path::new(&krate).join("scripts").join(name)
}

/// What all scripts may import.
pub(crate) fn shared_scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

/// The logging of Kafka's programs, as an argument of a JVM.
#[must_use]
pub fn log_configuration() -> String {
    format!("-Dlog4j2.configurationFile={}", shared_scripts().join("log4j2.properties").display())
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
#[must_use]
pub fn kafka_classes() -> Option<String> {
    or_skip(Artifact::Kafka.find()).map(|lib| format!("{}/*", lib.display()))
}
