//! Walks the models' configurations, the large ones too: `cargo run -p aquifer-model -- --large`.
#![expect(clippy::print_stdout, reason = "a command says what it found")]

use aquifer_model::check::{Verdict, check_all, check_for};
use aquifer_model::{chain, segment};
use clap::Parser;

/// Checks the invariants of the mirrored WAL in all states of its models.
#[derive(Debug, Parser)]
struct Options {
    /// Configurations that take minutes too.
    #[arg(long)]
    large: bool,
    /// Only configurations with this in their name.
    #[arg(long, default_value = "")]
    only: String,
    /// Shows how each planted bug is found instead.
    #[arg(long)]
    bugs: bool,
}

fn main() -> std::process::ExitCode {
    let options = Options::parse();
    let right = if options.bugs { bugs(&options) } else { holding(&options) };
    if right { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

fn holding(options: &Options) -> bool {
    let wanted = |name: &str| name.contains(&options.only);
    let mut right = true;
    for (name, model) in segment::holding(options.large).into_iter().filter(|(name, _)| wanted(name)) {
        right &= tell(&format!("segment, {name}"), &check_all(model));
    }
    for (name, model) in chain::holding(options.large).into_iter().filter(|(name, _)| wanted(name)) {
        right &= tell(&format!("chain, {name}"), &check_all(model));
    }
    right
}

fn tell(name: &str, verdict: &Verdict) -> bool {
    let outcome = if verdict.holds() { "everything holds" } else { "NOT AS IT SHOULD BE" };
    println!("{name}: {} states, {outcome}", verdict.states);
    for (invariant, history) in &verdict.broken {
        println!("  broken: {invariant}\n    {}", history.join("\n    "));
    }
    for state in &verdict.unreached {
        println!("  never reached: {state}");
    }
    verdict.holds()
}

fn bugs(options: &Options) -> bool {
    let mut right = true;
    for (bug, invariant, model) in segment::planted() {
        let name = format!("{bug:?}");
        if name.contains(&options.only) {
            right &= found(&name, invariant, &check_for(model, invariant));
        }
    }
    for (bug, invariant, model) in chain::planted() {
        let name = format!("{bug:?}");
        if name.contains(&options.only) {
            right &= found(&name, invariant, &check_for(model, invariant));
        }
    }
    right
}

fn found(bug: &str, invariant: char, verdict: &Verdict) -> bool {
    match verdict.history(invariant) {
        Some(history) => {
            println!("{bug} breaks {invariant} ({} states):\n    {}", verdict.states, history.join("\n    "));
            true
        }
        None => {
            println!("{bug}: {invariant} HOLDS in {} states", verdict.states);
            false
        }
    }
}
