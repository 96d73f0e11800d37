//! The guard against the decoder that it stands before, and a short run of the fuzzer.

mod layouts;

use aquifer_fuzz::run::Run;

/// A few seconds of a dev build. Another seed each time would make a test that fails for whom it is not.
#[test]
fn a_short_run_finds_nothing() {
    let run = Run { seed: 4, first: 0, inputs: 60_000 };
    let tally = run
        .feed(u64::MAX, |_| ())
        .unwrap_or_else(|finding| panic!("input {}: {}", finding.number, finding.message));
    // Inputs that are all refused at the first byte would find nothing either.
    assert!(tally.decoded > 10_000 && tally.refused > 10_000, "{tally}");
    assert!(tally.batches > 500 && tally.decompressed > 500, "{tally}");
}
