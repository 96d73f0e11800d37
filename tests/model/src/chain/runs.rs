//! Configurations that are walked, small ones by the tests, and all on demand.

use super::{Bug, ChainModel};

const ALL: ChainModel = ChainModel { records: 2, rolls: 1, fences: 1, restarts: 1, moves: 0, bug: None };

const ROLLS: ChainModel = ChainModel { restarts: 0, ..ALL };

const COMES_BACK: ChainModel = ChainModel { rolls: 0, ..ALL };

/// Configurations in which everything must hold; the large ones take minutes.
pub fn holding(large: bool) -> Vec<(&'static str, ChainModel)> {
    let mut runs = vec![
        ("rolls and takeovers", ROLLS),
        ("takeovers and a process that comes back", COMES_BACK),
        ("hand-over and takeover", ChainModel { rolls: 0, restarts: 0, moves: 1, ..ALL }),
    ];
    if large {
        runs.extend([
            ("rolls and a process that comes back, large", ALL),
            ("three records, large", ChainModel { records: 3, ..ROLLS }),
            ("hand-over asked for twice, large", ChainModel { moves: 2, ..ROLLS }),
            ("everything at once, large", ChainModel { moves: 1, ..ALL }),
        ]);
    }
    runs
}

/// Each bug where it shows, and the invariant that it breaks.
pub fn planted() -> Vec<(Bug, char, ChainModel)> {
    let plant = |bug, invariant, model| (bug, invariant, ChainModel { bug: Some(bug), ..model });
    let still = ChainModel { rolls: 0, restarts: 0, ..ALL };
    let moving = ChainModel { moves: 1, fences: 0, ..still };
    vec![
        plant(Bug::RollsInTwoEntries, 'C', ROLLS),
        plant(Bug::ResumesAtLogEnd, 'C', ROLLS),
        plant(Bug::ShowsUncommitted, 'H', still),
        plant(Bug::ServesBeforeItsTail, 'H', ChainModel { fences: 0, ..COMES_BACK }),
        plant(Bug::OffloadsUncompared, 'O', still),
        plant(Bug::OffloadsUnderAnOldEpoch, 'O', still),
        plant(Bug::TrimsAfterPut, 'T', still),
        plant(Bug::TrimsBelowHighWatermark, 'T', still),
        plant(Bug::LeadsOnceFenced, 'L', still),
        plant(Bug::TakesOverNewestOnly, 'L', ROLLS),
        plant(Bug::HandsOverUncompared, 'L', moving),
        plant(Bug::ResumesWhileUnsettled, 'L', moving),
        plant(Bug::MovesFromTheLiving, 'L', COMES_BACK),
    ]
}
