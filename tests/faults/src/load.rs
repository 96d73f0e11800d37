use std::path::{Path, PathBuf};
use std::time::Duration;

use aquifer_harness::{Script, run_script};

use crate::{Expected, History, Kept};

/// How long a script may need for what it is told, faults included.
const LIMIT: Duration = Duration::from_secs(600);

/// A producer under fire, and the history that it keeps.
#[derive(Debug)]
pub struct Load {
    script: Script,
    bootstrap: String,
    topic: String,
    partitions: u32,
    size: u32,
    idempotent: bool,
    history: PathBuf,
}

impl Load {
    /// Starts `scripts/produce.py` with these `name=value`; `None` if the clients are not installed.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start(dir: &Path, bootstrap: &str, topic: &str, options: &[&str]) -> Option<Self> {
        let given =
            |name: &str| options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
        let number =
            |name: &str, default| given(name).map_or(default, |text| text.parse().expect("a number"));
        let history = dir.join(format!("{topic}.history"));
        let path = history.display().to_string();
        let arguments = [&[bootstrap, topic, &path], options].concat();
        Some(Self {
            script: Script::start("produce.py", &arguments).await?,
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            partitions: number("partitions", 3),
            size: number("size", 1_500),
            idempotent: given("kind") != Some("plain"),
            history,
        })
    }

    /// Waits until so many more records were acknowledged.
    pub async fn run(&mut self, records: u64) {
        self.script.tell(&format!("run {records}")).await;
        self.script.expect("ran", LIMIT).await;
    }

    /// Waits until so many more records were acknowledged in each partition.
    pub async fn run_everywhere(&mut self, records: u64) {
        self.script.tell(&format!("each {records}")).await;
        self.script.expect("ran", LIMIT).await;
    }

    /// Sends nothing more until [`Self::go`].
    pub async fn rest(&mut self) {
        self.script.tell("rest").await;
    }

    /// Goes on.
    pub async fn go(&mut self) {
        self.script.tell("go").await;
    }

    /// Records acknowledged, failed and sent so far.
    ///
    /// # Panics
    /// If the script does not answer.
    pub async fn counts(&mut self) -> [u64; 3] {
        self.script.tell("count").await;
        let counts = self.script.expect("counted", LIMIT).await;
        let counts: Vec<u64> = counts.split(' ').map(|word| word.parse().expect("a number")).collect();
        counts.try_into().expect("three numbers")
    }

    /// Delivers what is under way and ends; what the producer says at its end.
    pub async fn stop(&mut self) -> String {
        self.script.tell("stop").await;
        self.script.expect("sent", LIMIT).await
    }

    /// Reads everything and compares, after [`Self::stop`].
    ///
    /// # Panics
    /// If anything acknowledged is lost.
    pub async fn check(&self, dir: &Path, kept: Kept) -> History {
        let found = dir.join(format!("{}.found", self.topic));
        read(&self.bootstrap, &self.topic, self.partitions, self.size, &found, &[]).await;
        let history = History::from_files(&self.history, &found);
        history.check(Expected { idempotent: self.idempotent, kept });
        history
    }
}

/// Reads everything that a topic holds and writes it down; how many records.
///
/// # Panics
/// If that cannot be done.
pub async fn read(
    bootstrap: &str,
    topic: &str,
    partitions: u32,
    size: u32,
    out: &Path,
    settings: &[&str],
) -> u64 {
    let (partitions, size, out) = (partitions.to_string(), size.to_string(), out.display().to_string());
    let arguments = [&[bootstrap, topic, &partitions, &size, &out], settings].concat();
    let said = run_script("read.py", &arguments, "read", LIMIT).await.expect("the clients are installed");
    let count = said[0].strip_prefix("read ").and_then(|count| count.parse().ok());
    count.unwrap_or_else(|| panic!("read.py said {said:?}"))
}
