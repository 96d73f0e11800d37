//! Crates depend only downwards: broker -> metadata -> storage-backends, and on what their row allows.

use std::collections::BTreeMap;

use aquifer_house::{expect_none, root, run};
use serde_json::Value;

/// What each crate may depend on among ours. A crate that is not here may not exist.
const ALLOWED: &[(&str, &[&str])] = &[
    ("runtime", &[]),
    ("disk", &["runtime"]),
    ("wal", &["runtime", "disk"]),
    ("objects", &["runtime"]),
    ("types", &[]),
    ("image", &["types"]),
    ("controller", &["types", "image"]),
    ("peer", &["runtime", "types"]),
    ("quorum", &["runtime", "types", "image", "peer"]),
    ("client", &["runtime", "types", "image", "peer", "quorum"]),
    ("heartbeat", &["runtime", "types", "image", "controller", "peer", "quorum", "client"]),
    ("rebalancing", &["runtime", "types", "image", "controller", "quorum", "client"]),
    ("record", &[]),
    ("guard", &[]),
    ("stream", &["runtime", "wal", "objects", "types", "image", "controller", "client"]),
    ("mirror", &["runtime", "wal", "types", "image", "peer", "client", "stream"]),
    ("partition", &["runtime", "types", "image", "client", "stream", "record"]),
    ("coordinator", &["runtime", "types", "image", "client", "partition", "record"]),
    (
        "server",
        &["runtime", "types", "image", "controller", "client", "partition", "coordinator", "record", "guard"],
    ),
    ("house", &[]),
    ("services", &["runtime"]),
    ("harness", &["services"]),
    ("compat", &["harness", "services"]),
    ("deploy", &["harness", "services"]),
    ("faults", &["runtime", "harness", "services"]),
    ("bench", &["runtime", "services"]),
    ("model", &[]),
    ("fuzz", &["guard", "record"]),
    (
        "sim",
        &[
            "runtime",
            "disk",
            "wal",
            "objects",
            "types",
            "image",
            "controller",
            "peer",
            "quorum",
            "client",
            "heartbeat",
            "rebalancing",
            "record",
            "stream",
            "mirror",
            "partition",
            "coordinator",
        ],
    ),
];

#[test]
fn crates_depend_only_on_what_they_may_know() {
    let mut offences = Vec::new();
    for (name, dependencies) in crates() {
        if name == "node" {
            continue; // the binary wires everything
        }
        let Some((_, allowed)) = ALLOWED.iter().find(|(of, _)| *of == name) else {
            offences.push(format!("{name} is not in the table of tests/house/tests/arrows.rs"));
            continue;
        };
        for dependency in dependencies.iter().filter(|dependency| !allowed.contains(&dependency.as_str())) {
            offences.push(format!("{name} must not know {dependency}"));
        }
    }
    expect_none("forbidden arrows", &offences);
}

#[test]
fn crates_are_named_like_their_folders() {
    let metadata = metadata();
    let root = root().display().to_string();
    let mut offences = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let manifest = package["manifest_path"].as_str().expect("a path");
        let folder =
            manifest.trim_start_matches(&root).trim_start_matches('/').trim_end_matches("/Cargo.toml");
        let last = folder.rsplit('/').next().unwrap_or_default();
        if package["name"] != format!("aquifer-{last}") || folder.split('/').count() != 2 {
            offences.push(format!("{} lies in {folder}", package["name"]));
        }
    }
    expect_none("a crate lies in AREA/NAME and is called aquifer-NAME", &offences);
}

fn metadata() -> Value {
    let json = run("cargo", &["metadata", "--no-deps", "--format-version", "1", "--offline"]);
    serde_json::from_str(&json).expect("cargo prints JSON")
}

/// Each crate of ours with those of ours that it needs outside tests.
fn crates() -> BTreeMap<String, Vec<String>> {
    let ours = |name: &str| name.strip_prefix("aquifer-").map(str::to_owned);
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .filter_map(|package| {
            let name = ours(package["name"].as_str()?)?;
            let dependencies = package["dependencies"].as_array()?;
            let needed = dependencies
                .iter()
                .filter(|dependency| dependency["kind"] != "dev")
                .filter_map(|dependency| ours(dependency["name"].as_str()?))
                .collect();
            Some((name, needed))
        })
        .collect()
}
