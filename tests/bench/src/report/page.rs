use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::tables;
use crate::BenchError;
use crate::broker::System;
use crate::outcome::{Conditions, Outcome};
use crate::plot::{Line, Plot};
use crate::scenario::Curve;
use crate::table::SCENARIOS;

/// What stands between these belongs to the benchmark; the rest of the page to its authors.
const BEGIN: &str = "<!-- measured: begin (written by tests/bench/run, not by hand) -->";
const END: &str = "<!-- measured: end -->";

/// Writes the results into the page at `path`, which keeps what stands outside of the measured part, and the
/// plots beside it. Of two outcomes with the same scenario the later counts.
pub(crate) fn write_page(outcomes: &[Outcome], path: &Path) -> Result<(), BenchError> {
    let old = fs::read_to_string(path).unwrap_or_else(|_| "# Performance\n".to_owned());
    let merged = merge(outcomes);
    let directory = path.parent().unwrap_or(Path::new("."));
    let plots = draw(&merged, directory)?;
    let measured = measured(outcomes, &merged, &plots);
    let page = match (old.split_once(BEGIN), old.split_once(END)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{BEGIN}\n{measured}{END}{after}"),
        _ => format!("{old}\n{BEGIN}\n{measured}{END}\n"),
    };
    fs::write(path, page).map_err(BenchError::io(format!("write {}", path.display())))
}

/// All scenarios, each from the last run that measured it: its figures are of one run.
fn merge(outcomes: &[Outcome]) -> Outcome {
    let last = outcomes.last().expect("a page has at least one result");
    let mut runs: BTreeMap<&str, &Outcome> = BTreeMap::new();
    for outcome in outcomes {
        for row in &outcome.rows {
            runs.insert(&row.scenario, outcome);
        }
    }
    let rows = runs
        .into_iter()
        .flat_map(|(scenario, outcome)| outcome.rows.iter().filter(move |row| row.scenario == scenario));
    Outcome {
        conditions: last.conditions.clone(),
        rows: rows.cloned().collect(),
        failures: outcomes.iter().flat_map(|outcome| outcome.failures.clone()).collect(),
    }
}

fn measured(outcomes: &[Outcome], merged: &Outcome, plots: &[Curve]) -> String {
    let mut text = String::new();
    for (group, rows) in tables(merged) {
        let _ = writeln!(text, "\n## {group}\n");
        for scenario in SCENARIOS.iter().filter(|scenario| scenario.group == group) {
            if merged.rows.iter().any(|row| row.scenario == scenario.name) {
                let _ = writeln!(text, "- `{}`: {}", scenario.name, scenario.what);
            }
        }
        let _ = writeln!(
            text,
            "\n|{}|",
            rows[0].iter().map(|cell| format!(" {cell} ")).collect::<Vec<_>>().join("|")
        );
        let _ = writeln!(text, "|---|---|{}", "---:|".repeat(rows[0].len() - 2));
        for row in &rows[1..] {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        let curves = plots.iter().filter(|curve| curve.group() == group);
        for curve in curves {
            let _ = writeln!(text, "\n![{}]({})", curve.titles()[0], curve.file());
        }
    }
    goals(&mut text, merged);
    for failure in &merged.failures {
        let _ = writeln!(text, "\nFailed: {failure}.");
    }
    for outcome in outcomes {
        conditions(&mut text, &outcome.conditions);
    }
    text
}

fn goals(text: &mut String, outcome: &Outcome) {
    let mut rows = String::new();
    for scenario in SCENARIOS {
        for goal in scenario.goals {
            let met = match goal.met(scenario, outcome) {
                Some(true) => "met",
                Some(false) => "**not met**",
                None => continue,
            };
            let _ = writeln!(rows, "| `{}` | {goal} | {met} |", scenario.name);
        }
    }
    if !rows.is_empty() {
        let _ = write!(text, "\n## Goals\n\n| scenario | goal | |\n|---|---|---|\n{rows}");
    }
}

fn conditions(text: &mut String, conditions: &Conditions) {
    let machine = &conditions.machine;
    let _ = writeln!(
        text,
        "\n## Conditions of {}\n\n\
         `{}`: medians of {}, each of {} s after a ramp of {:.1} s, after {} s of full load on each system; all systems \
         run on the one machine and take turns.\n\n\
         | | |\n|---|---|\n\
         | machine | {} × {}, {:.1} GB, Linux {} |\n\
         | disk | {} |",
        conditions.date,
        conditions.command,
        conditions.repeats,
        conditions.seconds,
        conditions.seconds * 0.2,
        conditions.warm_up_seconds,
        machine.processors,
        machine.processor,
        machine.memory_bytes as f64 / 1e9,
        machine.kernel,
        machine.disk,
    );
    if conditions.rounds > 0 {
        let _ = writeln!(text, "| rounds of an event | {} |", conditions.rounds);
    }
    for (name, value) in conditions.versions.iter().chain(&conditions.client) {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    for (system, configuration) in &conditions.systems {
        let _ = writeln!(text, "\n{system}:\n\n```properties\n{}\n```", configuration.trim());
    }
    for note in &conditions.notes {
        let _ = writeln!(text, "\nNote: {note}.");
    }
}

/// Draws each curve that has two points on some system; gives those that were drawn.
fn draw(outcome: &Outcome, directory: &Path) -> Result<Vec<Curve>, BenchError> {
    let mut drawn = Vec::new();
    for curve in Curve::ALL {
        let lines: Vec<Line> =
            System::ALL.iter().filter_map(|system| points(outcome, curve, *system)).collect();
        if lines.is_empty() {
            continue;
        }
        let path = directory.join(curve.file());
        let svg = Plot { titles: curve.titles(), lines }.svg();
        fs::write(&path, svg).map_err(BenchError::io(format!("write {}", path.display())))?;
        drawn.push(curve);
    }
    Ok(drawn)
}

fn points(outcome: &Outcome, curve: Curve, system: System) -> Option<Line> {
    let mut points: Vec<(f64, f64)> = SCENARIOS
        .iter()
        .filter_map(|scenario| {
            let (of, x) = scenario.point?;
            let y = outcome.medians(scenario.name, system)?.get(curve.metric())?;
            (of == curve).then_some((x, y))
        })
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    (points.len() > 1).then(|| Line { name: system.name().to_owned(), points })
}
