//! A process per seed: what the standard library and tokio count per process must not make two runs differ.

use std::ops::Range;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use aquifer_sim::{Outcome, Planted};
use futures::StreamExt;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

/// How long one seed may take on a busy machine.
const SEED_LIMIT: Duration = Duration::from_secs(900);
/// The words that an outcome is printed after.
const PREFIX: &str = "outcome";

/// What a process said of its seed.
enum Told {
    Fine,
    Failed(String),
}

/// Prints the outcome of a seed in one line.
#[expect(clippy::print_stdout, reason = "the program's own voice")]
pub(crate) fn print_outcome(seed: u64, outcome: &Outcome) {
    let Outcome { hash, events, simulated, violation } = outcome;
    let verdict = violation.as_deref().unwrap_or("fine");
    println!(
        "{PREFIX} seed {seed} hash {hash:016x} events {events} simulated {:.1} s: {verdict}",
        simulated.as_secs_f64()
    );
}

/// Prints the names of the bugs that can be planted, one a line.
#[expect(clippy::print_stdout, reason = "the program's own voice")]
pub(crate) fn print_planted() {
    Planted::ALL.iter().for_each(|planted| println!("{}", planted.name()));
}

/// Runs all seeds, `jobs` at once, and tells which fail.
#[expect(clippy::print_stdout, reason = "the program's own voice")]
pub(crate) async fn run(
    seeds: Range<u64>,
    jobs: usize,
    planted: Option<Planted>,
    until_found: bool,
    known: &[String],
) -> ExitCode {
    let began = Instant::now();
    let program = std::env::current_exe().expect("a process knows its program");
    let count = seeds.end.saturating_sub(seeds.start);
    let runs = futures::stream::iter(seeds).map(|seed| run_one(&program, seed, planted));
    let mut runs = std::pin::pin!(runs.buffer_unordered(jobs));
    let (mut done, mut failed, mut known_defects) = (0, 0, 0);
    let replay = planted.map_or(String::new(), |planted| format!(" --planted {}", planted.name()));
    while let Some((seed, told)) = runs.next().await {
        done += 1;
        if let Told::Failed(reason) = told {
            // Without the outcome's numbers: what was violated begins the rest.
            let violated = reason.split_once(" s: ").map_or("", |(_, violated)| violated);
            if known.iter().any(|name| violated.starts_with(name.as_str())) {
                known_defects += 1;
                println!("seed {seed} shows a known defect: {violated}");
                println!("  its trace: cargo run -p aquifer-sim -- --replay {seed}{replay}");
                continue;
            }
            failed += 1;
            println!("seed {seed} failed: {reason}");
            println!("  its trace: cargo run -p aquifer-sim -- --replay {seed}{replay}");
            if until_found {
                break;
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{done} of {count} seeds, {failed} failed, {known_defects} with a known defect, {seconds:.1} s");
    match (failed > 0) == until_found {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

async fn run_one(program: &Path, seed: u64, planted: Option<Planted>) -> (u64, Told) {
    let mut command = Command::new(program);
    command.args(["--one", &seed.to_string()]).stdin(Stdio::null()).kill_on_drop(true);
    if let Some(planted) = planted {
        command.args(["--planted", planted.name()]);
    }
    let told = match timeout(SEED_LIMIT, command.output()).await {
        Err(_) => Told::Failed(format!("it did not end within {SEED_LIMIT:?}")),
        Ok(Err(error)) => Told::Failed(format!("its process does not start: {error}")),
        Ok(Ok(output)) if output.status.success() => Told::Fine,
        Ok(Ok(output)) => {
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            let line = out.lines().find(|line| line.starts_with(PREFIX)).or(err.lines().next());
            Told::Failed(line.unwrap_or("it ended without a word").to_owned())
        }
    };
    (seed, told)
}
