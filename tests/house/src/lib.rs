//! The house rules as tests: what a reviewer would otherwise have to look for.
//!
//! The rules read the working tree as text and `cargo metadata` as JSON; they know nothing of what the
//! code does. Each rule is a file under `tests/`.
//!
//! ```text
//!   tracked files ──> arrows | sizes | words | layout ──> a list of offences, empty or the test fails
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, str};

/// A file of the working tree.
#[derive(Debug)]
pub struct SourceFile {
    /// Path from the workspace's root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// The workspace's root.
pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the workspace exists")
}

/// Every text file that git tracks or would track, but for the lock file.
pub fn files() -> Vec<SourceFile> {
    let output = run("git", &["ls-files", "--cached", "--others", "--exclude-standard"]);
    output
        .lines()
        .filter(|path| *path != "Cargo.lock")
        .filter_map(|path| {
            let bytes = fs::read(root().join(path)).ok()?;
            let text = str::from_utf8(&bytes).ok()?.to_owned();
            Some(SourceFile { path: path.to_owned(), text })
        })
        .collect()
}

/// The Rust sources among [`files`].
pub fn rust_files() -> Vec<SourceFile> {
    files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

/// The part of a Rust file before its inline test module, with line numbers from 1; nothing for test files.
pub fn product_lines(file: &SourceFile) -> impl Iterator<Item = (usize, &str)> {
    let is_test = file.path.starts_with("tests/")
        || file.path.contains("/tests/")
        || file.path.ends_with("tests.rs")
        || file.path.contains("/benches/")
        || file.path.contains("/examples/");
    let lines = if is_test { "" } else { file.text.as_str() };
    lines
        .lines()
        .zip(1..)
        .map(|(line, number)| (number, line))
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
}

/// Runs a command in the workspace's root and returns what it printed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("{program} does not run: {error}"));
    assert!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

/// Fails the test if there are offences, listing them.
pub fn expect_none(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}
