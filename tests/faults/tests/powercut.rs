//! The power fails at random moments: WAL, metadata and file store on a disk that then holds what was flushed.
//!
//! A node and a producer run in User Mode Linux on a disk of which every write is logged, and acknowledgements with it.
//! Then the disk is made again as it stood at each cut, and a node started on it must have all that was acknowledged.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aquifer_faults::{Expected, History, Kept, Scale, SmallDisk, WriteLog, measured, read};
use aquifer_harness::{Node, aquifer, script};
use aquifer_runtime::Random;
use aquifer_services::{Artifact, Process, or_skip, skip};
use tokio::time::{Instant, sleep};

const DISK_BYTES: u64 = 200 << 20;
/// Sparse; what is logged in all.
const LOG_BYTES: u64 = 4 << 30;
const MODULES: &str = "/usr/lib/uml/modules";
const LIMIT: Duration = Duration::from_secs(300);

/// The node's options, inside User Mode Linux and at a cut.
fn settings(disk: &Path) -> Vec<(String, String)> {
    let under = |name: &str| disk.join(name).display().to_string();
    [
        ("metadata.dir", under("metadata")),
        ("wal.dir", under("wal")),
        ("store.url", format!("file://{}", under("store"))),
        ("wal.size", "64MiB".to_owned()),
        ("store.offload.interval.ms", "200".to_owned()),
        // What the metadata calls offloaded is gone from the WAL.
        ("wal.retain.after.offload.ms", "0".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Runs the node until it has acknowledged enough.
async fn run_in_uml(dir: &Path, kernel: &Path, python: &Path, marks: u32) {
    let mut properties = settings(Path::new("/mnt/disk"));
    properties.push(("node.id".into(), "1".into()));
    properties.push(("listeners".into(), "PLAINTEXT://127.0.0.1:9092".into()));
    let text: String = properties.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    fs::write(dir.join("uml.properties"), text).expect("a file can be written");
    let scripts = script("");
    let mut command = Command::new(kernel);
    command.args(["mem=768M", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", "con=null", "ssl=null"]);
    command.arg(format!("init={}", script("uml_init.sh").display()));
    for (number, image) in ["disk.image", "log.image"].into_iter().enumerate() {
        command.arg(format!("ubd{number}={}", dir.join(image).display()));
    }
    for (name, path) in [
        ("dir", dir),
        ("node", &aquifer()),
        ("python", python),
        ("scripts", &scripts),
        ("modules", Path::new(MODULES)),
    ] {
        command.arg(format!("{name}={}", path.display()));
    }
    command.arg(format!("marks={marks}"));
    let mut process = Process::start("uml", &command, &dir.join("kernel.log")).expect("it starts");
    let start = Instant::now();
    while process.ended().is_none() {
        assert!(start.elapsed() < LIMIT * 4, "User Mode Linux has not ended:\n{}", uml_log(dir));
        sleep(Duration::from_millis(100)).await;
    }
    let log = fs::read_to_string(dir.join("uml.log")).unwrap_or_default();
    assert!(log.trim_end().ends_with("done"), "in User Mode Linux:\n{}", uml_log(dir));
}

fn uml_log(dir: &Path) -> String {
    ["kernel.log", "uml.log", "node.log"]
        .map(|name| fs::read_to_string(dir.join(name)).unwrap_or_default())
        .join("\n")
}

/// The first `count` lines of a history, as a history of its own.
fn history_until(dir: &Path, count: usize) -> std::path::PathBuf {
    let history = fs::read_to_string(dir.join("history")).expect("it was written");
    let lines: Vec<&str> = history.lines().take(count).collect();
    assert_eq!(lines.len(), count, "a mark follows its lines");
    let path = dir.join("acknowledged");
    fs::write(&path, lines.join("\n") + "\n").expect("a file can be written");
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_power_cuts() {
    let Some(kernel) = or_skip(Artifact::UserModeLinux.find()) else { return };
    let Some(python) = or_skip(Artifact::Python.find()) else { return };
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let dir = temporary.path();
    if let Err(error) = SmallDisk::mount(8 << 20) {
        return skip(&format!("an image is mounted as root by a loop device: {error}"));
    }
    let image = File::create(dir.join("disk.image")).expect("a file can be made");
    image.set_len(DISK_BYTES).expect("it can be sparse");
    SmallDisk::format(&dir.join("disk.image")).expect("mkfs.ext4");
    fs::copy(dir.join("disk.image"), dir.join("base.image")).expect("a copy");
    let log = File::create(dir.join("log.image")).expect("a file can be made");
    log.set_len(LOG_BYTES).expect("it can be sparse");
    let scale = Scale::chosen();
    run_in_uml(dir, &kernel, &python, scale.of(60, 400)).await;

    let log = WriteLog::open(&dir.join("log.image")).expect("a log of writes");
    let first = log.first_mark().expect("something was acknowledged");
    let seed = Random::from_os().next_u64();
    let random = Random::seeded(seed);
    let count = scale.of(10, 200);
    let mut cuts: Vec<usize> = (0..count - 1)
        .map(|_| first + usize::try_from(random.below((log.len() - first) as u64)).expect("few"))
        .collect();
    cuts.push(log.len());
    cuts.sort_unstable();
    let base = File::options().read(true).write(true).open(dir.join("base.image")).expect("it was copied");
    let (mut done, mut found) = (0, 0);
    for &cut in &cuts {
        log.replay(done..cut, &base).expect("the disk of that moment");
        done = cut;
        let acknowledged = log.mark_before(cut, "a").and_then(|mark| mark.parse().ok());
        let acknowledged: usize = acknowledged.expect("cuts lie behind the first mark");
        let image = dir.join("cut.image");
        let status =
            Command::new("cp").arg("--sparse=always").args([dir.join("base.image"), image.clone()]).status();
        assert!(status.is_ok_and(|status| status.success()), "a copy of the disk");
        let disk = SmallDisk::mount_image(&image).expect("the filesystem recovers");
        let own = settings(disk.path());
        let own: Vec<(&str, &str)> =
            own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let node_dir = dir.join(format!("node-{cut}"));
        let mut node = Node::prepare(&node_dir, &own);
        let started = node.try_start_again().await;
        assert!(
            started.is_ok(),
            "cut at entry {cut} of {} (seed {seed}): the node does not start:\n{}",
            log.len(),
            node.log()
        );
        let out = node_dir.join("found");
        read(&node.bootstrap(), "cut", 3, 1_500, &out, &[]).await;
        let history = History::from_files(&history_until(dir, acknowledged), &out);
        let losses = history.losses(Expected { idempotent: false, kept: Kept::All });
        assert!(
            losses.is_empty(),
            "cut at entry {cut} of {} (seed {seed}), {acknowledged} acknowledged: {losses:?}\n{}",
            log.len(),
            node.log()
        );
        found += history.acknowledged();
        node.kill();
        drop(disk);
        fs::remove_dir_all(&node_dir).expect("nobody uses it");
    }
    measured(&format!(
        "power cut: {count} cuts (seed {seed}) in {} writes of WAL, metadata and file store; {found} acknowledged records \
         looked for, none lost",
        log.len()
    ));
}
