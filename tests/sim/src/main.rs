//! `aquifer-sim`: many seeds, or one with its trace.

mod entropy;
mod runner;

use std::ops::Range;
use std::process::ExitCode;
use std::thread;

use aquifer_sim::{Outcome, Planted, Scenario, Trace};
use clap::Parser;
use tokio::runtime::Builder;
use tokio::time::Instant;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Enough for futures that are not optimised.
const STACK_BYTES: usize = 32 << 20;

/// Runs the deterministic simulation.
#[derive(Debug, Parser)]
#[command(about, long_about = None)]
struct Arguments {
    /// The seeds to run, `A..B` without B.
    #[arg(long, default_value = "0..200", value_parser = seeds)]
    seeds: Range<u64>,
    /// Runs this seed alone and prints its trace. RUST_LOG says what of the nodes' own log is shown beside it.
    #[arg(long)]
    replay: Option<u64>,
    /// Processes at once; without it, as many as there are cores.
    #[arg(long)]
    jobs: Option<usize>,
    /// Plants a bug.
    #[arg(long)]
    planted: Option<Planted>,
    /// Prints the names of the bugs that can be planted.
    #[arg(long)]
    list_planted: bool,
    /// Ends at the first seed that fails, with success; that none does is the failure.
    #[arg(long)]
    until_found: bool,
    /// The name of an invariant whose violations are shown and counted but are no failure: a defect that is known and open. May
    /// be repeated.
    #[arg(long, value_name = "INVARIANT")]
    known: Vec<String>,
    /// Runs this seed alone and prints its outcome: what the runner starts.
    #[arg(long, hide = true)]
    one: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list_planted {
        runner::print_planted();
        return ExitCode::SUCCESS;
    }
    if let Some(seed) = arguments.replay.or(arguments.one) {
        let shown = arguments.replay.is_some();
        let outcome = simulate(Scenario::new(seed, arguments.planted), shown);
        runner::print_outcome(seed, &outcome);
        return if outcome.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or(cores).max(1);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(runner::run(
        arguments.seeds,
        jobs,
        arguments.planted,
        arguments.until_found,
        &arguments.known,
    ))
}

/// Runs a scenario in a thread of its own, so that nothing that this one has drawn or counted matters.
fn simulate(scenario: Scenario, shown: bool) -> Outcome {
    let simulation = move || {
        entropy::seed(scenario.seed);
        let runtime =
            Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            if shown {
                let filter = EnvFilter::try_from_default_env()
                    .unwrap_or_else(|_| EnvFilter::new("info,openraft=warn"));
                let log =
                    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_target(false);
                log.with_timer(Simulated(Instant::now())).init();
            }
            aquifer_sim::run(scenario, Trace::new(shown)).await
        })
    };
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(simulation).expect("a thread");
    thread.join().expect("panics of tasks are violations, others end the process")
}

/// Time in the run.
struct Simulated(Instant);

impl FormatTime for Simulated {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{:>11.6}", self.0.elapsed().as_secs_f64())
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let parse = || {
        let (first, end) = text.split_once("..")?;
        Some(first.parse().ok()?..end.parse().ok()?)
    };
    parse().ok_or_else(|| format!("'{text}' is not A..B"))
}
