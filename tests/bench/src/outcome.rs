use serde::{Deserialize, Serialize};

use crate::broker::System;
use crate::figures::Figures;
use crate::machine::Machine;

/// All that one run of the benchmark found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Under which conditions.
    pub conditions: Conditions,
    /// One for each scenario and system.
    pub rows: Vec<Row>,
    /// Measurements that failed, with the reason.
    pub failures: Vec<String>,
}

/// What a reader must know to judge the figures, or to take them again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Conditions {
    /// When it began, UTC.
    pub date: String,
    /// The command.
    pub command: String,
    /// Where.
    pub machine: Machine,
    /// Names and versions of what took part.
    pub versions: Vec<(String, String)>,
    /// Each system's name and its whole configuration.
    pub systems: Vec<(System, String)>,
    /// The load client's options.
    pub client: Vec<(String, String)>,
    /// How often each measurement was taken.
    pub repeats: usize,
    /// Seconds of each measurement.
    pub seconds: f64,
    /// Seconds of full load on each system before the first measurement.
    pub warm_up_seconds: f64,
    /// How often an event happens in one measurement of it; 0 where none was measured.
    #[serde(default)]
    pub rounds: usize,
    /// What was not as it should be, such as a page cache that could not be dropped.
    pub notes: Vec<String>,
}

/// One scenario on one system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// The system.
    pub system: System,
    /// The figures of each repeat.
    pub runs: Vec<Figures>,
}

impl Outcome {
    /// The medians of one scenario on one system, if it was measured.
    pub fn medians(&self, scenario: &str, system: System) -> Option<Figures> {
        let row = self.rows.iter().find(|row| row.scenario == scenario && row.system == system)?;
        (!row.runs.is_empty()).then(|| Figures::medians(&row.runs))
    }

    /// Adds what a reader must know, once.
    pub fn note(&mut self, note: String) {
        if !self.conditions.notes.contains(&note) {
            self.conditions.notes.push(note);
        }
    }

    /// Adds the figures of one repeat.
    pub fn add(&mut self, scenario: &str, system: System, figures: Figures) {
        let row = self.rows.iter_mut().find(|row| row.scenario == scenario && row.system == system);
        match row {
            Some(row) => row.runs.push(figures),
            None => self.rows.push(Row { scenario: scenario.to_owned(), system, runs: vec![figures] }),
        }
    }
}
