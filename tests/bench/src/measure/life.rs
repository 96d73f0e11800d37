use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use super::MEGA;
use crate::BenchError;
use crate::broker::Broker;
use crate::figures::{Figures, Metric};
use crate::layout::Layout;
use crate::load::{Producers, Topic};
use crate::meter::Meter;
use crate::scenario::Produce;
use crate::station::{Settings, Station};

const KILO: f64 = 1e3;
const PERCENT: f64 = 100.0;
/// Between two questions to a broker that recovers.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// A fresh broker of the station's kind, in empty directories beside those that take turns.
struct Fresh {
    broker: Broker,
    _directory: TempDir,
}

impl Fresh {
    fn start(station: &Station, settings: &Settings) -> Result<Self, BenchError> {
        let directory = tempfile::tempdir_in(&settings.directory)
            .map_err(BenchError::io("create a directory for a fresh broker"))?;
        let broker =
            Broker::start(station.system, Layout::One, station.runtime(), directory.path(), &settings.sizes)?;
        Ok(Self { broker, _directory: directory })
    }

    fn loaded(&self, station: &Station, settings: &Settings) -> Result<(Topic, Producers), BenchError> {
        let topic = Topic::create(station.runtime(), &self.broker.bootstrap(), "life", 1, 1)?;
        let mut producers = Producers::open(&topic, &Produce::FLAT_OUT)?;
        producers.run(settings.span())?;
        Ok((topic, producers))
    }
}

pub(super) fn at_rest(station: &Station, settings: &Settings) -> Result<Figures, BenchError> {
    let fresh = Fresh::start(station, settings)?;
    station.pause(settings.span());
    let meter = Meter::of(fresh.broker.process_ids());
    Ok(Figures::default()
        .with(Metric::Memory, meter.resident_bytes()? / MEGA)
        .with(Metric::PeakMemory, meter.peak_bytes()? / MEGA))
}

pub(super) fn start_empty(station: &Station, settings: &Settings) -> Result<Figures, BenchError> {
    let fresh = Fresh::start(station, settings)?;
    Ok(took(fresh.broker.start_took()))
}

pub(super) fn stop(station: &Station, settings: &Settings) -> Result<Figures, BenchError> {
    let mut fresh = Fresh::start(station, settings)?;
    let (_, producers) = fresh.loaded(station, settings)?;
    producers.flush()?;
    drop(producers);
    Ok(took(fresh.broker.stop()?))
}

/// What partitions cost when nobody uses them.
pub(super) fn partitions(station: &Station, count: i32, settings: &Settings) -> Result<Figures, BenchError> {
    let mut fresh = Fresh::start(station, settings)?;
    let meter = Meter::of(fresh.broker.process_ids());
    let alone = meter.resident_bytes()?;
    let begun = Instant::now();
    let topic = Topic::create(station.runtime(), &fresh.broker.bootstrap(), "many", count, 1)?;
    let created = begun.elapsed();
    // What follows the creation, such as a first snapshot, is over by then.
    station.pause(settings.span());
    let (before, begun) = (meter.cpu_seconds()?, Instant::now());
    station.pause(settings.span());
    let idle = (meter.cpu_seconds()? - before) / begun.elapsed().as_secs_f64();
    let resident = meter.resident_bytes()?;
    fresh.broker.stop()?;
    let begun = Instant::now();
    fresh.broker.start_again()?;
    answered(station, settings, || topic.last_watermark())?;
    let restarted = begun.elapsed();
    Ok(took(created)
        .with(Metric::IdleCpu, idle * PERCENT)
        .with(Metric::Memory, resident / MEGA)
        .with(Metric::PartitionMemory, (resident - alone) / f64::from(count) / KILO)
        .with(Metric::Restart, restarted.as_secs_f64()))
}

/// The load goes on while the broker dies; afterwards it must have all that it acknowledged.
pub(super) fn restart_after_kill(station: &Station, settings: &Settings) -> Result<Figures, BenchError> {
    let mut fresh = Fresh::start(station, settings)?;
    let (topic, producers) = fresh.loaded(station, settings)?;
    fresh.broker.kill(1);
    let acknowledged = producers.tally().acknowledged;
    drop(producers);
    let begun = Instant::now();
    fresh.broker.start_again()?;
    let counted = answered(station, settings, || topic.records())?;
    let span = begun.elapsed();
    if counted < acknowledged {
        return Err(BenchError::Wrong(format!(
            "{acknowledged} records were acknowledged before the kill, {counted} are there after it"
        )));
    }
    Ok(took(span).with(Metric::Counted, counted as f64))
}

/// Asks until there is an answer: a broker that just started may not lead its partitions yet.
fn answered<T>(
    station: &Station,
    settings: &Settings,
    ask: impl Fn() -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    let begun = Instant::now();
    loop {
        match ask() {
            Err(_) if begun.elapsed() < settings.calm_limit => station.pause(ASK_EVERY),
            answer => return answer,
        }
    }
}

fn took(span: Duration) -> Figures {
    Figures::default().with(Metric::Took, span.as_secs_f64())
}
