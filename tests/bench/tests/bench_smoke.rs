//! The benchmark itself, for a few seconds: that it measures, counts and reports. Its figures mean nothing here.

use std::fs;
use std::path::Path;
use std::process::Command;

use aquifer_bench::{Figures, Metric, Outcome, System};

const PRODUCED: [Metric; 8] = [
    Metric::Throughput,
    Metric::Records,
    Metric::LatencyP50,
    Metric::LatencyP99,
    Metric::LatencyP999,
    Metric::ClientCpu,
    Metric::PeakMemory,
    Metric::Counted,
];
const FETCHED: [Metric; 4] = [Metric::Throughput, Metric::Records, Metric::PeakMemory, Metric::Counted];

/// Runs the program as a user does, and gives its results and its page.
fn bench(directory: &Path, arguments: &[&str]) -> (Outcome, String) {
    let (json, page) = (directory.join("results.json"), directory.join("page.md"));
    let output = Command::new(env!("CARGO_BIN_EXE_aquifer-bench"))
        .arg("run")
        .args(arguments)
        .arg("--json")
        .arg(&json)
        .arg("--report")
        .arg(&page)
        .arg("--dir")
        .arg(directory)
        .output()
        .expect("the benchmark starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the benchmark failed:\n{errors}");
    let text = fs::read_to_string(&json).expect("it kept its results");
    let outcome: Outcome = serde_json::from_str(&text).expect("they can be read again");
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    (outcome, fs::read_to_string(&page).expect("it wrote the page"))
}

fn medians(outcome: &Outcome, scenario: &str) -> Figures {
    medians_of(System::Aquifer, outcome, scenario)
}

fn medians_of(system: System, outcome: &Outcome, scenario: &str) -> Figures {
    outcome.medians(scenario, system).unwrap_or_else(|| panic!("{scenario} was not measured"))
}

fn figure(figures: &Figures, metric: Metric) -> f64 {
    figures.get(metric).unwrap_or_else(|| panic!("{metric:?} is missing"))
}

#[test]
fn a_quick_run_measures_every_column() {
    let directory = tempfile::tempdir().expect("a directory");
    let scenarios =
        ["produce-1", "produce-16", "latency-1000", "fetch-tail", "fetch-cold", "at-rest", "stop"];
    let mut arguments = vec!["--quick", "--systems", "aquifer"];
    arguments.extend(scenarios);
    let (outcome, page) = bench(directory.path(), &arguments);

    for scenario in ["produce-1", "produce-16", "latency-1000"] {
        let figures = medians(&outcome, scenario);
        for metric in PRODUCED {
            assert!(figure(&figures, metric) > 0.0, "{scenario}: {metric:?} is zero");
        }
        let quantiles = [Metric::LatencyP50, Metric::LatencyP99, Metric::LatencyP999];
        assert!(quantiles.map(|metric| figure(&figures, metric)).is_sorted(), "{scenario}: {figures:?}");
    }
    for scenario in ["fetch-tail", "fetch-cold"] {
        let figures = medians(&outcome, scenario);
        for metric in FETCHED {
            assert!(figure(&figures, metric) > 0.0, "{scenario}: {metric:?} is zero");
        }
        assert!(figure(&figures, Metric::BrokerCpu) >= 0.0);
    }
    assert!(figure(&medians(&outcome, "at-rest"), Metric::Memory) > 1.0);
    assert!(figure(&medians(&outcome, "stop"), Metric::Took) > 0.0);

    for scenario in scenarios {
        assert!(
            page.contains(&format!("| {scenario} | aquifer |")),
            "{scenario} is not in the page:\n{page}"
        );
    }
    let machine = &outcome.conditions.machine;
    for shown in [&machine.processor, &machine.kernel, &outcome.conditions.date] {
        assert!(page.contains(shown.as_str()), "the page does not name {shown}");
    }
}

/// One megabyte a record cannot hide: records, bytes and rates are the same thing in different units.
#[test]
fn figures_agree_with_what_was_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let (outcome, _) = bench(
        directory.path(),
        &[
            "produce-100k",
            "fetch-produced",
            "--secs",
            "1",
            "--warm-up",
            "0",
            "--repeats",
            "1",
            "--systems",
            "aquifer",
        ],
    );
    let produced = medians(&outcome, "produce-100k");
    let megabytes = figure(&produced, Metric::Records) * 102_400.0 / 1e6;
    let shown = figure(&produced, Metric::Throughput);
    assert!((megabytes / shown - 1.0).abs() < 1e-6, "{megabytes} MB/s by records, {shown} MB/s shown");
    // The broker counted what was acknowledged before, in and after the second that was measured.
    assert!(figure(&produced, Metric::Counted) >= figure(&produced, Metric::Records));

    // A second's worth of 200 MB in records of 1 KiB, each read once.
    let fetched = medians(&outcome, "fetch-produced");
    assert_eq!(figure(&fetched, Metric::Counted), (200_000_000_u64.div_ceil(1024)) as f64);
}

#[test]
fn a_cluster_is_measured_and_interrupted() {
    let directory = tempfile::tempdir().expect("a directory");
    let scenarios = ["cluster-produce-16", "kill-leader", "move-1", "kill-controller"];
    let mut arguments = vec!["--quick", "--systems", "aquifer-mirror"];
    arguments.extend(scenarios);
    let (outcome, page) = bench(directory.path(), &arguments);

    let of = |scenario, metric| figure(&medians_of(System::AquiferMirror, &outcome, scenario), metric);
    for metric in PRODUCED {
        assert!(of("cluster-produce-16", metric) > 0.0, "{metric:?} is zero");
    }
    for (scenario, metrics) in [
        ("kill-leader", &[Metric::GapP50, Metric::GapP99, Metric::OthersGapP99][..]),
        ("move-1", &[Metric::GapP50, Metric::MovedP50]),
        ("kill-controller", &[Metric::GapP50]),
    ] {
        for metric in metrics.iter().chain(&[Metric::Counted]) {
            assert!(of(scenario, *metric) > 0.0, "{scenario}: {metric:?} is zero");
        }
    }
    // The megabyte that it was filled with, and what was written to it meanwhile.
    assert!(of("move-1", Metric::Counted) > 1_024.0);
    for scenario in scenarios {
        assert!(page.contains(&format!("| {scenario} | aquifer-mirror |")), "{scenario}:\n{page}");
    }
    assert_eq!(outcome.conditions.systems.len(), 3, "a configuration for each layout");
}

#[test]
fn what_does_not_exist_is_named() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_aquifer-bench")).arg("run").args(arguments).output();
        let output = output.expect("the benchmark starts");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(run(&["produce-2"]).contains("no scenario 'produce-2'"));
    assert!(run(&["--systems", "kafkaesque"]).contains("no system 'kafkaesque'"));
    assert!(run(&["cluster-produce-1", "--systems", "aquifer"]).contains("aquifer-mirror"));
}
