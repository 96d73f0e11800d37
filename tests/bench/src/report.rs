//! The same figures for a terminal and for a page.

mod page;

use std::fmt::Write;

use crate::broker::System;
use crate::figures::{Figures, Metric};
use crate::outcome::Outcome;
use crate::scenario::Scenario;
use crate::table::{GROUPS, SCENARIOS};

pub(crate) use page::write_page;

/// Kept in the JSON; a reader of a table wants the others.
const NOT_SHOWN: [Metric; 2] = [Metric::Counted, Metric::Records];

/// One measurement in one line.
pub(crate) fn line(figures: &Figures) -> String {
    let shown = figures.metrics().filter_map(|metric| {
        let value = figures.get(metric)?;
        Some(format!("{} {}", metric.heading(), metric.show(value)))
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// The scenarios with their goals, by group.
pub(crate) fn list() -> String {
    let mut text = String::new();
    let mut group = "";
    for scenario in SCENARIOS {
        if group != scenario.group {
            group = scenario.group;
            let name = GROUPS.iter().find(|(_, title)| *title == group).map_or("", |(name, _)| *name);
            let _ = writeln!(text, "{name}: {group}");
        }
        let _ = writeln!(text, "  {:24} {}", scenario.name, scenario.what);
        if !scenario.goals.is_empty() {
            let goals: Vec<_> = scenario.goals.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "  {:24}   goals: {}", "", goals.join("; "));
        }
    }
    text
}

/// Tables of everything that was measured, for a terminal.
pub(crate) fn terminal(outcome: &Outcome) -> String {
    let machine = &outcome.conditions.machine;
    let mut text = format!(
        "\n{} × {}, {:.0} GB, Linux {}, {}\n",
        machine.processors,
        machine.processor,
        machine.memory_bytes as f64 / 1e9,
        machine.kernel,
        machine.disk
    );
    for (name, version) in &outcome.conditions.versions {
        let _ = writeln!(text, "{name}: {version}");
    }
    for (group, rows) in tables(outcome) {
        let widths: Vec<usize> = (0..rows[0].len())
            .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        let _ = writeln!(text, "\n{group}");
        for row in &rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
                // Names to the left, figures to the right.
                if at < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            let _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
    for note in outcome.conditions.notes.iter().chain(&outcome.failures) {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

/// One table for each group that has results: heading, then a row for each scenario and system.
fn tables(outcome: &Outcome) -> Vec<(&'static str, Vec<Vec<String>>)> {
    let mut groups: Vec<&'static str> = SCENARIOS.iter().map(|scenario| scenario.group).collect();
    groups.dedup();
    groups.into_iter().filter_map(|group| Some((group, table(outcome, group)?))).collect()
}

fn table(outcome: &Outcome, group: &str) -> Option<Vec<Vec<String>>> {
    let scenarios: Vec<&Scenario> = SCENARIOS.iter().filter(|scenario| scenario.group == group).collect();
    let measured: Vec<(&Scenario, System, Figures)> = scenarios
        .into_iter()
        .flat_map(|scenario| System::ALL.map(|system| (scenario, system)))
        .filter_map(|(scenario, system)| Some((scenario, system, outcome.medians(scenario.name, system)?)))
        .collect();
    let mut metrics: Vec<Metric> = measured.iter().flat_map(|(_, _, figures)| figures.metrics()).collect();
    metrics.sort();
    metrics.dedup();
    metrics.retain(|metric| !NOT_SHOWN.contains(metric));
    if metrics.is_empty() {
        return None;
    }
    let mut head = vec!["scenario".to_owned(), "system".to_owned()];
    head.extend(metrics.iter().map(|metric| metric.heading().to_owned()));
    head.push("aquifer is".to_owned());
    let mut rows = vec![head];
    for (scenario, system, figures) in &measured {
        let mut row = vec![scenario.name.to_owned(), system.name().to_owned()];
        let cell =
            |metric: &Metric| figures.get(*metric).map_or("–".to_owned(), |value| metric.show(value));
        row.extend(metrics.iter().map(cell));
        row.push(advantage(outcome, scenario, *system).unwrap_or_default());
        rows.push(row);
    }
    Some(rows)
}

/// How many times better Aquifer is at what the scenario is about.
fn advantage(outcome: &Outcome, scenario: &Scenario, system: System) -> Option<String> {
    let ours = scenario.layout.ours();
    if system == ours {
        return None;
    }
    let metric = scenario.about();
    let ours = outcome.medians(scenario.name, ours)?.get(metric)?;
    let theirs = outcome.medians(scenario.name, system)?.get(metric)?;
    let times = if metric.more_is_better() { ours / theirs } else { theirs / ours };
    Some(format!("{times:.2} ×"))
}
