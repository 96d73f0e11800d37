//! Configurations that are walked, small ones by the tests, and all on demand.

use super::{Bug, ChainModel};

const SMALL: ChainModel = ChainModel { records: 2, rolls: 1, fences: 1, restarts: 1, moves: 0, bug: None };

/// Configurations in which everything must hold; the large ones take minutes.
pub fn holding(large: bool) -> Vec<(&'static str, ChainModel)> {
    let mut runs = vec![
        ("rolls, takeovers and a process that comes back", SMALL),
        ("hand-over and takeover", ChainModel { rolls: 0, moves: 1, ..SMALL }),
    ];
    if large {
        runs.extend([
            ("three records, large", ChainModel { records: 3, ..SMALL }),
            ("everything at once, large", ChainModel { moves: 1, fences: 2, ..SMALL }),
        ]);
    }
    runs
}

/// Each bug where it shows, and the invariant that it breaks.
pub fn planted() -> Vec<(Bug, char, ChainModel)> {
    let plant = |bug, invariant, model| (bug, invariant, ChainModel { bug: Some(bug), ..model });
    let still = ChainModel { rolls: 0, restarts: 0, ..SMALL };
    let moving = ChainModel { moves: 1, fences: 0, ..still };
    vec![
        plant(Bug::RollsInTwoEntries, 'C', SMALL),
        plant(Bug::ResumesAtLogEnd, 'C', SMALL),
        plant(Bug::ShowsUncommitted, 'H', still),
        plant(Bug::ServesBeforeItsTail, 'H', SMALL),
        plant(Bug::OffloadsUncompared, 'O', SMALL),
        plant(Bug::OffloadsUnderAnOldEpoch, 'O', still),
        plant(Bug::TrimsAfterPut, 'T', still),
        plant(Bug::TrimsBelowHighWatermark, 'T', still),
        plant(Bug::LeadsOnceFenced, 'L', still),
        plant(Bug::TakesOverNewestOnly, 'L', SMALL),
        plant(Bug::HandsOverUncompared, 'L', moving),
        plant(Bug::ResumesWhileUnsettled, 'L', moving),
        plant(Bug::MovesFromTheLiving, 'L', SMALL),
    ]
}
