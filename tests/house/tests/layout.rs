//! The agreed top level, and documents that tell the truth about commands.

use std::collections::BTreeSet;

use aquifer_house::{expect_none, files, root};

const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "broker",
    "metadata",
    "storage-backends",
    "deploy",
    "tests",
    "docs",
    ".ci",
    ".cargo",
    ".config",
    ".gitignore",
    "clippy.toml",
    "deny.toml",
    "rustfmt.toml",
    "rust-toolchain.toml",
];

#[test]
fn the_top_level_is_as_agreed() {
    let names: BTreeSet<_> =
        files().iter().map(|file| file.path.split('/').next().unwrap_or_default().to_owned()).collect();
    let offences: Vec<_> = names.into_iter().filter(|name| !TOP_LEVEL.contains(&name.as_str())).collect();
    expect_none("not part of the agreed top level", &offences);
}

#[test]
fn ci_runs_the_test_command_of_the_readme() {
    let read = |path: &str| {
        std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let (readme, ci) = (read("README.md"), read(".ci/run"));
    assert!(readme.contains("\ntests/run\n"), "README shows the command tests/run on a line of its own");
    assert!(ci.contains("tests/run"), ".ci/run calls the README's test command");
}

#[test]
fn the_documents_exist_and_are_linked_from_the_readme() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let offences: Vec<_> = [
        "docs/architecture.md",
        "docs/operations.md",
        "docs/configuration.md",
        "docs/decisions",
        "CHANGELOG.md",
    ]
    .into_iter()
    .filter(|path| !readme.contains(path) || !root().join(path).exists())
    .map(str::to_owned)
    .collect();
    expect_none("missing, or not linked from README.md", &offences);
}
