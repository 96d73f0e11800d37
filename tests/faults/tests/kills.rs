//! kill -9 at random moments under producers, a group, topic changes, uploads and retention.

use std::time::Duration;

use aquifer_faults::{Kept, Load, Scale, away, measured, memory_mib};
use aquifer_harness::{Node, Script};
use aquifer_runtime::Random;
use aquifer_services::{Minio, Proxy, or_skip};
use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(300);
/// The longest that a node lives between two kills.
const LIFE_MS: u64 = 1_500;

const SETTINGS: &[(&str, &str)] = &[
    ("store.offload.interval.ms", "100"),
    ("store.delete.delay.ms", "500"),
    ("log.retention.check.interval.ms", "200"),
    ("wal.retain.after.offload.ms", "500"),
    // A producer that still knows a deleted topic would make it again.
    ("auto.create.topics.enable", "false"),
];

/// Rounds of kill and restart; `AQUIFER_FAULTS_KILLS` asks for another number.
fn rounds() -> u32 {
    let asked = std::env::var("AQUIFER_FAULTS_KILLS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or_else(|| Scale::chosen().of(10, 300))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_kills_at_random_moments() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path();
    let mut node = Node::start(path, SETTINGS).await;
    let bootstrap = node.bootstrap();
    let idempotent = ["kind=idempotent"];
    let Some(mut idempotent) = Load::start(path, &bootstrap, "idempotent", &idempotent).await else { return };
    let plain = ["kind=plain", "codec=lz4", "burst=20"];
    let mut plain = Load::start(path, &bootstrap, "plain", &plain).await.expect("the clients are there");
    let short_lived = ["burst=20", "config.retention.bytes=1000000"];
    let mut short_lived =
        Load::start(path, &bootstrap, "short", &short_lived).await.expect("the clients are there");
    let mut group =
        Script::start("commit.py", &[&bootstrap, "plain", "3", "under-fire"]).await.expect("as above");
    let mut topics = Script::start("churn.py", &[&bootstrap]).await.expect("as above");
    idempotent.run(100).await;

    let seed = Random::from_os().next_u64();
    let random = Random::seeded(seed);
    let mut restarts = Vec::new();
    for _ in 0..rounds() {
        sleep(Duration::from_millis(random.below(LIFE_MS))).await;
        node.kill();
        let start = Instant::now();
        node.start_again().await;
        restarts.push(start.elapsed());
    }
    for load in [&mut idempotent, &mut plain, &mut short_lived] {
        load.run(100).await;
        load.stop().await;
    }
    for script in [&mut group, &mut topics] {
        script.tell("stop").await;
        script.expect("stopped", LIMIT).await;
    }
    // The last kill comes when nothing is under way: the newest acknowledged record counts too.
    node.kill();
    node.start_again().await;
    let counted = [
        idempotent.check(path, Kept::All).await.acknowledged(),
        plain.check(path, Kept::All).await.acknowledged(),
        short_lived.check(path, Kept::Tail).await.acknowledged(),
    ];
    let mut words = Vec::new();
    for mut script in [group, topics] {
        script.tell("check").await;
        words.push(script.expect("checked", LIMIT).await);
    }
    node.stop().await;
    restarts.sort_unstable();
    let (half, most) = (restarts[restarts.len() / 2], restarts[restarts.len() - 1]);
    measured(&format!(
        "kills: {} rounds (seed {seed}), {counted:?} records acknowledged and there, {}, {}; ready again after \
         {:.2} s in the median, {:.2} s at most",
        restarts.len(),
        words[0],
        words[1],
        half.as_secs_f64(),
        most.as_secs_f64()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_full_wal_is_back_soon_after_a_kill() {
    let Some(minio) = or_skip(Minio::start().await) else { return };
    minio.create_bucket("aquifer");
    let proxy = Proxy::start(minio.port()).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let endpoint = proxy.endpoint();
    let settings = [
        ("store.url", "s3://aquifer"),
        ("store.s3.endpoint", &endpoint),
        ("store.s3.access.key", Minio::ACCESS_KEY),
        ("store.s3.secret.key", Minio::ACCESS_KEY),
        ("wal.size", "1GiB"),
        ("store.time.limit.ms", "2000"),
    ];
    let mut node = Node::start(dir.path(), &settings).await;
    away(&proxy);
    let options = ["kind=idempotent", "size=40000", "pace_ms=0", "partitions=16"];
    let Some(mut load) = Load::start(dir.path(), &node.bootstrap(), "full", &options).await else { return };
    let limit = node.metric("aquifer_wal_unoffloaded_limit_bytes").await.expect("the node runs");
    let start = Instant::now();
    let filled = loop {
        let waiting = node.metric("aquifer_wal_unoffloaded_bytes").await.expect("the node runs");
        if waiting > limit / 100 * 88 {
            break waiting;
        }
        assert!(start.elapsed() < LIMIT, "the WAL does not fill: {waiting} of {limit} bytes");
        sleep(Duration::from_millis(50)).await;
    };
    let (_, before) = memory_mib(node.id());
    node.kill();
    let start = Instant::now();
    node.start_again().await;
    let took = start.elapsed();
    let (now, most) = memory_mib(node.id());
    proxy.heal();
    load.stop().await;
    load.check(dir.path(), Kept::All).await;
    node.stop().await;
    measured(&format!(
        "restart with {} MiB in the WAL: ready after {:.2} s; memory {before} MiB at most before, {now} MiB ({most} at \
         most) after",
        filled >> 20,
        took.as_secs_f64()
    ));
}
