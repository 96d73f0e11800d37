mod interruption;
mod life;
mod perf_test;

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::BenchError;
use crate::figures::{Figures, Metric};
use crate::load::{Producers, Progress, Read, Tally, Topic, read};
use crate::meter::Meter;
use crate::scenario::{Produce, Scenario, Work};
use crate::station::{Settings, Station, drop_page_cache};

/// Figures are in units of 10^6 and 10^9 bytes.
const MEGA: f64 = 1e6;
const GIGA: f64 = 1e9;
const US_PER_MS: f64 = 1e3;
/// A restarted JVM is warmed for a part of the time that it had at first.
const WARM_AGAIN: u32 = 4;

/// Takes one measurement on one system. What the report must mention goes to `notes`.
pub(crate) fn measure(
    station: &mut Station,
    scenario: &Scenario,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<Figures, BenchError> {
    // What an earlier load did to the copies is not to be of use to this one.
    station.until_whole(None)?;
    let rolls = station.broker.rolls();
    let figures = take(station, scenario, settings, notes)?;
    if let (Some(before), Some(after)) = (rolls, station.broker.rolls())
        && after > before
        && !matches!(scenario.work, Work::Interruption(_))
    {
        let (name, system) = (scenario.name, station.system);
        notes.push(format!(
            "{name} on {system}: mirrors came or went {} times under the load",
            after - before
        ));
    }
    Ok(figures)
}

fn take(
    station: &mut Station,
    scenario: &Scenario,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<Figures, BenchError> {
    match scenario.work {
        Work::Produce(load) => produce(station, scenario.name, &load, settings),
        Work::FetchTail => fetch_tail(station, settings),
        Work::FetchProduced => {
            let topic = station.filled(scenario.name, settings.fill_bytes)?;
            let figures = fetch(station, &topic, 1)?;
            topic.delete(station.runtime())?;
            Ok(figures)
        }
        Work::FetchCold { consumers } => fetch_cold(station, consumers, settings, notes),
        Work::Follow(load) => follow(station, scenario.name, &load, settings),
        Work::Replay { produce, consumers } => replay(station, &produce, consumers, settings),
        Work::PerfTest { tuned } => perf_test::measure(station, scenario.name, tuned, settings),
        Work::AtRest => life::at_rest(station, settings),
        Work::StartEmpty => life::start_empty(station, settings),
        Work::Stop => life::stop(station, settings),
        Work::Partitions { count } => life::partitions(station, count, settings),
        Work::RestartAfterKill => life::restart_after_kill(station, settings),
        Work::Interruption(event) => interruption::measure(station, scenario.name, event, settings),
    }
}

/// What one measurement used, between two looks.
struct Window {
    broker: Meter,
    begun: Instant,
    broker_cpu: f64,
    client_cpu: f64,
}

impl Window {
    fn open(broker: Meter) -> Result<Self, BenchError> {
        broker.forget_peak();
        Ok(Self {
            begun: Instant::now(),
            broker_cpu: broker.cpu_seconds()?,
            client_cpu: Meter::of_this_process().cpu_seconds()?,
            broker,
        })
    }

    /// CPU for each GB of `bytes`, and memory.
    fn close(&self, bytes: f64) -> Result<Figures, BenchError> {
        let broker = self.broker.cpu_seconds()? - self.broker_cpu;
        let client = Meter::of_this_process().cpu_seconds()? - self.client_cpu;
        Ok(Figures::default()
            .with(Metric::BrokerCpu, broker / (bytes / GIGA))
            .with(Metric::ClientCpu, client / (bytes / GIGA))
            .with(Metric::PeakMemory, self.broker.peak_bytes()? / MEGA))
    }
}

/// A load, measured after its ramp, with what `beside` reads meanwhile: the figures, and all that was
/// acknowledged.
fn load(
    station: &Station,
    topic: &Topic,
    produce: &Produce,
    settings: &Settings,
    beside: &Progress,
) -> Result<(Figures, Tally), BenchError> {
    let mut producers = Producers::open(topic, produce)?;
    producers.run(settings.ramp())?;
    let window = Window::open(station.meter())?;
    let before = (producers.measure(), beside.bytes.load(Ordering::Relaxed));
    producers.run(settings.span())?;
    let acknowledged = producers.tally().acknowledged - before.0;
    let fetched = (beside.bytes.load(Ordering::Relaxed) - before.1) as f64;
    let seconds = window.begun.elapsed().as_secs_f64();
    let bytes = acknowledged as f64 * produce.record_bytes as f64;
    let mut used = window.close(bytes + fetched)?;
    if fetched > 0.0 {
        used = used.with(Metric::FetchThroughput, fetched / MEGA / seconds);
    }
    producers.flush()?;
    let tally = producers.tally();
    if let Some(failure) = &tally.failure {
        return Err(BenchError::Wrong(format!("{} records were not acknowledged: {failure}", tally.failed)));
    }
    let at = |quantile| tally.latency_us.value_at_quantile(quantile) as f64 / US_PER_MS;
    let figures = used
        .with(Metric::Throughput, bytes / MEGA / seconds)
        .with(Metric::Records, acknowledged as f64 / seconds)
        .with(Metric::LatencyP50, at(0.5))
        .with(Metric::LatencyP99, at(0.99))
        .with(Metric::LatencyP999, at(0.999));
    Ok((figures, tally))
}

fn produce(
    station: &mut Station,
    name: &str,
    produce: &Produce,
    settings: &Settings,
) -> Result<Figures, BenchError> {
    let topic = station.topic(name, produce.partitions)?;
    let (figures, tally) = load(station, &topic, produce, settings, &Progress::default())?;
    let counted = count_again(&topic, tally.acknowledged)?;
    topic.delete(station.runtime())?;
    Ok(figures.with(Metric::Counted, counted))
}

/// Asks the broker how many records it has: all that it acknowledged, and no others, since every one was
/// acknowledged.
fn count_again(topic: &Topic, acknowledged: u64) -> Result<f64, BenchError> {
    let counted = topic.records()?;
    if counted != acknowledged {
        return Err(BenchError::Wrong(format!(
            "{acknowledged} records of {} were acknowledged, the broker has {counted}",
            topic.name
        )));
    }
    Ok(counted as f64)
}

fn fetch_tail(station: &mut Station, settings: &Settings) -> Result<Figures, BenchError> {
    let topic = station.filled("fetch-tail", Work::TAIL_BYTES)?;
    let bounds = topic.watermarks()?;
    let begun = Instant::now();
    while begun.elapsed() < settings.ramp() {
        read(&topic, &bounds, &Progress::default())?;
    }
    let window = Window::open(station.meter())?;
    let mut all = Read::default();
    while window.begun.elapsed() < settings.span() {
        let once = read(&topic, &bounds, &Progress::default())?;
        all.records += once.records;
        all.bytes += once.bytes;
        all.span += once.span;
    }
    let figures = fetched(window.close(all.bytes as f64)?, &[all], all.span);
    topic.delete(station.runtime())?;
    Ok(figures)
}

/// All of a topic by some consumers at once, each reading everything.
fn fetch(station: &Station, topic: &Topic, consumers: usize) -> Result<Figures, BenchError> {
    let bounds = topic.watermarks()?;
    let window = Window::open(station.meter())?;
    let reads: Result<Vec<Read>, BenchError> = thread::scope(|scope| {
        let each = |_| scope.spawn(|| read(topic, &bounds, &Progress::default()));
        let threads: Vec<_> = (0..consumers).map(each).collect();
        threads.into_iter().map(|thread| thread.join().expect("a reader does not panic")).collect()
    });
    let reads = reads?;
    // From the call on, connecting included: the slowest counts.
    let span = window.begun.elapsed();
    let bytes: u64 = reads.iter().map(|read| read.bytes).sum();
    Ok(fetched(window.close(bytes as f64)?, &reads, span))
}

fn fetched(used: Figures, reads: &[Read], span: Duration) -> Figures {
    let records: u64 = reads.iter().map(|read| read.records).sum();
    let bytes: u64 = reads.iter().map(|read| read.bytes).sum();
    used.with(Metric::Throughput, bytes as f64 / MEGA / span.as_secs_f64())
        .with(Metric::Records, records as f64 / span.as_secs_f64())
        .with(Metric::Counted, records as f64)
}

fn fetch_cold(
    station: &mut Station,
    consumers: usize,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<Figures, BenchError> {
    let topic = station.old(settings.fill_bytes)?;
    station.broker.stop()?;
    station.broker.start_again()?;
    station.warm_up(settings.warm_up / WARM_AGAIN)?;
    if !drop_page_cache()? {
        notes.push(
            "the page cache could not be dropped (it takes root): cold fetches are not cold".to_owned(),
        );
    }
    fetch(station, &topic, consumers)
}

fn follow(
    station: &mut Station,
    name: &str,
    produce: &Produce,
    settings: &Settings,
) -> Result<Figures, BenchError> {
    let topic = station.topic(name, produce.partitions)?;
    let from: Vec<_> = topic.watermarks()?.iter().map(|(_, end)| (*end, i64::MAX)).collect();
    let figures =
        beside(station, &topic, produce, settings, 1, |progress| read(&topic, &from, progress).map(drop))?;
    topic.delete(station.runtime())?;
    Ok(figures)
}

fn replay(
    station: &mut Station,
    produce: &Produce,
    consumers: usize,
    settings: &Settings,
) -> Result<Figures, BenchError> {
    let old = station.old(settings.fill_bytes)?;
    let bounds = old.watermarks()?;
    let topic = station.topic("replay", produce.partitions)?;
    let figures = beside(station, &topic, produce, settings, consumers, |progress| {
        while !progress.stop.load(Ordering::Relaxed) {
            read(&old, &bounds, progress)?;
        }
        Ok(())
    })?;
    topic.delete(station.runtime())?;
    Ok(figures)
}

/// A load with readers beside it, which run until it ends.
fn beside(
    station: &Station,
    topic: &Topic,
    produce: &Produce,
    settings: &Settings,
    readers: usize,
    reader: impl Fn(&Progress) -> Result<(), BenchError> + Sync,
) -> Result<Figures, BenchError> {
    let progress = Progress::default();
    let loaded = thread::scope(|scope| {
        let threads: Vec<_> = (0..readers).map(|_| scope.spawn(|| reader(&progress))).collect();
        let loaded = load(station, topic, produce, settings, &progress);
        progress.stop.store(true, Ordering::Relaxed);
        let ended: Result<Vec<()>, BenchError> =
            threads.into_iter().map(|thread| thread.join().expect("a reader does not panic")).collect();
        ended.and(loaded)
    });
    let (figures, tally) = loaded?;
    let counted = count_again(topic, tally.acknowledged)?;
    Ok(figures.with(Metric::Counted, counted))
}
