use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::BenchError;
use crate::broker::{Sizes, System};
use crate::outcome::Outcome;
use crate::report;
use crate::run::run;
use crate::scenario::Scenario;
use crate::station::Settings;
use crate::table::{GROUPS, SCENARIOS};

/// A second of this many bytes is what readers of old records get.
const FILL_BYTES_PER_SECOND: f64 = 200e6;
const QUICK_FILL_BYTES_PER_SECOND: f64 = 20e6;
const CALM_LIMIT: Duration = Duration::from_secs(20);
const QUICK_CALM_LIMIT: Duration = Duration::from_secs(5);
const QUICK_SECONDS: f64 = 2.0;
const QUICK_WARM_UP_SECONDS: f64 = 1.0;
/// The scenarios that are measured when none is named.
const FIRST: usize = 5;
const ALL: &str = "all";
const QUICK_ROUNDS: usize = 1;
/// Less to be filled with zeros first.
const QUICK_WAL_SIZE: &str = "256MiB";

/// Compares Aquifer with a real Apache Kafka on this machine.
#[derive(Debug, Parser)]
#[command(name = "aquifer-bench", arg_required_else_help = true)]
struct Cli {
    /// List the scenarios and their goals
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure
    Run(RunArgs),
    /// Write the page from results that `run --json` kept; of two results for one scenario the later counts
    Report {
        /// Results of earlier runs, the oldest first
        #[arg(required = true)]
        json: Vec<PathBuf>,
        /// The page; its plots go beside it
        #[arg(long, default_value = "docs/performance.md")]
        report: PathBuf,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// What to measure, scenarios or groups of them; see --list. 'all' for everything. Default: the first five
    scenarios: Vec<String>,
    /// Of one broker: aquifer, aquifer-minio (its store on a MinIO that is started for it), kafka-fsync, kafka. Of several
    /// nodes: aquifer-mirror, kafka-rf3-fsync, kafka-rf3. Default: all but aquifer-minio, and kafka-rf3 alone for
    /// interruptions
    #[arg(long, value_delimiter = ',')]
    systems: Vec<String>,
    /// How often each measurement is taken; reports show medians
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// How often nodes die or partitions move in one measurement of that
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 10.0)]
    secs: f64,
    /// Seconds of full load on each system before the first measurement
    #[arg(long, default_value_t = 60.0)]
    warm_up: f64,
    /// Heap of Kafka's JVM
    #[arg(long, default_value = "1g")]
    heap: String,
    /// Directory for all systems' data. Default: a temporary one beside the build
    #[arg(long)]
    dir: Option<PathBuf>,
    /// One repeat, two seconds, hardly a warm-up: to see that it works
    #[arg(long)]
    quick: bool,
    /// Keep the results
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write them into this page; its plots go beside it
    #[arg(long)]
    report: Option<PathBuf>,
}

/// The `aquifer-bench` program.
#[expect(clippy::print_stderr, clippy::print_stdout, reason = "a command line program's way to tell")]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.list {
        print!("{}", report::list());
        return ExitCode::SUCCESS;
    }
    let done = match cli.command {
        Some(Command::Run(args)) => run_command(&args),
        Some(Command::Report { json, report }) => report_command(&json, &report).map(|()| ExitCode::SUCCESS),
        None => Ok(ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("aquifer-bench: {error}");
        ExitCode::FAILURE
    })
}

#[expect(clippy::print_stderr, clippy::print_stdout, reason = "a command line program's way to tell")]
fn run_command(args: &RunArgs) -> Result<ExitCode, BenchError> {
    let systems: Result<Vec<System>, _> = args.systems.iter().map(|name| System::named(name)).collect();
    let scenarios = chosen(&args.scenarios)?;
    let parent = args.dir.clone().unwrap_or_else(target_directory);
    fs::create_dir_all(&parent).map_err(BenchError::io(format!("create {}", parent.display())))?;
    let directory = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&parent)
        .map_err(BenchError::io(format!("create a directory in {}", parent.display())))?;
    let settings = args.settings(directory.path());
    let outcome = run(&scenarios, &systems?, &settings, &|line| eprintln!("{line}"))?;
    print!("{}", report::terminal(&outcome));
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&outcome).expect("figures are plain numbers and texts");
        fs::write(path, json).map_err(BenchError::io(format!("write {}", path.display())))?;
    }
    if let Some(path) = &args.report {
        report::write_page(std::slice::from_ref(&outcome), path)?;
    }
    Ok(if outcome.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report_command(json: &[PathBuf], page: &Path) -> Result<(), BenchError> {
    let mut outcomes = Vec::new();
    for path in json {
        let text = fs::read_to_string(path).map_err(BenchError::io(format!("read {}", path.display())))?;
        let outcome: Result<Outcome, _> = serde_json::from_str(&text);
        outcomes.push(outcome.map_err(|error| BenchError::Wrong(format!("{}: {error}", path.display())))?);
    }
    report::write_page(&outcomes, page)
}

/// The same disk that the build is on; a temporary directory may be in memory.
fn target_directory() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>, BenchError> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().take(FIRST).collect());
    }
    if names.iter().any(|name| name == ALL) {
        return Ok(SCENARIOS.iter().collect());
    }
    let mut found = Vec::new();
    for name in names {
        let title = GROUPS.iter().find(|(group, _)| group == name).map(|(_, title)| *title);
        let meant = |scenario: &&Scenario| scenario.name == name || Some(scenario.group) == title;
        let before = found.len();
        found.extend(SCENARIOS.iter().filter(meant));
        if found.len() == before {
            return Err(BenchError::Unknown(format!(
                "there is no scenario '{name}' and no group: see --list"
            )));
        }
    }
    Ok(found)
}

impl RunArgs {
    fn settings(&self, directory: &Path) -> Settings {
        let seconds = if self.quick { QUICK_SECONDS } else { self.secs };
        let fill = if self.quick { QUICK_FILL_BYTES_PER_SECOND } else { FILL_BYTES_PER_SECOND };
        Settings {
            seconds,
            repeats: if self.quick { 1 } else { self.repeats },
            rounds: if self.quick { QUICK_ROUNDS } else { self.rounds },
            warm_up: Duration::from_secs_f64(if self.quick { QUICK_WARM_UP_SECONDS } else { self.warm_up }),
            directory: directory.to_owned(),
            sizes: Sizes { heap: self.heap.clone(), wal: self.quick.then_some(QUICK_WAL_SIZE) },
            fill_bytes: (seconds * fill) as u64,
            calm_limit: if self.quick { QUICK_CALM_LIMIT } else { CALM_LIMIT },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_group_is_all_its_scenarios() {
        let chosen = chosen(&["cluster".to_owned(), "move-1".to_owned()]).expect("they exist");
        let (last, cluster) = chosen.split_last().expect("some");
        assert!(cluster.len() > 3 && cluster.iter().all(|scenario| scenario.group == cluster[0].group));
        assert_eq!(last.name, "move-1");
    }

    #[test]
    fn without_names_the_first_group_is_measured() {
        let chosen = chosen(&[]).expect("they exist");
        assert!(chosen.iter().all(|scenario| scenario.group == SCENARIOS[0].group));
        assert_ne!(SCENARIOS[FIRST].group, SCENARIOS[0].group);
    }
}
