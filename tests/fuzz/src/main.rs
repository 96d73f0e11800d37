//! The long run: `cargo run --profile fast -p aquifer-fuzz -- --inputs 100000000`.
#![expect(clippy::print_stdout, reason = "a command says what it found")]

use std::process::ExitCode;

use aquifer_fuzz::measure::produce_costs;
use aquifer_fuzz::run::Run;
use clap::Parser;
use tokio::time::Instant;

/// Inputs between two lines of progress.
const PART: u64 = 1_000_000;

/// Feeds generated and damaged input to the frame guard, the decoders, record batches and the codecs.
#[derive(Debug, Parser)]
struct Options {
    /// How many inputs.
    #[arg(long, default_value_t = 1_000_000)]
    inputs: u64,
    /// What they are a function of.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of the first one: replays a finding.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Measures what the guard costs a Produce request instead.
    #[arg(long)]
    measure: bool,
}

fn main() -> ExitCode {
    let Options { inputs, seed, first, measure } = Options::parse();
    if measure {
        for cost in produce_costs() {
            println!("{cost:?}");
        }
        return ExitCode::SUCCESS;
    }
    let from = Instant::now();
    match (Run { seed, first, inputs }).feed(PART, |tally| println!("{:.0?}: {tally}", from.elapsed())) {
        Ok(tally) => {
            println!("no finding in {:.0?}: {tally}", from.elapsed());
            ExitCode::SUCCESS
        }
        Err(finding) => {
            println!("FINDING: {}", finding.message);
            println!(
                "again: cargo run -p aquifer-fuzz -- --seed {seed} --first {} --inputs 1",
                finding.number
            );
            ExitCode::FAILURE
        }
    }
}
