use std::fmt;

use crate::broker::System;
use crate::figures::{Figures, Metric};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::table::SCENARIOS;

/// One thing that is measured on every system.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// Where it stands in the report.
    pub group: &'static str,
    /// What is measured, for a reader.
    pub what: &'static str,
    /// Of which nodes the systems are made.
    pub layout: Layout,
    /// How it is measured.
    pub work: Work,
    /// What Aquifer is to reach.
    pub goals: &'static [Goal],
    /// Its place on a curve, if it is a point of one.
    pub point: Option<(Curve, f64)>,
}

/// The load of a scenario.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Producers alone.
    Produce(Produce),
    /// One consumer reads the newest [`Work::TAIL_BYTES`] of a partition, again and again.
    FetchTail,
    /// One consumer reads all that was just written.
    FetchProduced,
    /// Consumers read all of a partition after a restart with empty caches.
    FetchCold {
        /// How many at once, each reading everything.
        consumers: usize,
    },
    /// One consumer follows the producers at the tail.
    Follow(Produce),
    /// Consumers replay old records from the beginning beside the producers.
    Replay {
        /// The load that is measured.
        produce: Produce,
        /// How many replay.
        consumers: usize,
    },
    /// Kafka's own producer-perf-test.
    PerfTest {
        /// With the batch options that its users set for throughput.
        tuned: bool,
    },
    /// A fresh broker that nobody uses.
    AtRest,
    /// From exec to the first answer, with empty directories.
    StartEmpty,
    /// From SIGTERM to the exit, right after a full load.
    Stop,
    /// Creates partitions on a fresh broker, leaves them alone, and restarts it.
    Partitions {
        /// How many.
        count: i32,
    },
    /// From exec to the first answer about the records, after kill -9 under a full load.
    RestartAfterKill,
    /// For how long producers at a steady pace wait when something happens to the cluster, again and again.
    Interruption(Event),
}

/// What happens to a cluster.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// Nodes die, all at once, and come back when producers go on without them.
    Death {
        /// How many of them lead partitions: those count. 0: all count.
        leaders: usize,
        /// Whether one of them leads the metadata quorum; else none does.
        quorum: bool,
        /// They fall silent, as a host does that loses its power; else they are killed, and the kernel resets their
        /// connections.
        silent: bool,
    },
    /// A partition goes to a broker that has no copy of it.
    Move {
        /// What it holds.
        bytes: u64,
    },
}

impl Event {
    /// Nothing: what the machine's own noise does to producers.
    pub const NOTHING: Self = Self::Death { leaders: 0, quorum: false, silent: false };
}

impl Scenario {
    /// What systems are compared by.
    pub fn about(&self) -> Metric {
        match self.work {
            Work::Produce(Produce { rate: Some(_), .. }) | Work::Replay { .. } => Metric::LatencyP99,
            Work::AtRest => Metric::Memory,
            Work::Interruption(_) => Metric::GapP99,
            Work::StartEmpty | Work::Stop | Work::RestartAfterKill | Work::Partitions { .. } => Metric::Took,
            _ => Metric::Throughput,
        }
    }
}

impl Work {
    /// Little enough to be in any system's memory.
    pub const TAIL_BYTES: u64 = 48 << 20;
}

/// What producers do. All use acks=all.
#[derive(Clone, Copy, Debug)]
pub struct Produce {
    /// Partitions of the topic; records go round.
    pub partitions: i32,
    /// Payload of each record.
    pub record_bytes: usize,
    /// Records a second over all producers, sent without linger; None: as many as go.
    pub rate: Option<u32>,
    /// Whether the producers are idempotent.
    pub idempotent: bool,
    /// Kafka's name of the compression.
    pub compression: &'static str,
    /// Producers, each with its own connection.
    pub connections: usize,
}

impl Produce {
    /// One producer, one partition, records of 1 KiB, as many as go.
    pub const FLAT_OUT: Self = Self {
        partitions: 1,
        record_bytes: 1024,
        rate: None,
        idempotent: false,
        compression: "none",
        connections: 1,
    };
}

/// A curve that the report draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// Produce throughput over the number of partitions.
    ThroughputOverPartitions,
    /// 99th percentile of the latency over the rate.
    LatencyOverRate,
}

impl Curve {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ThroughputOverPartitions, Self::LatencyOverRate];

    /// The file that it is drawn into.
    pub fn file(self) -> &'static str {
        match self {
            Self::ThroughputOverPartitions => "throughput-over-partitions.svg",
            Self::LatencyOverRate => "latency-over-rate.svg",
        }
    }

    /// Title, and the names of the axes.
    pub fn titles(self) -> [&'static str; 3] {
        match self {
            Self::ThroughputOverPartitions => {
                ["Produce throughput over partitions (1 KiB, acks=all)", "partitions", "MB/s"]
            }
            Self::LatencyOverRate => {
                ["Ack latency over rate (1 KiB, acks=all, linger 0)", "records/s", "p99 ms"]
            }
        }
    }

    /// The group of the report that shows it.
    pub fn group(self) -> &'static str {
        let points =
            SCENARIOS.iter().rev().filter(|scenario| scenario.point.is_some_and(|(of, _)| of == self));
        points.map(|scenario| scenario.group).next().unwrap_or_default()
    }

    /// What is drawn upwards.
    pub fn metric(self) -> Metric {
        match self {
            Self::ThroughputOverPartitions => Metric::Throughput,
            Self::LatencyOverRate => Metric::LatencyP99,
        }
    }
}

/// What Aquifer's median is to reach.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// No more than this.
    AtMost(Metric, f64),
    /// At least this good, as a multiple of another system's figure in the same run: no less where more is
    /// better, no more where less is.
    Against(Metric, f64, System),
    /// The same against Aquifer's own figure in another scenario.
    AgainstScenario(Metric, f64, &'static str),
}

impl Goal {
    /// Whether it is met; None if what it compares was not measured.
    pub fn met(self, scenario: &Scenario, outcome: &Outcome) -> Option<bool> {
        let system = scenario.layout.ours();
        let ours = outcome.medians(scenario.name, system)?;
        match self {
            Self::AtMost(metric, limit) => Some(ours.get(metric)? <= limit),
            Self::Against(metric, times, other) => {
                reaches(&ours, &outcome.medians(scenario.name, other)?, metric, times)
            }
            Self::AgainstScenario(metric, times, other) => {
                reaches(&ours, &outcome.medians(other, system)?, metric, times)
            }
        }
    }
}

fn reaches(ours: &Figures, theirs: &Figures, metric: Metric, times: f64) -> Option<bool> {
    let (ours, limit) = (ours.get(metric)?, theirs.get(metric)? * times);
    Some(if metric.more_is_better() { ours >= limit } else { ours <= limit })
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = |metric: Metric| if metric.more_is_better() { '≥' } else { '≤' };
        match *self {
            Self::AtMost(metric, limit) => write!(f, "{} ≤ {limit}", metric.heading()),
            Self::Against(metric, times, system) => {
                write!(f, "{} {} {times} × {}", metric.heading(), sign(metric), system.name())
            }
            Self::AgainstScenario(metric, times, other) => {
                write!(f, "{} {} {times} × {other}", metric.heading(), sign(metric))
            }
        }
    }
}
