//! Configurations that are walked, small ones by the tests, and all on demand.

use super::{Bug, SegmentModel};

const ALL: SegmentModel = SegmentModel {
    copies: 3,
    needed: 3,
    records: 2,
    crashes: 1,
    losses: 1,
    rots: 0,
    last_frame_rots: false,
    rolls: false,
    bug: None,
};

const TWO_OF_THREE: SegmentModel = SegmentModel { needed: 2, ..ALL };

/// Configurations in which everything must hold; the large ones take minutes.
pub fn holding(large: bool) -> Vec<(&'static str, SegmentModel)> {
    let mut runs = vec![
        ("mirror", SegmentModel { records: 1, ..ALL }),
        ("mirror-fast", SegmentModel { records: 1, ..TWO_OF_THREE }),
        ("mirror with two copies", SegmentModel { copies: 2, needed: 2, losses: 2, ..ALL }),
        ("mirror-fast that rolls", SegmentModel { rolls: true, losses: 0, records: 1, ..TWO_OF_THREE }),
        ("two copies that rot", SegmentModel { copies: 2, needed: 2, rots: 1, ..ALL }),
    ];
    if large {
        runs.extend([
            ("mirror, large", ALL),
            ("mirror-fast, large", TWO_OF_THREE),
            ("mirror-fast that rolls, large", SegmentModel { rolls: true, ..TWO_OF_THREE }),
            ("mirror whose disks rot, large", SegmentModel { rots: 1, losses: 0, crashes: 2, ..ALL }),
            (
                "mirror-fast whose disks rot, large",
                SegmentModel { rots: 1, losses: 0, crashes: 2, ..TWO_OF_THREE },
            ),
        ]);
    }
    runs
}

/// Each bug where it shows, and the invariant that it breaks.
pub fn planted() -> Vec<(Bug, char, SegmentModel)> {
    let pair = SegmentModel { copies: 2, needed: 2, losses: 0, crashes: 2, ..ALL };
    let calm = SegmentModel { losses: 0, crashes: 2, ..TWO_OF_THREE };
    let plant = |bug, invariant, model| (bug, invariant, SegmentModel { bug: Some(bug), ..model });
    vec![
        plant(Bug::TakesAnyFrame, 'P', calm),
        plant(Bug::AcknowledgesBeforeSync, 'D', calm),
        plant(Bug::CountsItselfBeforeSync, 'D', calm),
        plant(Bug::ForgetsSeals, 'F', pair),
        plant(Bug::ForgetsSeals, 'N', pair),
        plant(Bug::ReadsUnsealed, 'F', pair),
        plant(Bug::ReadsUnsealed, 'N', pair),
        plant(Bug::BlankAnswers, 'V', SegmentModel { losses: 1, ..pair }),
        plant(Bug::BlankAnswers, 'N', SegmentModel { losses: 1, ..pair }),
        plant(Bug::DamageAnswers, 'V', SegmentModel { rots: 1, ..pair }),
        plant(Bug::DamageAnswers, 'N', SegmentModel { rots: 1, ..pair }),
        plant(Bug::ClosesUncompared, 'E', calm),
        plant(Bug::TooFewAnswers, 'N', calm),
        plant(Bug::TakesShortest, 'N', calm),
        plant(Bug::RollsUnfrozen, 'N', SegmentModel { rolls: true, ..calm }),
        plant(Bug::ThawsOnUnknown, 'N', SegmentModel { rolls: true, ..calm }),
    ]
}

/// What is not promised: an acknowledged last frame is damaged before anything follows it, its mirror restarts, and no other
/// copy can be asked. `docs/durability.md` names it.
pub fn limit_of_a_damaged_last_frame() -> SegmentModel {
    SegmentModel {
        copies: 2,
        needed: 2,
        records: 1,
        crashes: 2,
        losses: 0,
        rots: 1,
        last_frame_rots: true,
        ..ALL
    }
}
