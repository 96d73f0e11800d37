//! The invariants hold in all states, and each planted bug breaks the one that its rule is for.

use aquifer_model::check::{Verdict, check_all, check_for};
use aquifer_model::{chain, segment};

fn assert_holds(name: &str, verdict: &Verdict) {
    assert!(verdict.broken.is_empty(), "{name}: {:#?}", verdict.broken);
    assert!(verdict.unreached.is_empty(), "{name} never reaches {:?}", verdict.unreached);
}

#[test]
fn a_segments_end_covers_what_was_acknowledged() {
    for (name, model) in segment::holding(false) {
        assert_holds(name, &check_all(model));
    }
}

#[test]
fn what_was_acknowledged_stays_through_all_leaders() {
    for (name, model) in chain::holding(false) {
        assert_holds(name, &check_all(model));
    }
}

#[test]
fn each_bug_of_a_segment_breaks_its_invariant() {
    for (bug, invariant, model) in segment::planted() {
        let verdict = check_for(model, invariant);
        assert!(verdict.history(invariant).is_some(), "{bug:?} does not break {invariant}");
    }
}

#[test]
fn each_bug_of_a_chain_breaks_its_invariant() {
    for (bug, invariant, model) in chain::planted() {
        let verdict = check_for(model, invariant);
        assert!(verdict.history(invariant).is_some(), "{bug:?} does not break {invariant}");
    }
}

#[test]
fn every_invariant_has_a_bug_that_breaks_it() {
    let of_segments = segment::planted().into_iter().map(|(_, invariant, _)| invariant);
    let broken: Vec<char> =
        of_segments.chain(chain::planted().into_iter().map(|(_, invariant, _)| invariant)).collect();
    for invariant in "PDFVENCHOTL".chars() {
        assert!(broken.contains(&invariant), "no planted bug breaks {invariant}");
    }
}

/// Not a promise: see `docs/durability.md`. If this fails, the page says too little of what is guaranteed.
#[test]
fn a_damaged_last_frame_that_nobody_else_can_tell_of_is_the_known_limit() {
    let verdict = check_for(segment::limit_of_a_damaged_last_frame(), 'N');
    let history = verdict.history('N').expect("the limit is still there");
    assert!(history.iter().any(|step| step.starts_with("Rot")), "{history:?}");
}
