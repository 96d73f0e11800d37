//! What happens to a cluster, and for how long producers wait for it.

use super::{INTERRUPTIONS, PLAIN};
use crate::figures::Metric::{GapP50, GapP99};
use crate::layout::Layout;
use crate::scenario::Goal::{AgainstScenario, AtMost};
use crate::scenario::{Event, Scenario, Work};

const FIVE: Scenario = Scenario { group: INTERRUPTIONS, layout: Layout::Five, ..PLAIN };
const APART: Scenario = Scenario { layout: Layout::Apart, ..FIVE };
const MIB: u64 = 1 << 20;

const fn death(leaders: usize, quorum: bool, silent: bool) -> Work {
    Work::Interruption(Event::Death { leaders, quorum, silent })
}

pub(super) const KILL_LEADER: Scenario = Scenario {
    name: "kill-leader",
    what: "five nodes; kill -9 of one that leads partitions: the longest wait for an acknowledgement",
    work: death(1, false, false),
    goals: &[AtMost(GapP99, 2_000.0)],
    ..FIVE
};

pub(super) const KILL_TWO: Scenario = Scenario {
    name: "kill-two",
    what: "of two of them at once; they come back after 30 s if producers cannot go on before",
    work: death(2, false, false),
    goals: &[AgainstScenario(GapP50, 1.5, "kill-leader"), AgainstScenario(GapP99, 1.5, "kill-leader")],
    ..FIVE
};

pub(super) const KILL_BOTH: Scenario = Scenario {
    name: "kill-both",
    what: "of one that leads partitions and the metadata quorum",
    work: death(1, true, false),
    goals: &[AtMost(GapP99, 2_000.0)],
    ..FIVE
};

pub(super) const HANG_LEADER: Scenario = Scenario {
    name: "hang-leader",
    what: "one that leads partitions falls silent (SIGSTOP), as when its host dies",
    work: death(1, false, true),
    goals: &[AtMost(GapP99, 5_000.0)],
    ..FIVE
};

pub(super) const MOVE_1: Scenario = Scenario {
    name: "move-1",
    what: "a partition of 1 MiB is reassigned to a broker that has no copy of it",
    work: Work::Interruption(Event::Move { bytes: MIB }),
    goals: &[AtMost(GapP99, 500.0)],
    ..FIVE
};

pub(super) const MOVE_1024: Scenario = Scenario {
    name: "move-1024",
    what: "the same with 1 GiB in it",
    work: Work::Interruption(Event::Move { bytes: 1_024 * MIB }),
    goals: &[AtMost(GapP99, 500.0), AgainstScenario(GapP50, 1.2, "move-1")],
    ..FIVE
};

pub(super) const UNDISTURBED: Scenario = Scenario {
    name: "undisturbed",
    what: "three controllers and three brokers; nothing happens",
    work: Work::Interruption(Event::NOTHING),
    ..APART
};

pub(super) const KILL_CONTROLLER: Scenario = Scenario {
    name: "kill-controller",
    what: "kill -9 of the controller that leads the metadata quorum",
    work: death(0, true, false),
    goals: &[AgainstScenario(GapP99, 1.5, "undisturbed")],
    ..APART
};
