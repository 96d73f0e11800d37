//! Clients that misbehave by the thousand: others go on, and memory stays in its budget.

use std::fs;
use std::path::Path;
use std::time::Duration;

use aquifer_faults::{Hostile, Kept, Load, Scale, fetch, framed, measured, memory_mib, read};
use aquifer_harness::{LIMIT, Node, run_script};
use aquifer_services::skip;
use tokio::time::sleep;

/// What the documents promise: caches and requests in flight, and what the process needs beside them.
const MEMORY_MIB: u64 = 512;
/// Longest request that a node takes.
const MAX_REQUEST: usize = 100 << 20;
/// Of a Produce request, as far as its client came; enough for the node to claim memory for all of it.
const BEGUN: usize = 70_000;

async fn latency(node: &Node, topic: &str, seconds: u64) -> Option<String> {
    let arguments = [&node.bootstrap(), topic, &seconds.to_string(), "200"];
    let said = run_script("latency.py", &arguments, "latency", LIMIT).await?;
    Some(said[0].replace("latency ", ""))
}

/// A Produce request (version 9) of `size` bytes of which little was sent.
fn begun_produce(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; BEGUN];
    bytes[..10].copy_from_slice(&[0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff]);
    framed(&bytes, size)
}

/// A node with a topic `data` that is larger than what sockets hold.
async fn filled(dir: &Path, settings: &[(&str, &str)]) -> Option<Node> {
    let node = Node::start(dir, settings).await;
    let options = ["size=40000", "partitions=1", "pace_ms=0"];
    let mut load = Load::start(dir, &node.bootstrap(), "data", &options).await?;
    load.run(1_500).await;
    load.stop().await;
    load.check(dir, Kept::All).await;
    Some(node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_clients_that_misbehave_are_hardly_noticed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let scale = Scale::chosen();
    let Some(mut node) = filled(dir.path(), &[]).await else { return };
    let seconds = scale.of(4, 30);
    let without = latency(&node, "without", seconds).await.expect("the clients are there");
    let (rest, _) = memory_mib(node.id());

    let mut hostile = Hostile::against(node.port());
    hostile.send_and_sleep(scale.of(1_000, 2_500), &[]).await;
    hostile.send_and_sleep(scale.of(300, 800), &framed(&[0, 3, 0], 60)).await;
    // Each asks for megabytes, and reads nothing.
    let much = fetch("data", 0, 0, Duration::ZERO, [1, 8 << 20]);
    hostile.send_and_sleep(scale.of(100, 500), &much).await;
    hostile.trickle(scale.of(50, 100), &much, false).await;
    let waiting = fetch("without", 0, i64::from(i32::MAX), Duration::from_secs(300), [1 << 20, 1 << 20]);
    hostile.send_and_sleep(scale.of(10, 100), &waiting).await;
    let waiting = fetch("empty", 0, 0, Duration::from_secs(300), [1 << 20, 1 << 20]);
    hostile.send_and_sleep(1_000, &waiting).await;
    // Hundreds of requests in a row from one that reads no reply.
    hostile.send_and_sleep(5, &much.repeat(500)).await;
    let with = latency(&node, "with", seconds).await.expect("the clients are there");
    let (now, most) = memory_mib(node.id());
    let count = hostile.count();
    drop(hostile);
    read(&node.bootstrap(), "data", 1, 40_000, &dir.path().join("again"), &[]).await;
    node.stop().await;
    measured(&format!(
        "clients: ack p50 p99, read p50 p99 in ms, and records: {without} alone, {with} beside {count} that misbehave; \
         memory {rest} MiB before, {now} MiB with them, {most} MiB at most"
    ));
    assert!(most <= MEMORY_MIB, "the node held {most} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_stop_in_the_middle_hold_up_nobody() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(mut node) = filled(dir.path(), &[]).await else { return };
    let mut hostile = Hostile::against(node.port());
    // Any two of these would take all memory that there is for requests.
    hostile.trickle(4, &begun_produce(90 << 20), true).await;
    hostile.trickle(200, &begun_produce(1 << 20), true).await;
    let mut other = begun_produce(90 << 20);
    other[4..8].copy_from_slice(&[0, 11, 0, 5]);
    hostile.trickle(4, &other, true).await;
    let said = latency(&node, "beside", 3).await.expect("the clients are there");
    let (_, most) = memory_mib(node.id());
    drop(hostile);
    node.stop().await;
    measured(&format!("clients: {said} beside 208 requests that trickle in; memory {most} MiB at most"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_nobody_takes_hold_up_nobody() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(mut node) = filled(dir.path(), &[]).await else { return };
    let mut hostile = Hostile::against(node.port());
    let much = fetch("data", 0, 0, Duration::ZERO, [1, 50 << 20]);
    hostile.trickle(300, &much, false).await;
    sleep(Duration::from_secs(1)).await;
    let said = latency(&node, "beside", 3).await.expect("the clients are there");
    let (_, most) = memory_mib(node.id());
    drop(hostile);
    node.stop().await;
    measured(&format!("clients: {said} beside 300 that read one byte a second; memory {most} MiB at most"));
    assert!(most <= MEMORY_MIB, "the node held {most} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_every_size_limit_is_answered_or_closed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path(), &[]).await;
    let hostile = Hostile::against(node.port());
    let api_versions = [0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    assert!(hostile.answered(&framed(&api_versions, api_versions.len()), LIMIT).await);
    for size in [0_usize, 1, 2, 7, MAX_REQUEST + 1, i32::MAX as usize, 1 << 31, u32::MAX as usize] {
        let bytes = framed(&api_versions[..size.min(7)], size);
        assert!(!hostile.answered(&bytes, LIMIT).await, "a request of {size} bytes gets no answer");
    }
    for size in [(64 << 10) - 1, 64 << 10, (64 << 10) + 1, 1 << 20, MAX_REQUEST - 1, MAX_REQUEST] {
        // Zeros are no batches and no topics; whatever the answer, the node takes the request whole.
        let mut bytes = vec![0; size];
        bytes[..10].copy_from_slice(&[0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff]);
        hostile.answered(&framed(&bytes, size), LIMIT).await;
    }
    assert!(node.ended().is_none(), "the node serves on");
    assert!(hostile.answered(&framed(&api_versions, api_versions.len()), LIMIT).await);
    let (_, most) = memory_mib(node.id());
    node.stop().await;
    measured(&format!(
        "clients: requests of 0 bytes to {MAX_REQUEST}, and beyond; memory {most} MiB at most"
    ));
}

/// A memory control group of cgroup v1, removed when it is dropped.
struct MemoryGroup(std::path::PathBuf);

impl MemoryGroup {
    fn make(limit: u64) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup/memory");
        if !root.join("memory.limit_in_bytes").exists() {
            skip("a memory limit needs the memory controller of cgroup v1");
            return None;
        }
        let path = root.join(format!("aquifer-faults-{}", std::process::id()));
        let made = fs::create_dir_all(&path)
            .and_then(|()| fs::write(path.join("memory.limit_in_bytes"), limit.to_string()));
        if let Err(error) = made {
            skip(&format!("a memory limit needs root: {error}"));
            return None;
        }
        Some(Self(path))
    }

    fn number(&self, name: &str) -> u64 {
        let text = fs::read_to_string(self.0.join(name)).expect("the kernel tells it");
        text.trim().parse().expect("a number")
    }

    fn killed(&self) -> bool {
        let text = fs::read_to_string(self.0.join("memory.oom_control")).expect("the kernel tells it");
        text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Its processes are gone by now; if not, the kernel keeps it.
        let _ = fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overload_in_512_mib_kills_nothing() {
    let Some(group) = MemoryGroup::make(512 << 20) else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    // It finds the limit by itself, and fits its budgets.
    let settings = [
        ("wal.size", "1GiB"),
        ("log.retention.check.interval.ms", "1000"),
        ("store.delete.delay.ms", "10000"),
    ];
    let mut node = Node::prepare(dir.path(), &settings);
    let procs = group.0.join("cgroup.procs").display().to_string();
    node.start_through(&["sh", "-c", &format!("echo $$ > {procs} && exec \"$0\" \"$@\"")]);
    node.start_again().await;
    let bootstrap = node.bootstrap();
    let mut loads = Vec::new();
    for topic in ["one", "two", "three"] {
        let mut options = vec!["size=40000", "partitions=16", "pace_ms=0", "burst=200"];
        // In ten minutes far more is written than the disk holds.
        options.extend(Scale::chosen().of(None, Some("config.retention.bytes=100000000")));
        let Some(load) = Load::start(dir.path(), &bootstrap, topic, &options).await else { return };
        loads.push(load);
    }
    let kept = Scale::chosen().of(Kept::All, Kept::Tail);
    let mut hostile = Hostile::against(node.port());
    sleep(Duration::from_secs(2)).await;
    for partition in 0..16 {
        let much = fetch("one", partition, 0, Duration::ZERO, [1, 50 << 20]);
        hostile.send_and_sleep(20, &much).await;
    }
    let lasts = Scale::chosen().seconds(10, 600);
    sleep(lasts).await;
    let mut acknowledged = 0;
    for load in &mut loads {
        acknowledged += load.counts().await[0];
        load.stop().await;
    }
    assert!(node.ended().is_none() && !group.killed(), "out of memory:\n{}", node.log());
    let (_, most) = memory_mib(node.id());
    let limit_met = group.number("memory.failcnt");
    drop(hostile);
    for load in &loads {
        load.check(dir.path(), kept).await;
    }
    node.stop().await;
    measured(&format!(
        "overload in a memory group of 512 MiB for {lasts:?}: {acknowledged} records of 20 kB acknowledged and there; the \
         node held {most} MiB at most, and the group's limit (page cache included) was met {limit_met} times"
    ));
}
