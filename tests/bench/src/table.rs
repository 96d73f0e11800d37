mod cluster;
mod interruptions;

use crate::broker::System::{Kafka, KafkaFsync};
use crate::figures::Metric::{
    BrokerCpu, FetchThroughput, IdleCpu, LatencyP50, LatencyP99, Memory, PartitionMemory, PeakMemory,
    Restart, Throughput, Took,
};
use crate::layout::Layout;
use crate::scenario::Curve::{LatencyOverRate, ThroughputOverPartitions};
use crate::scenario::Goal::{Against, AgainstScenario, AtMost};
use crate::scenario::{Produce, Scenario, Work};

const FLAT: Produce = Produce::FLAT_OUT;

const PLAIN: Scenario = Scenario {
    name: "",
    group: "",
    what: "",
    layout: Layout::One,
    work: Work::Produce(FLAT),
    goals: &[],
    point: None,
};

const FIRST: &str = "Produce and fetch";
const LATENCY: &str = "Latency over rate";
const SCALE: &str = "Shapes of load";
const MIXED: &str = "Reading beside writing";
const LIFE: &str = "Start, stop, memory";
const TOOLS: &str = "Kafka's own tool";
const CLUSTER: &str = "Three nodes";
const INTERRUPTIONS: &str = "How long producers wait";

/// Name on the command line, and title.
pub const GROUPS: &[(&str, &str)] = &[
    ("first", FIRST),
    ("shapes", SCALE),
    ("latency", LATENCY),
    ("mixed", MIXED),
    ("tools", TOOLS),
    ("life", LIFE),
    ("cluster", CLUSTER),
    ("interruptions", INTERRUPTIONS),
];

const fn at_rate(rate: u32) -> Work {
    Work::Produce(Produce { rate: Some(rate), ..FLAT })
}

const fn compressed(compression: &'static str) -> Work {
    Work::Produce(Produce { compression, ..FLAT })
}

/// Everything that can be measured, in the order of the report.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "produce-1",
        group: FIRST,
        what: "produce 1 KiB, acks=all, 1 partition, flat out",
        goals: &[
            Against(Throughput, 2.0, KafkaFsync),
            Against(Throughput, 1.0, Kafka),
            AtMost(BrokerCpu, 0.8),
            AtMost(PeakMemory, 300.0),
        ],
        point: Some((ThroughputOverPartitions, 1.0)),
        ..PLAIN
    },
    Scenario {
        name: "produce-16",
        group: FIRST,
        what: "the same over 16 partitions",
        work: Work::Produce(Produce { partitions: 16, ..FLAT }),
        goals: &[Against(Throughput, 1.0, KafkaFsync), Against(Throughput, 1.0, Kafka)],
        point: Some((ThroughputOverPartitions, 16.0)),
        ..PLAIN
    },
    Scenario {
        name: "latency-1000",
        group: FIRST,
        what: "ack latency at 1 000 records/s, 1 KiB, linger 0",
        work: at_rate(1_000),
        goals: &[AtMost(LatencyP50, 1.5), AtMost(LatencyP99, 3.0), Against(LatencyP99, 1.0, KafkaFsync)],
        point: Some((LatencyOverRate, 1_000.0)),
        ..PLAIN
    },
    Scenario {
        name: "fetch-tail",
        group: FIRST,
        what: "one consumer reads the newest 48 MiB, again and again",
        work: Work::FetchTail,
        goals: &[Against(Throughput, 1.0, Kafka), AtMost(BrokerCpu, 0.35)],
        ..PLAIN
    },
    Scenario {
        name: "fetch-cold",
        group: FIRST,
        what: "one consumer reads a partition after a restart, caches empty",
        work: Work::FetchCold { consumers: 1 },
        goals: &[Against(Throughput, 1.0, Kafka), AtMost(BrokerCpu, 0.6)],
        ..PLAIN
    },
    Scenario {
        name: "produce-100",
        group: SCALE,
        what: "produce over 100 partitions",
        work: Work::Produce(Produce { partitions: 100, ..FLAT }),
        goals: &[Against(Throughput, 1.0, Kafka)],
        point: Some((ThroughputOverPartitions, 100.0)),
        ..PLAIN
    },
    Scenario {
        name: "produce-1000",
        group: SCALE,
        what: "produce over 1 000 partitions",
        work: Work::Produce(Produce { partitions: 1_000, ..FLAT }),
        goals: &[Against(Throughput, 1.0, Kafka)],
        point: Some((ThroughputOverPartitions, 1_000.0)),
        ..PLAIN
    },
    Scenario {
        name: "produce-10000",
        group: SCALE,
        what: "produce over 10 000 partitions",
        work: Work::Produce(Produce { partitions: 10_000, ..FLAT }),
        goals: &[Against(Throughput, 1.0, Kafka)],
        point: Some((ThroughputOverPartitions, 10_000.0)),
        ..PLAIN
    },
    Scenario {
        name: "produce-idempotent",
        group: SCALE,
        what: "an idempotent producer, 1 partition",
        work: Work::Produce(Produce { idempotent: true, ..FLAT }),
        goals: &[AgainstScenario(Throughput, 0.95, "produce-1")],
        ..PLAIN
    },
    Scenario {
        name: "produce-100b",
        group: SCALE,
        what: "records of 100 bytes",
        work: Work::Produce(Produce { record_bytes: 100, ..FLAT }),
        ..PLAIN
    },
    Scenario {
        name: "produce-100k",
        group: SCALE,
        what: "records of 100 KiB",
        work: Work::Produce(Produce { record_bytes: 100 << 10, ..FLAT }),
        ..PLAIN
    },
    Scenario {
        name: "produce-gzip",
        group: SCALE,
        what: "batches compressed with gzip (MB/s of what is inside)",
        work: compressed("gzip"),
        ..PLAIN
    },
    Scenario {
        name: "produce-snappy",
        group: SCALE,
        what: "with snappy",
        work: compressed("snappy"),
        ..PLAIN
    },
    Scenario { name: "produce-lz4", group: SCALE, what: "with lz4", work: compressed("lz4"), ..PLAIN },
    Scenario { name: "produce-zstd", group: SCALE, what: "with zstd", work: compressed("zstd"), ..PLAIN },
    Scenario {
        name: "produce-100-connections",
        group: SCALE,
        what: "100 producers, 16 partitions",
        work: Work::Produce(Produce { partitions: 16, connections: 100, ..FLAT }),
        ..PLAIN
    },
    Scenario {
        name: "latency-100",
        group: LATENCY,
        what: "ack latency at 100 records/s",
        work: at_rate(100),
        point: Some((LatencyOverRate, 100.0)),
        ..PLAIN
    },
    Scenario {
        name: "latency-5000",
        group: LATENCY,
        what: "at 5 000 records/s",
        work: at_rate(5_000),
        point: Some((LatencyOverRate, 5_000.0)),
        ..PLAIN
    },
    Scenario {
        name: "latency-20000",
        group: LATENCY,
        what: "at 20 000 records/s",
        work: at_rate(20_000),
        point: Some((LatencyOverRate, 20_000.0)),
        ..PLAIN
    },
    Scenario {
        name: "latency-50000",
        group: LATENCY,
        what: "at 50 000 records/s",
        work: at_rate(50_000),
        point: Some((LatencyOverRate, 50_000.0)),
        ..PLAIN
    },
    Scenario {
        name: "fetch-produced",
        group: MIXED,
        what: "one consumer reads all that was just written",
        work: Work::FetchProduced,
        goals: &[Against(Throughput, 1.0, Kafka)],
        ..PLAIN
    },
    Scenario {
        name: "fetch-cold-4",
        group: MIXED,
        what: "4 consumers read a partition after a restart, caches empty",
        work: Work::FetchCold { consumers: 4 },
        goals: &[Against(Throughput, 1.0, Kafka), AtMost(BrokerCpu, 0.6)],
        ..PLAIN
    },
    Scenario {
        name: "follow",
        group: MIXED,
        what: "full produce with a consumer at the tail",
        work: Work::Follow(FLAT),
        goals: &[AgainstScenario(Throughput, 0.8, "produce-1"), Against(FetchThroughput, 1.0, Kafka)],
        ..PLAIN
    },
    Scenario {
        name: "replay-4",
        group: MIXED,
        what: "ack latency at 1 000 records/s while 4 consumers replay from the beginning",
        work: Work::Replay { produce: Produce { rate: Some(1_000), ..FLAT }, consumers: 4 },
        goals: &[AgainstScenario(LatencyP99, 1.5, "latency-1000")],
        ..PLAIN
    },
    Scenario {
        name: "perf-test",
        group: TOOLS,
        what: "producer-perf-test, 1 KiB, acks=all, its default options",
        work: Work::PerfTest { tuned: false },
        goals: &[Against(Throughput, 2.0, KafkaFsync), Against(Throughput, 2.0, Kafka)],
        ..PLAIN
    },
    Scenario {
        name: "perf-test-tuned",
        group: TOOLS,
        what: "the same with linger.ms=5 batch.size=1000000",
        work: Work::PerfTest { tuned: true },
        goals: &[Against(Throughput, 2.0, KafkaFsync), Against(Throughput, 2.0, Kafka)],
        ..PLAIN
    },
    Scenario {
        name: "at-rest",
        group: LIFE,
        what: "memory of a fresh broker that nobody uses",
        work: Work::AtRest,
        goals: &[AtMost(Memory, 60.0)],
        ..PLAIN
    },
    Scenario {
        name: "start-empty",
        group: LIFE,
        what: "start to the first answer, empty directories",
        work: Work::StartEmpty,
        goals: &[AtMost(Took, 0.3)],
        ..PLAIN
    },
    Scenario {
        name: "stop",
        group: LIFE,
        what: "graceful stop right after a full load",
        work: Work::Stop,
        goals: &[AtMost(Took, 2.0)],
        ..PLAIN
    },
    Scenario {
        name: "partitions-10000",
        group: LIFE,
        what: "create 10 000 partitions on a fresh broker, leave them idle, restart it",
        work: Work::Partitions { count: 10_000 },
        goals: &[AtMost(Took, 5.0), AtMost(IdleCpu, 2.0), AtMost(Restart, 2.0), AtMost(PartitionMemory, 8.0)],
        ..PLAIN
    },
    Scenario {
        name: "restart-after-kill",
        group: LIFE,
        what: "kill -9 under a full load, start to the first answer about the records",
        work: Work::RestartAfterKill,
        goals: &[AtMost(Took, 3.0)],
        ..PLAIN
    },
    cluster::PRODUCE_1,
    cluster::PRODUCE_16,
    cluster::PRODUCE_100,
    cluster::LATENCY_1000,
    cluster::FOLLOW,
    interruptions::KILL_LEADER,
    interruptions::KILL_TWO,
    interruptions::KILL_BOTH,
    interruptions::HANG_LEADER,
    interruptions::MOVE_1,
    interruptions::MOVE_1024,
    interruptions::UNDISTURBED,
    interruptions::KILL_CONTROLLER,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::scenario::Goal;

    #[test]
    fn names_are_unique_and_goals_name_scenarios_that_exist() {
        let names: BTreeSet<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        for goal in SCENARIOS.iter().flat_map(|scenario| scenario.goals) {
            if let Goal::AgainstScenario(_, _, other) = goal {
                assert!(names.contains(other), "{goal}");
            }
        }
    }

    #[test]
    fn groups_are_not_torn_apart() {
        let mut groups: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.group).collect();
        groups.dedup();
        let distinct: BTreeSet<_> = groups.iter().collect();
        assert_eq!(groups.len(), distinct.len());
    }

    #[test]
    fn groups_have_names_of_their_own() {
        let titles: BTreeSet<_> = SCENARIOS.iter().map(|scenario| scenario.group).collect();
        assert_eq!(titles, GROUPS.iter().map(|(_, title)| *title).collect());
        for (name, _) in GROUPS {
            assert!(SCENARIOS.iter().all(|scenario| scenario.name != *name), "{name} is both");
        }
    }
}
