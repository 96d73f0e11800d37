//! For any history, any moment of a crash and any torn subset of what was in flight, recovery gives back a prefix of what
//! was appended that holds everything acknowledged; and rot is told from a torn tail.

mod machine;

use std::collections::BTreeMap;
use std::time::Duration;

use aquifer_disk::SimulatedFaults;
use aquifer_wal::{Lsn, OpenError, Record, Recovered};
use machine::{Machine, Node, flat, record, tag};
use proptest::prelude::*;
use tokio::time::{sleep, timeout};

#[derive(Clone, Debug)]
enum Step {
    /// Appends so many records of up to so many bytes, all at once.
    Append { count: usize, bytes: usize },
    /// Lets time pass: frames land, the idle frame goes out, files are zeroed.
    Wait(u64),
    /// Waits until everything appended is durable.
    Settle,
    /// Trims this part of what is durable and not trimmed, in 1/255.
    Trim(u8),
    /// The power goes.
    Crash,
    /// The power goes while the next process opens the log, after so many ms; and then again for good.
    CrashInOpen(u64),
    /// The process dies, the machine lives.
    Kill,
    /// A graceful stop and start.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..12_usize, 0..6_000_usize).prop_map(|(count, bytes)| Step::Append { count, bytes }),
        1 => (1..3_usize, 50_000..250_000_usize).prop_map(|(count, bytes)| Step::Append { count, bytes }),
        4 => (0..12_u64).prop_map(Step::Wait),
        2 => Just(Step::Settle),
        3 => any::<u8>().prop_map(Step::Trim),
        2 => Just(Step::Crash),
        1 => (0..30_u64).prop_map(Step::CrashInOpen),
        1 => Just(Step::Kill),
        1 => Just(Step::Restart),
    ]
}

/// The truth beside the log.
struct Model {
    machine: Machine,
    node: Option<Node>,
    /// What was appended and can still be there, by LSN.
    records: BTreeMap<u64, Record>,
    next_tag: u64,
    /// The LSN after what the sink was told to be durable.
    acknowledged: u64,
    trimmed: u64,
}

impl Model {
    async fn new(machine: Machine) -> Self {
        let mut machine = machine;
        let (_, node) = machine.start().await;
        Self { machine, node: Some(node), records: BTreeMap::new(), next_tag: 0, acknowledged: 0, trimmed: 0 }
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("it runs")
    }

    fn note_acknowledged(&mut self) {
        let tags = std::mem::take(&mut *self.node().durable.lock().expect("whole"));
        for durable in tags {
            let lsn = self.records.iter().find(|(_, record)| tag(record) == durable);
            let (lsn, _) = lsn.expect("only what was appended becomes durable");
            assert_eq!(*lsn, self.acknowledged, "in LSN order, each once");
            self.acknowledged += 1;
        }
        assert_eq!(self.node().wal.usage().committed, Lsn(self.acknowledged));
    }

    async fn run(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step).await;
        }
    }

    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Append { count, bytes } => {
                for index in 0..count {
                    let wanted = record(self.next_tag, bytes * (index + 1) / count);
                    // It may be full.
                    if let Ok(lsn) = self.node().wal.append(wanted.clone(), self.next_tag) {
                        self.records.insert(lsn.0, wanted);
                    }
                    self.next_tag += 1;
                }
            }
            Step::Wait(time_ms) => sleep(Duration::from_millis(time_ms)).await,
            Step::Settle => {
                let appended = self.node().wal.usage().appended;
                if appended > Lsn(0) {
                    // A record that takes no longer than this is stuck.
                    let wait =
                        timeout(Duration::from_secs(600), self.node().wal.committed(Lsn(appended.0 - 1)));
                    wait.await.expect("it is written in the end").expect("the disk works");
                }
            }
            Step::Trim(part) => {
                self.note_acknowledged();
                self.trimmed += (self.acknowledged - self.trimmed) * u64::from(part) / 255;
                self.node().wal.trim(Lsn(self.trimmed));
            }
            Step::Crash => self.restart(|machine| machine.disk.crash()).await,
            Step::CrashInOpen(time_ms) => {
                self.note_acknowledged();
                self.machine.disk.crash();
                self.node = None;
                let _ = timeout(Duration::from_millis(time_ms), self.machine.open()).await;
                self.restart(|machine| machine.disk.crash()).await;
            }
            Step::Kill => self.restart(|machine| machine.disk.kill()).await,
            Step::Restart => {
                self.note_acknowledged_after_close().await;
                self.restart(|_| {}).await;
            }
        }
    }

    async fn note_acknowledged_after_close(&mut self) {
        self.node().wal.close().await.expect("closes");
        self.note_acknowledged();
        assert_eq!(
            self.acknowledged,
            self.node().wal.usage().appended.0,
            "a graceful stop writes everything"
        );
        self.node.take().expect("it runs").close().await;
    }

    async fn restart(&mut self, strike: impl FnOnce(&Machine)) {
        if self.node.is_some() {
            self.note_acknowledged();
        }
        strike(&self.machine);
        self.node = None;
        let opened = self.machine.open().await.expect("nothing of this is corruption");
        self.check(&opened.recovered);
        let (_, node) = self.machine.go_on(opened).await;
        self.node = Some(node);
    }

    /// The recovered records are the appended ones from the trim, or from before it, to an end that nobody was told to lie
    /// beyond.
    fn check(&mut self, recovered: &Recovered) {
        let found = flat(recovered);
        let end = found.last().map_or(self.trimmed, |(lsn, _)| lsn.0 + 1);
        assert!(end >= self.acknowledged, "acknowledged up to {}, recovered up to {end}", self.acknowledged);
        if let Some((first, _)) = found.first() {
            assert!(first.0 <= self.trimmed, "trimmed up to {}, recovered from {first}", self.trimmed);
        }
        for (lsn, record) in &found {
            assert_eq!(Some(record), self.records.get(&lsn.0), "LSN {lsn}");
        }
        self.records.split_off(&end);
        self.acknowledged = end;
    }
}

fn on_one_thread<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

fn machine(seed: u64, frames_in_flight: usize) -> Machine {
    let mut machine = Machine::new(seed);
    machine.config.frames_in_flight = frames_in_flight;
    machine
}

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig::default();
    ProptestConfig { cases: if asked { default.cases } else { 32 }, max_shrink_iters: 2_000, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn recovery_gives_a_prefix_with_everything_acknowledged(
        seed in any::<u64>(),
        frames_in_flight in 1..=8_usize,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        on_one_thread(async {
            let mut model = Model::new(machine(seed, frames_in_flight)).await;
            model.run(&steps).await;
            model.step(&Step::Crash).await;
        });
    }

    /// After a graceful stop every frame that holds records is known to have been durable: whatever block rots, either
    /// nothing that was needed is missing, or the log refuses to open.
    #[test]
    fn rot_is_never_taken_for_the_end(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..30),
        at in any::<prop::sample::Index>(),
        length in 1..4_096_u64,
    ) {
        on_one_thread(async {
            let mut model = Model::new(machine(seed, 4)).await;
            model.run(&steps).await;
            model.note_acknowledged_after_close().await;
            let files = model.machine.disk.files();
            let written: u64 = files.iter().map(|file| file.length).sum();
            let mut position = at.index(written as usize) as u64;
            for file in files {
                if position < file.length {
                    // Within a block: with the last frame and the empty one after it both gone, nobody could tell.
                    model.machine.disk.rot(&file.name, position, length.min(4096 - position % 4096));
                    break;
                }
                position -= file.length;
            }
            match model.machine.open().await {
                Ok(opened) => model.check(&opened.recovered),
                Err(OpenError::Corrupt(_)) => {}
                Err(other) => panic!("{other}"),
            }
        });
    }

    #[test]
    fn an_error_of_the_disk_in_any_write_loses_nothing_acknowledged(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..20),
        after in 0..10_usize,
    ) {
        on_one_thread(async {
            let mut model = Model::new(machine(seed, 4)).await;
            model.run(&steps).await;
            model.machine.disk.fail_next_write();
            for _ in 0..after {
                let wanted = record(model.next_tag, 2_000);
                if let Ok(lsn) = model.node().wal.append(wanted.clone(), model.next_tag) {
                    model.records.insert(lsn.0, wanted);
                }
                model.next_tag += 1;
                sleep(Duration::from_millis(1)).await;
            }
            model.step(&Step::Crash).await;
        });
    }
}

/// The suite notices loss: on a disk that acknowledges and forgets, it must.
#[test]
fn a_lying_disk_is_noticed() {
    let noticed = (0..20)
        .filter(|seed| {
            let mut machine = machine(*seed, 4);
            let lies = SimulatedFaults { lies: true, ..SimulatedFaults::default() };
            machine.disk = aquifer_disk::SimulatedDisk::new(*seed, lies);
            let history = async {
                let mut model = Model::new(machine).await;
                let append = Step::Append { count: 10, bytes: 3_000 };
                model.run(&[append.clone(), Step::Settle, append, Step::Settle, Step::Crash]).await;
            };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| on_one_thread(history))).is_err()
        })
        .count();
    assert!(noticed >= 15, "{noticed} of 20");
}
