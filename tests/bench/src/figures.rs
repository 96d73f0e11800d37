use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What can be measured. Declared in the order in which reports show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Payload acknowledged or fetched, in megabytes (10^6) a second.
    Throughput,
    /// Payload fetched by consumers that run beside producers, in megabytes a second.
    FetchThroughput,
    /// Records acknowledged or fetched a second.
    Records,
    /// From produce() to the delivery report: the median, in milliseconds.
    LatencyP50,
    /// Its 99th percentile.
    LatencyP99,
    /// Its 99.9th percentile.
    LatencyP999,
    /// The longest time between two acknowledgements of a partition that an event touched: the median over all rounds, in
    /// milliseconds.
    GapP50,
    /// Its 99th percentile; the longest of all, if there were fewer than a hundred rounds.
    GapP99,
    /// The same of the partitions that others led: the median.
    OthersGapP50,
    /// Its 99th percentile.
    OthersGapP99,
    /// From the wish to move a partition until that is done: the median, in milliseconds.
    MovedP50,
    /// Its 99th percentile.
    MovedP99,
    /// CPU seconds of the broker for 10^9 bytes of payload, in and out.
    BrokerCpu,
    /// CPU seconds of the load client for the same.
    ClientCpu,
    /// The most memory the broker had resident while it was measured, in megabytes (10^6).
    PeakMemory,
    /// Memory the broker has resident, in megabytes.
    Memory,
    /// Memory for each partition, in kilobytes (10^3).
    PartitionMemory,
    /// How long the measured step took, in seconds.
    Took,
    /// From exec to the first answer after a graceful stop, in seconds.
    Restart,
    /// CPU of a broker that nobody uses, in percent of a core.
    IdleCpu,
    /// Records that were acknowledged (or read) and then counted again on the broker.
    Counted,
}

impl Metric {
    /// Its heading in tables, with the unit.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Throughput => "MB/s",
            Self::FetchThroughput => "fetched MB/s",
            Self::Records => "records/s",
            Self::LatencyP50 => "p50 ms",
            Self::LatencyP99 => "p99 ms",
            Self::LatencyP999 => "p99.9 ms",
            Self::GapP50 => "gap p50 ms",
            Self::GapP99 => "gap p99 ms",
            Self::OthersGapP50 => "others' gap p50 ms",
            Self::OthersGapP99 => "others' gap p99 ms",
            Self::MovedP50 => "moved p50 ms",
            Self::MovedP99 => "moved p99 ms",
            Self::BrokerCpu => "broker CPU-s/GB",
            Self::ClientCpu => "client CPU-s/GB",
            Self::PeakMemory => "peak RSS MB",
            Self::Memory => "RSS MB",
            Self::PartitionMemory => "KB/partition",
            Self::Took => "seconds",
            Self::Restart => "restart s",
            Self::IdleCpu => "idle CPU %",
            Self::Counted => "records counted",
        }
    }

    /// True if more is better.
    pub fn more_is_better(self) -> bool {
        matches!(self, Self::Throughput | Self::FetchThroughput | Self::Records | Self::Counted)
    }

    /// A value as tables show it: three digits that mean something.
    pub fn show(self, value: f64) -> String {
        if value >= 100.0 || self == Self::Counted || self == Self::Records {
            format!("{value:.0}")
        } else if value >= 10.0 {
            format!("{value:.1}")
        } else {
            format!("{value:.2}")
        }
    }
}

/// What one measurement gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Figures(BTreeMap<Metric, f64>);

impl Figures {
    /// One figure.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.0.get(&metric).copied()
    }

    /// With one more figure.
    #[must_use]
    pub fn with(mut self, metric: Metric, value: f64) -> Self {
        self.0.insert(metric, value);
        self
    }

    /// What was measured.
    pub fn metrics(&self) -> impl Iterator<Item = Metric> {
        self.0.keys().copied()
    }

    /// For each metric the median over the runs that have it; of an even number the mean of the two in
    /// the middle.
    pub fn medians(runs: &[Figures]) -> Figures {
        let mut all: BTreeMap<Metric, Vec<f64>> = BTreeMap::new();
        for run in runs {
            for (metric, value) in &run.0 {
                all.entry(*metric).or_default().push(*value);
            }
        }
        Figures(all.into_iter().map(|(metric, values)| (metric, median(values))).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_not_moved_by_one_bad_run() {
        let runs = [500.0, 480.0, 20.0].map(|value| Figures::default().with(Metric::Throughput, value));
        assert_eq!(Figures::medians(&runs).get(Metric::Throughput), Some(480.0));
        assert_eq!(Figures::medians(&runs[..2]).get(Metric::Throughput), Some(490.0));
        assert_eq!(Figures::medians(&[]), Figures::default());
    }

    #[test]
    fn values_are_shown_with_three_digits() {
        assert_eq!(Metric::Throughput.show(712.34), "712");
        assert_eq!(Metric::LatencyP50.show(0.4142), "0.41");
        assert_eq!(Metric::PeakMemory.show(82.41), "82.4");
    }
}
