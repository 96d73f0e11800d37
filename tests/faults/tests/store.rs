//! The object store fails in every way under load: nothing is lost, and once it is back all is as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aquifer_faults::{FalseClock, Hostile, Kept, Load, Scale, away, fetch, measured, read, settled};
use aquifer_harness::{Node, run_script};
use aquifer_services::{Fault, Hdfs, Minio, Proxy, or_skip};
use tokio::time::{Instant, sleep, timeout};

const LIMIT: Duration = Duration::from_secs(300);
const BUCKET: &str = "aquifer";
/// As far as an earlier life of the node may have prepared objects ahead.
const PREPARED_HOURS: i64 = 2;

struct Site {
    minio: Minio,
    proxy: Proxy,
    node: Node,
}

impl Site {
    async fn start(dir: &Path, settings: &[(&str, &str)]) -> Option<Self> {
        let minio = or_skip(Minio::start().await)?;
        minio.create_bucket(BUCKET);
        let proxy = Proxy::start(minio.port()).await;
        let endpoint = proxy.endpoint();
        let own = [
            ("store.url", "s3://aquifer/fire"),
            ("store.s3.endpoint", endpoint.as_str()),
            ("store.s3.access.key", Minio::ACCESS_KEY),
            ("store.s3.secret.key", Minio::ACCESS_KEY),
            ("store.offload.bytes", "2MiB"),
            ("store.offload.interval.ms", "300"),
            ("store.delete.delay.ms", "0"),
            ("wal.unoffloaded.max.bytes", "16MiB"),
            ("wal.retain.after.offload.ms", "0"),
            ("cache.log.bytes", "1MiB"),
            ("cache.block.bytes", "8MiB"),
            ("log.retention.check.interval.ms", "500"),
        ];
        let node = Node::start(dir, &[&own, settings].concat()).await;
        Some(Self { minio, proxy, node })
    }

    /// The store is well again: everything is offloaded while nothing more comes; how long that took.
    async fn recovered(&self, load: &mut Load) -> Duration {
        self.proxy.heal();
        load.rest().await;
        let took = settled(&self.node, LIMIT).await;
        load.go().await;
        took
    }

    /// After its topics are deleted the store holds nothing but uploads whose outcome was unknown: those are kept for an
    /// hour, in case they are still on their way. That they go then is shown on a store that takes any clock.
    async fn leaves_nothing(mut self, topics: &[&str]) {
        let unknown = self.node.metric("aquifer_upload_failures_total").await.expect("the node runs");
        for topic in topics {
            delete(&self.node, topic).await;
        }
        let start = Instant::now();
        loop {
            let keys = self.minio.keys(BUCKET);
            let objects: Vec<&String> = keys.iter().filter(|key| key.contains("/data/")).collect();
            if objects.len() as u64 <= unknown {
                break;
            }
            assert!(
                start.elapsed() < LIMIT,
                "{} orphans, {unknown} failed uploads: {objects:?}\n{}",
                objects.len(),
                self.node.log()
            );
            sleep(Duration::from_millis(200)).await;
        }
        self.node.stop().await;
    }
}

async fn delete(node: &Node, topic: &str) {
    let arguments = ["delete-topic", &node.bootstrap(), topic];
    let said = run_script("topic.py", &arguments, "deleted", LIMIT).await.expect("the clients are there");
    assert_eq!(said.len(), 1, "the topic is deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_a_kill_ended_leave_no_orphan() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let settings = [
        ("store.offload.interval.ms", "100"),
        ("store.delete.delay.ms", "0"),
        ("auto.create.topics.enable", "false"),
    ];
    let mut node = Node::prepare(dir.path(), &settings);
    let Some(clock) = FalseClock::under(&mut node) else { return };
    node.start_again().await;
    let options = ["size=20000", "burst=20"];
    let Some(mut load) = Load::start(dir.path(), &node.bootstrap(), "killed", &options).await else { return };
    for _ in 0..Scale::chosen().of(5, 50) {
        load.run(200).await;
        node.kill();
        node.start_again().await;
    }
    load.stop().await;
    load.check(dir.path(), Kept::All).await;
    delete(&node, "killed").await;
    node.stop().await;
    clock.set(PREPARED_HOURS);
    node.start_again().await;
    let store = dir.path().join("store");
    let start = Instant::now();
    loop {
        let objects = objects(&store);
        if objects.is_empty() {
            break;
        }
        assert!(start.elapsed() < LIMIT, "orphans stay: {objects:?}\n{}", node.log());
        sleep(Duration::from_millis(200)).await;
    }
    node.stop().await;
    measured(
        "store, uploads ended by kills: every object that nobody needs is gone after the topic and an hour",
    );
}

/// The objects of a file store; what is only staged has a `#` in its name.
fn objects(store: &Path) -> Vec<PathBuf> {
    let mut objects = Vec::new();
    let mut directories = vec![store.join("data")];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                directories.push(path);
            } else if !path.to_string_lossy().contains('#') {
                objects.push(path);
            }
        }
    }
    objects
}

/// Reads a topic from its begin, again and again, until `load` is over; how often.
async fn reading(node: &Node, dir: &Path, topic: &str, load: impl Future<Output = ()>) -> u32 {
    let (out, bootstrap) = (dir.join("again"), node.bootstrap());
    let mut load = std::pin::pin!(load);
    let mut rounds = 0;
    loop {
        tokio::select! {
            () = &mut load => return rounds,
            _ = read(&bootstrap, topic, 3, 20_000, &out, &[]) => rounds += 1,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_misbehaves_costs_time_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let scale = Scale::chosen();
    let late = scale.seconds(4, 30);
    let limit = scale.of("2000", "15000");
    let Some(site) = Site::start(dir.path(), &[("store.time.limit.ms", limit)]).await else { return };
    let cold = ["size=20000", "partitions=3", "pace_ms=0"];
    let Some(mut cold) = Load::start(dir.path(), &site.node.bootstrap(), "cold", &cold).await else { return };
    cold.run(1_500).await;
    cold.stop().await;
    let hot = ["burst=20", "pace_ms=10"];
    let mut load =
        Load::start(dir.path(), &site.node.bootstrap(), "hot", &hot).await.expect("the clients are there");
    load.run(100).await;

    type Phase = (&'static str, &'static str, usize, Fault);
    let phases: [Phase; 7] = [
        ("SlowDown to half of all", "", 2, Fault::Answer(503, "SlowDown")),
        ("every third PUT answered late", "PUT", 3, Fault::Delay(late)),
        ("half of the replies of PUTs lost", "PUT", 2, Fault::LoseReply),
        ("every third request lost", "", 3, Fault::LoseRequest),
        ("every third download truncated", "GET", 3, Fault::Truncate(1_000)),
        // A second download of the same bytes is what the node tries; two damaged in a row are told to the consumer.
        ("every eighth download damaged", "GET", 8, Fault::Damage(1_000)),
        ("every second PUT answered by an error", "PUT", 2, Fault::Answer(500, "InternalError")),
    ];
    for (what, method, many, fault) in phases {
        let met = site.proxy.met();
        let before = load.counts().await;
        site.proxy.inject_one_of(many, method, "/data/", fault);
        let lasts =
            scale.seconds(4, 60).max(if fault == Fault::Delay(late) { late * 2 } else { Duration::ZERO });
        let rounds = reading(&site.node, dir.path(), "cold", sleep(lasts)).await;
        let met = site.proxy.met() - met;
        let took = site.recovered(&mut load).await;
        let after = load.counts().await;
        measured(&format!(
            "store, {what}: {met} faults in {lasts:?}, {} records acknowledged, {rounds} cold reads; all offloaded {:.1} s \
             after",
            after[0] - before[0],
            took.as_secs_f64()
        ));
        assert!(met > 0, "{what}: no request met it");
        assert_eq!(after[1], 0, "{what}: records failed");
    }
    load.stop().await;
    load.check(dir.path(), Kept::All).await;
    cold.check(dir.path(), Kept::All).await;
    settled(&site.node, LIMIT).await;
    site.leaves_nothing(&["hot", "cold"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_is_waited_for_with_a_full_wal() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(mut site) = Site::start(dir.path(), &[("store.time.limit.ms", "2000")]).await else { return };
    let options = ["size=20000", "burst=20", "pace_ms=20"];
    let Some(mut load) = Load::start(dir.path(), &site.node.bootstrap(), "away", &options).await else {
        return;
    };
    load.run(100).await;
    // A client that gives up soon hears a retriable error and nothing worse.
    let brief = ["kind=plain", "size=20000", "burst=2", "timeout_ms=3000"];
    let mut brief = Load::start(dir.path(), &site.node.bootstrap(), "brief", &brief).await.expect("as above");
    brief.run(20).await;

    away(&site.proxy);
    let begin = load.counts().await[0];
    let limit = site.node.metric("aquifer_wal_unoffloaded_limit_bytes").await.expect("the node runs");
    let lasts = Scale::chosen().seconds(10, 120);
    let start = Instant::now();
    let mut most = 0;
    while start.elapsed() < lasts {
        let waiting = site.node.metric("aquifer_wal_unoffloaded_bytes").await.expect("the node runs");
        most = most.max(waiting);
        sleep(Duration::from_millis(100)).await;
    }
    assert!(most >= limit / 2, "produce stopped at {most} of {limit} bytes");
    assert!(most <= limit, "{most} bytes wait, the limit is {limit}");
    let during = load.counts().await;
    assert_eq!(during[1], 0, "an idempotent producer with time left must not fail");
    let brief_said = brief.stop().await;
    let took = site.recovered(&mut load).await;
    load.run(500).await;

    // MinIO itself is killed under uploads, and is back with what it has.
    for _ in 0..Scale::chosen().of(2, 20) {
        load.run(300).await;
        site.minio.kill();
        sleep(Duration::from_millis(700)).await;
        site.minio.restart().await.expect("it starts again");
    }
    load.run(500).await;
    load.stop().await;
    settled(&site.node, LIMIT).await;
    // From the store alone.
    site.node.stop().await;
    site.node.start_again().await;
    load.check(dir.path(), Kept::All).await;
    let brief = brief.check(dir.path(), Kept::All).await;
    measured(&format!(
        "store away for {lasts:?}: {} records acknowledged until {} of {} KiB waited; all offloaded {:.1} s after it was \
         back; a producer with 3 s of patience: {} failed ({brief_said})",
        during[0] - begin,
        most >> 10,
        limit >> 10,
        took.as_secs_f64(),
        brief.failed(),
    ));
    site.leaves_nothing(&["away", "brief"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_store_that_is_away_hold_up_nobody_at_the_tail() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(mut site) = Site::start(dir.path(), &[("store.time.limit.ms", "2000")]).await else { return };
    let bootstrap = site.node.bootstrap();
    let Some(mut cold) = Load::start(dir.path(), &bootstrap, "cold", &["size=20000", "pace_ms=0"]).await
    else {
        return;
    };
    cold.run(1_500).await;
    cold.stop().await;
    settled(&site.node, LIMIT).await;
    away(&site.proxy);
    let mut readers = Hostile::against(site.node.port());
    for partition in 0..3 {
        // Each waits for the store until it gives up, and asks again.
        let much = fetch("cold", partition, 0, Duration::ZERO, [1, 50 << 20]).repeat(30);
        readers.send_and_sleep(10, &much).await;
    }
    let said = run_script("latency.py", &[&bootstrap, "tail", "3", "100"], "latency", LIMIT)
        .await
        .expect("the clients are there");
    site.proxy.heal();
    drop(readers);
    cold.check(dir.path(), Kept::All).await;
    site.node.stop().await;
    measured(&format!("store away, 30 consumers that wait for it: at the tail {}", said[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hdfs_loses_a_datanode_for_good_and_its_namenode_for_a_while() {
    let Some(mut hdfs) = or_skip(Hdfs::start(3).await) else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let url = format!("hdfs://{}/aquifer/fire", hdfs.address());
    let settings = [
        ("store.url", url.as_str()),
        ("store.offload.bytes", "4MiB"),
        ("wal.retain.after.offload.ms", "0"),
        ("cache.log.bytes", "1MiB"),
    ];
    let mut node = Node::start(dir.path(), &settings).await;
    let options = ["burst=100"];
    let Some(mut load) = Load::start(dir.path(), &node.bootstrap(), "hdfs", &options).await else { return };
    load.run(5_000).await;
    hdfs.kill_datanode(1);
    let scale = Scale::chosen();
    sleep(scale.seconds(8, 600)).await;
    let dead = load.counts().await;
    hdfs.kill_namenode();
    sleep(scale.seconds(5, 60)).await;
    hdfs.start_namenode().expect("it starts");
    // The NameNode counts the dead one no more; what matters is that it answers.
    load.run(5_000).await;
    load.stop().await;
    let took = settled(&node, LIMIT).await;
    node.stop().await;
    node.start_again().await;
    let history = load.check(dir.path(), Kept::All).await;
    let stopped = timeout(LIMIT, node.stop()).await;
    assert!(stopped.is_ok(), "the node stops");
    measured(&format!(
        "HDFS, one DataNode of three dead, then no NameNode for a while: {} records acknowledged while the DataNode was \
         dead, {} in all and there; all offloaded {:.1} s after",
        dead[0],
        history.acknowledged(),
        took.as_secs_f64()
    ));
}
