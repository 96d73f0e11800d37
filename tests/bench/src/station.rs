use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

use crate::BenchError;
use crate::broker::{Broker, Sizes, System};
use crate::layout::Layout;
use crate::load::{Partition, Producers, Progress, Topic, Watch, read};
use crate::meter::Meter;
use crate::scenario::{Produce, Work};

/// A broker counts as calm when it uses less than this part of a core, for each of its processes.
const CALM: f64 = 0.05;
const LOOK: Duration = Duration::from_millis(300);
const WARM_UP_PARTITIONS: i32 = 4;
/// For the nodes of a cluster to find each other and to have all copies again.
const WHOLE_LIMIT: Duration = Duration::from_secs(180);
const WHOLE_LOOK: Duration = Duration::from_millis(50);
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// How a run is carried out.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Of each measurement.
    pub(crate) seconds: f64,
    /// How often each measurement is taken.
    pub(crate) repeats: usize,
    /// How often an event happens in one measurement of it.
    pub(crate) rounds: usize,
    /// Full load on each system before the first measurement.
    pub(crate) warm_up: Duration,
    /// Where all systems keep their files.
    pub(crate) directory: PathBuf,
    /// What each node may take.
    pub(crate) sizes: Sizes,
    /// What readers of old records read.
    pub(crate) fill_bytes: u64,
    /// How long at most a broker is given to finish what it does behind its clients.
    pub(crate) calm_limit: Duration,
}

impl Settings {
    /// The part that is measured.
    pub(crate) fn span(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// The part before, whose records do not count.
    pub(crate) fn ramp(&self) -> Duration {
        Duration::from_secs_f64(self.seconds * 0.2)
    }
}

/// One of the systems that take turns, with what it keeps from turn to turn.
pub(crate) struct Station {
    pub(crate) system: System,
    pub(crate) broker: Broker,
    runtime: Rc<Runtime>,
    topics: u32,
    old: Option<Topic>,
}

impl Station {
    pub(crate) fn start(
        system: System,
        layout: Layout,
        runtime: &Rc<Runtime>,
        directory: &Path,
        sizes: &Sizes,
    ) -> Result<Self, BenchError> {
        let broker = Broker::start(system, layout, runtime, directory, sizes)?;
        let station = Self { system, broker, runtime: Rc::clone(runtime), topics: 0, old: None };
        station.until_whole(None)?;
        Ok(station)
    }

    /// Waits until every node serves and all copies are there, those of a topic too.
    pub(crate) fn until_whole(&self, topic: Option<&Watch>) -> Result<(), BenchError> {
        let begun = Instant::now();
        let whole = |watch: &Watch| {
            let sight = watch.look();
            sight.is_ok_and(|sight| sight.partitions.iter().all(Partition::is_whole))
        };
        while !(self.broker.is_whole() && topic.is_none_or(whole)) {
            if begun.elapsed() > WHOLE_LIMIT {
                let name = self.system;
                return Err(BenchError::Wrong(format!(
                    "{name} has not all its copies after {WHOLE_LIMIT:?}"
                )));
            }
            self.pause(WHOLE_LOOK);
        }
        Ok(())
    }

    pub(crate) fn runtime(&self) -> &Rc<Runtime> {
        &self.runtime
    }

    pub(crate) fn meter(&self) -> Meter {
        Meter::of(self.broker.process_ids())
    }

    /// A new topic of the measurement that is named.
    pub(crate) fn topic(&mut self, name: &str, partitions: i32) -> Result<Topic, BenchError> {
        self.topics += 1;
        let name = format!("{name}-{}", self.topics);
        Topic::create(&self.runtime, &self.broker.bootstrap(), &name, partitions, self.system.copies())
    }

    /// A topic with that many bytes of records.
    pub(crate) fn filled(&mut self, name: &str, bytes: u64) -> Result<Topic, BenchError> {
        let topic = self.topic(name, 1)?;
        Producers::open(&topic, &Produce::FLAT_OUT)?.fill(bytes)?;
        Ok(topic)
    }

    /// The topic of old records, which outlives a measurement.
    pub(crate) fn old(&mut self, bytes: u64) -> Result<Topic, BenchError> {
        if let Some(topic) = &self.old {
            return Ok(topic.clone());
        }
        let topic = self.filled("old", bytes)?;
        self.old = Some(topic.clone());
        Ok(topic)
    }

    /// Full load, written and read, for this long: what a JVM needs before it shows what it can.
    pub(crate) fn warm_up(&mut self, span: Duration) -> Result<(), BenchError> {
        let begun = Instant::now();
        // Each node leads one at least.
        let partitions = WARM_UP_PARTITIONS.max(self.meter().processes() as i32);
        let topic = self.topic("warm-up", partitions)?;
        let produce = Produce { partitions, ..Produce::FLAT_OUT };
        let mut producers = Producers::open(&topic, &produce)?;
        while begun.elapsed() < span {
            let from = topic.watermarks()?;
            producers.fill(Work::TAIL_BYTES)?;
            let to = topic.watermarks()?;
            let bounds: Vec<_> = from.iter().zip(&to).map(|(from, to)| (from.1, to.1)).collect();
            read(&topic, &bounds, &Progress::default())?;
        }
        drop(producers);
        topic.delete(&self.runtime)
    }

    /// Starts the broker again if it is gone, so that one failure does not become many.
    pub(crate) fn revive(&mut self) -> Result<(), BenchError> {
        if self.meter().resident_bytes().is_err() {
            self.broker.start_again()?;
        }
        Ok(())
    }

    pub(crate) fn pause(&self, span: Duration) {
        // The timer belongs to the runtime, so the sleep is made inside of it.
        self.runtime.block_on(async { sleep(span).await });
    }

    /// True once it uses next to no CPU.
    fn is_calm(&self) -> Result<bool, BenchError> {
        let before = self.meter().cpu_seconds()?;
        self.pause(LOOK);
        let used = self.meter().cpu_seconds()? - before;
        Ok(used < CALM * self.meter().processes() as f64 * LOOK.as_secs_f64())
    }
}

/// Waits until no system works behind its clients and all that was written is on the disk: none is to pay for
/// what another did before. False if one was still busy after `limit`.
pub(crate) fn settle(stations: &[Station], limit: Duration) -> Result<bool, BenchError> {
    sync()?;
    let begun = Instant::now();
    for station in stations {
        while !station.is_calm()? {
            if begun.elapsed() > limit {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Empties the page cache. False if this user may not.
pub(crate) fn drop_page_cache() -> Result<bool, BenchError> {
    sync()?;
    Ok(fs::write(DROP_CACHES, "3").is_ok())
}

fn sync() -> Result<(), BenchError> {
    Command::new("sync").status().map(drop).map_err(BenchError::io("run sync"))
}
