//! The simulation in short: `tests/run sim` runs the rest.

use std::process::{Command, Output};

use aquifer_sim::Planted;

fn simulate(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_aquifer-sim")).args(arguments).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, said)
}

#[test]
fn the_same_seed_gives_the_same_run_to_the_last_line() {
    let replay = |seed| {
        let (_, said) = simulate(&["--replay", seed]);
        said
    };
    let (first, again) = (replay("3"), replay("3"));
    let differing = first.lines().zip(again.lines()).find(|(one, other)| one != other);
    assert_eq!(differing, None);
    assert_eq!(first.len(), again.len());
    assert!(first.lines().count() > 100, "{first}");
    assert_ne!(replay("4"), first);
}

#[test]
fn a_dozen_seeds_break_no_rule() {
    let (output, said) = simulate(&["--seeds", "0..12"]);
    assert!(output.status.success(), "{said}");
}

#[test]
fn planted_bugs_are_found() {
    // The quick ones; `tests/run sim` looks for all of them.
    for planted in [
        Planted::EarlyAnswer,
        Planted::LosingStore,
        Planted::SharedProducerId,
        Planted::IdleController,
        Planted::CarelessAssignor,
    ] {
        let (output, said) = simulate(&["--planted", planted.name(), "--seeds", "0..500", "--until-found"]);
        assert!(output.status.success(), "{} is not found: {said}", planted.name());
    }
}
