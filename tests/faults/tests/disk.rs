//! Disks that are full, fail, rot or are slow: nothing is acknowledged that is not durable.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aquifer_faults::{Failing, FailingDisk, Kept, Load, SmallDisk, measured, settled};
use aquifer_harness::{LIMIT, Node, run_script};
use aquifer_services::skip;
use tokio::time::{Instant, sleep};

const MIB: u64 = 1 << 20;
/// Nothing is offloaded in this time: what is read back comes from the WAL.
const NEVER: (&str, &str) = ("store.offload.interval.ms", "3600000");

/// A client on a busy machine has counted by then what it was told.
const HEARD: Duration = Duration::from_millis(1_500);

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

async fn ended(node: &mut Node) -> std::process::ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = node.ended() {
            return status;
        }
        assert!(start.elapsed() < LIMIT, "the node goes on:\n{}", node.log());
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until all files of a WAL are zeroed: what fails later are frames, and not the start.
async fn zeroed(wal: &Path) {
    let zeroing = || {
        fs::read_dir(wal)
            .expect("the WAL is there")
            .flatten()
            .any(|entry| entry.path().extension().is_some_and(|kind| kind == "zeroing"))
    };
    let start = Instant::now();
    while zeroing() {
        assert!(start.elapsed() < LIMIT, "the WAL is not zeroed");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The disk of the WAL fails under load: the node ends, and what it acknowledged is there after a repair.
async fn a_failing_disk_ends_acknowledgements(failing: Failing, engine: &str) {
    let mut disk = match FailingDisk::mount(failing, 100 * MIB) {
        Ok(disk) => disk,
        Err(error) => return skip(&format!("a failing disk needs root and loop devices: {error}")),
    };
    let dir = temporary();
    let wal = disk.path().join("wal").display().to_string();
    let settings = [("wal.dir", wal.as_str()), ("wal.size", "64MiB"), ("wal.io.engine", engine), NEVER];
    let mut node = Node::start(dir.path(), &settings).await;
    let options = ["burst=20"];
    let Some(mut load) = Load::start(dir.path(), &node.bootstrap(), "failing", &options).await else {
        return;
    };
    load.run(500).await;
    zeroed(Path::new(&wal)).await;
    node.stop().await;
    disk.break_down(2 * MIB);
    node.start_again().await;
    let status = ended(&mut node).await;
    assert!(!status.success(), "a node whose disk fails ends with an error");
    let log = node.log();
    assert!(log.contains("the WAL is dead") && log.contains(&wal), "the log names what failed:\n{log}");
    // What the node answered before may be on its way to the producer's counter.
    sleep(HEARD).await;
    let at_end = load.counts().await;
    disk.mend().await;
    sleep(HEARD).await;
    assert_eq!(load.counts().await[..2], at_end[..2], "nothing is acknowledged by a node that ended");
    node.start_again().await;
    load.run(500).await;
    load.stop().await;
    let history = load.check(dir.path(), Kept::All).await;
    node.stop().await;
    let reason = log.lines().find(|line| line.contains("the WAL is dead")).unwrap_or_default();
    let reason = reason.split("reason=").nth(1).unwrap_or(reason);
    measured(&format!(
        "disk, {failing:?} fail, {engine}: {} records acknowledged before, {} in all and there; {reason}",
        at_end[0],
        history.acknowledged()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_writes_end_acknowledgements_on_io_uring() {
    a_failing_disk_ends_acknowledgements(Failing::Writes, "io_uring").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_syncs_end_acknowledgements_on_io_uring() {
    a_failing_disk_ends_acknowledgements(Failing::Syncs, "io_uring").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_syncs_end_acknowledgements_on_threads() {
    a_failing_disk_ends_acknowledgements(Failing::Syncs, "threads").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_and_then_a_full_wal_are_waited_for() {
    let disk = match SmallDisk::mount(200 * MIB) {
        Ok(disk) => disk,
        Err(error) => return skip(&format!("a small disk needs root and loop devices: {error}")),
    };
    let dir = temporary();
    let store = format!("file://{}", disk.path().join("store").display());
    let settings = [
        ("store.url", store.as_str()),
        ("wal.size", "64MiB"),
        ("wal.unoffloaded.max.bytes", "1GiB"),
        ("wal.retain.after.offload.ms", "0"),
    ];
    let mut node = Node::start(dir.path(), &settings).await;
    // Slow enough that all of it fits the disk once there is room again.
    let options = ["size=40000", "burst=5", "pace_ms=20"];
    let Some(mut load) = Load::start(dir.path(), &node.bootstrap(), "full", &options).await else { return };
    load.run(100).await;
    disk.fill();
    let limit = node.metric("aquifer_wal_unoffloaded_limit_bytes").await.expect("the node runs");
    let start = Instant::now();
    let waiting = loop {
        let waiting = node.metric("aquifer_wal_unoffloaded_bytes").await.expect("the node runs");
        // Producers are slowed down long before it is full.
        if waiting > limit / 100 * 80 {
            break waiting;
        }
        assert!(start.elapsed() < LIMIT, "the WAL does not fill: {waiting} of {limit} bytes");
        sleep(Duration::from_millis(200)).await;
    };
    sleep(Duration::from_secs(3)).await;
    let counts = load.counts().await;
    assert_eq!(counts[1], 0, "clients wait, and hear nothing worse");
    load.rest().await;
    disk.free();
    let took = settled(&node, LIMIT).await;
    load.go().await;
    load.run(500).await;
    load.stop().await;
    settled(&node, LIMIT).await;
    node.stop().await;
    node.start_again().await;
    load.check(dir.path(), Kept::All).await;
    node.stop().await;
    measured(&format!(
        "store's disk full, then a WAL of 64 MiB: clients wait with {} MiB in it; all offloaded {:.1} s after there was \
         room",
        waiting / MIB,
        took.as_secs_f64()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_metadata_disk_holds_changes_and_loses_nothing() {
    let disk = match SmallDisk::mount(64 * MIB) {
        Ok(disk) => disk,
        Err(error) => return skip(&format!("a small disk needs root and loop devices: {error}")),
    };
    let dir = temporary();
    let metadata = disk.path().join("metadata").display().to_string();
    let mut node = Node::start(dir.path(), &[("metadata.dir", &metadata)]).await;
    let bootstrap = node.bootstrap();
    let Some(mut load) = Load::start(dir.path(), &bootstrap, "metadata", &["burst=20"]).await else { return };
    load.run(300).await;
    disk.fill();
    let create = ["create-topic", &bootstrap, "refused"];
    let refused = run_script("topic.py", &create, "error", LIMIT).await.expect("the clients are there");
    assert_eq!(refused.len(), 1, "a topic that cannot be made durable is refused");
    load.run(1_000).await;
    assert!(node.ended().is_none(), "the node serves on:\n{}", node.log());
    disk.free();
    let start = Instant::now();
    let create = ["create-topic", &bootstrap, "made"];
    let made = run_script("topic.py", &create, "created", LIMIT).await.expect("the clients are there");
    assert_eq!(made, ["created made"]);
    load.run(300).await;
    load.stop().await;
    settled(&node, LIMIT).await;
    let took = start.elapsed();
    node.kill();
    node.start_again().await;
    load.check(dir.path(), Kept::All).await;
    node.stop().await;
    measured(&format!(
        "metadata disk full: produce goes on, a new topic is refused ({}); all offloaded {:.1} s after there was room",
        refused[0],
        took.as_secs_f64()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_damaged_at_the_tail_is_told_and_given_up_only_when_asked() {
    let dir = temporary();
    let settings = [NEVER, ("wal.size", "64MiB")];
    let mut node = Node::start(dir.path(), &settings).await;
    let write = ["write-marked", &node.bootstrap(), "marked", "20"];
    if run_script("topic.py", &write, "written", LIMIT).await.is_none() {
        return;
    }
    // Long enough for the frame that settles the last one.
    sleep(Duration::from_millis(200)).await;
    node.kill();
    damage(&dir.path().join("wal"), b"MARKED-0019-");
    let failed = node.try_start_again().await.expect_err("the last acknowledged frame is damaged");
    let words = ["damaged", "wal.accept.loss"];
    assert!(words.iter().all(|word| failed.output.contains(word)), "{}", failed.output);
    let printed = failed
        .output
        .split("wal.accept.loss=")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| c.is_whitespace() || "',;)\"".contains(c)).next());
    let printed =
        printed.unwrap_or_else(|| panic!("the value to give is not told:\n{}", failed.output)).to_owned();
    node.configure(&[NEVER, ("wal.size", "64MiB"), ("wal.accept.loss", &printed)]);
    node.start_again().await;
    let read = ["read", &node.bootstrap(), "marked", "0"];
    let read = run_script("topic.py", &read, "read", LIMIT).await.expect("it ran before");
    assert_eq!(read, ["read 19"], "what lies before the damage is there");
    node.stop().await;
}

/// Inverts one byte where `marker` stands in one of the files of a directory.
fn damage(dir: &Path, marker: &[u8]) {
    let files: Vec<PathBuf> =
        fs::read_dir(dir).expect("the WAL is there").flatten().map(|entry| entry.path()).collect();
    for path in files.into_iter().filter(|path| path.is_file()) {
        let bytes = fs::read(&path).expect("the WAL can be read");
        if let Some(position) = bytes.windows(marker.len()).position(|window| window == marker) {
            let file = fs::File::options().write(true).open(&path).expect("the WAL can be opened");
            file.write_all_at(&[bytes[position] ^ 0xff], position as u64).expect("the WAL can be written");
            file.sync_all().expect("the WAL can be synced");
            return;
        }
    }
    panic!("no file of {} has the marker", dir.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_a_hundred_times_slower_costs_time_only() {
    /// Of a device that does thousands.
    const WRITES_PER_SECOND: u32 = 20;
    let limits = Path::new("/sys/fs/cgroup/blkio");
    let disk = match SmallDisk::mount(120 * MIB) {
        Ok(disk) if limits.join("blkio.throttle.write_iops_device").exists() => disk,
        Ok(_) => return skip("a slow disk needs the blkio controller of cgroup v1"),
        Err(error) => return skip(&format!("a small disk needs root and loop devices: {error}")),
    };
    let group = Group::make(limits);
    let dir = temporary();
    let wal = disk.path().join("wal").display().to_string();
    let mut node = Node::prepare(dir.path(), &[("wal.dir", &wal), ("wal.size", "64MiB")]);
    let procs = group.0.join("cgroup.procs").display().to_string();
    node.start_through(&["sh", "-c", &format!("echo $$ > {procs} && exec \"$0\" \"$@\"")]);
    node.start_again().await;
    let options = ["burst=20"];
    let Some(mut load) = Load::start(dir.path(), &node.bootstrap(), "slow", &options).await else { return };
    load.run(500).await;
    let rule = format!("{} {WRITES_PER_SECOND}", disk.device());
    fs::write(group.0.join("blkio.throttle.write_iops_device"), rule).expect("a rule of the kernel");
    let start = Instant::now();
    load.run(1_000).await;
    let slow = start.elapsed();
    fs::write(group.0.join("blkio.throttle.write_iops_device"), format!("{} 0", disk.device()))
        .expect("as above");
    load.run(500).await;
    load.stop().await;
    node.kill();
    node.start_again().await;
    load.check(dir.path(), Kept::All).await;
    node.stop().await;
    measured(&format!(
        "disk with {WRITES_PER_SECOND} writes a second: 1 000 records acknowledged in {:.1} s, nothing failed",
        slow.as_secs_f64()
    ));
}

/// A control group of cgroup v1, removed when it is dropped.
struct Group(PathBuf);

impl Group {
    fn make(controller: &Path) -> Self {
        let path = controller.join(format!("aquifer-faults-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a group can be made");
        Self(path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes are gone by now; if not, the kernel keeps it.
        let _ = fs::remove_dir(&self.0);
    }
}
