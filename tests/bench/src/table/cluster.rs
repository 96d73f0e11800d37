//! Three nodes with three copies of everything: the load of the single brokers, spread over them.

use super::{CLUSTER, FLAT, PLAIN};
use crate::broker::System::KafkaRf3;
use crate::figures::Metric::{BrokerCpu, FetchThroughput, LatencyP99, Throughput};
use crate::layout::Layout;
use crate::scenario::Goal::{self, Against};
use crate::scenario::{Produce, Scenario, Work};

const THREE: Scenario = Scenario { group: CLUSTER, layout: Layout::Three, ..PLAIN };
const TWICE_FOR_HALF: &[Goal] = &[Against(Throughput, 2.0, KafkaRf3), Against(BrokerCpu, 0.5, KafkaRf3)];

const fn over(partitions: i32) -> Produce {
    Produce { partitions, ..FLAT }
}

pub(super) const PRODUCE_1: Scenario = Scenario {
    name: "cluster-produce-1",
    what: "produce 1 KiB, acks=all, 1 partition, flat out; CPU and memory are those of all three nodes",
    work: Work::Produce(over(1)),
    goals: TWICE_FOR_HALF,
    ..THREE
};

pub(super) const PRODUCE_16: Scenario = Scenario {
    name: "cluster-produce-16",
    what: "the same over 16 partitions, which all three nodes lead",
    work: Work::Produce(over(16)),
    goals: TWICE_FOR_HALF,
    ..THREE
};

pub(super) const PRODUCE_100: Scenario = Scenario {
    name: "cluster-produce-100",
    what: "over 100 partitions",
    work: Work::Produce(over(100)),
    goals: TWICE_FOR_HALF,
    ..THREE
};

pub(super) const LATENCY_1000: Scenario = Scenario {
    name: "cluster-latency-1000",
    what: "ack latency at 1 000 records/s over 16 partitions, linger 0",
    work: Work::Produce(Produce { rate: Some(1_000), ..over(16) }),
    goals: &[Against(LatencyP99, 1.0, KafkaRf3)],
    ..THREE
};

pub(super) const FOLLOW: Scenario = Scenario {
    name: "cluster-follow",
    what: "full produce over 16 partitions with a consumer at the tail",
    work: Work::Follow(over(16)),
    goals: &[Against(Throughput, 2.0, KafkaRf3), Against(FetchThroughput, 2.0, KafkaRf3)],
    ..THREE
};
