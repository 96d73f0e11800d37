use std::process::Stdio;

use aquifer_services::Kafka;

use super::{MEGA, Window, count_again};
use crate::BenchError;
use crate::figures::{Figures, Metric};
use crate::station::{Settings, Station};

const CLASS: &str = "org.apache.kafka.tools.ProducerPerformance";
/// As Kafka's own script starts it.
const JVM: [&str; 3] = ["-Xms512m", "-Xmx512m", "-server"];
const RECORD_BYTES: u64 = 1024;
/// A tenth of the records warms the tool's JVM and is left out of its sums.
const RECORDS_PER_SECOND: f64 = 60_000.0;
const WARM_UP_PART: f64 = 0.1;
const TUNED: [&str; 3] = ["linger.ms=5", "batch.size=1000000", "buffer.memory=268435456"];

/// Kafka's producer-perf-test, with a number of records that fits the seconds.
pub(super) fn measure(
    station: &mut Station,
    name: &str,
    tuned: bool,
    settings: &Settings,
) -> Result<Figures, BenchError> {
    let topic = station.topic(name, 1)?;
    let records = (settings.seconds * RECORDS_PER_SECOND) as u64;
    let warm_up = (records as f64 * WARM_UP_PART) as u64;
    let mut command = Kafka::tool_with(&JVM, CLASS)?;
    command.args(["--topic", &topic.name, "--throughput", "-1"]);
    command.args(["--num-records", &records.to_string(), "--warmup-records", &warm_up.to_string()]);
    command.args(["--record-size", &RECORD_BYTES.to_string()]);
    command.args(["--bootstrap-server", &topic.bootstrap, "--command-property", "acks=all"]);
    command.args(if tuned { &TUNED[..] } else { &[] });
    let window = Window::open(station.meter())?;
    let output = command.stdin(Stdio::null()).output().map_err(BenchError::io("start java"))?;
    let bytes = (records * RECORD_BYTES) as f64;
    let used = window.close(bytes)?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let summary = printed.lines().rev().find_map(summary).ok_or_else(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        BenchError::Wrong(format!("producer-perf-test printed no summary:\n{printed}\n{errors}"))
    })?;
    let counted = count_again(&topic, records)?;
    topic.delete(station.runtime())?;
    let [rate, p50, p99, p999] = summary;
    let mut figures = Figures::default();
    // The tool is the client; what this process used says nothing.
    for metric in [Metric::BrokerCpu, Metric::PeakMemory] {
        figures = used.get(metric).map_or(figures.clone(), |value| figures.with(metric, value));
    }
    Ok(figures
        .with(Metric::Throughput, rate * RECORD_BYTES as f64 / MEGA)
        .with(Metric::Records, rate)
        .with(Metric::LatencyP50, p50)
        .with(Metric::LatencyP99, p99)
        .with(Metric::LatencyP999, p999)
        .with(Metric::Counted, counted))
}

/// Records a second, and three quantiles of the latency in milliseconds, from the tool's last line.
fn summary(line: &str) -> Option<[f64; 4]> {
    let before = |what: &str| {
        let (head, _) = line.split_once(what)?;
        head.trim_end().rsplit([' ', '(']).next()?.parse::<f64>().ok()
    };
    Some([before("records/sec")?, before("ms 50th")?, before("ms 99th")?, before("ms 99.9th")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_summary_is_understood() {
        let line = "54000 records sent, 71234.5 records/sec (69.56 MB/sec), 12.31 ms avg latency, \
                    401.00 ms max latency, 9 ms 50th, 30 ms 95th, 55 ms 99th, 120 ms 99.9th.";
        assert_eq!(summary(line), Some([71_234.5, 9.0, 55.0, 120.0]));
        assert_eq!(summary("4000 records sent, 800.0 records/sec (0.78 MB/sec), 3.0 ms avg latency"), None);
    }
}
