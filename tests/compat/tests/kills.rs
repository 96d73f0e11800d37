//! kill -9 of the node under a producer: what was acknowledged is there.

use std::time::Duration;

use aquifer_compat::{Node, Script};

const LIMIT: Duration = Duration::from_secs(300);

/// Rounds of kill and restart; `AQUIFER_COMPAT_KILLS` asks for more.
fn rounds() -> u32 {
    std::env::var("AQUIFER_COMPAT_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

async fn acknowledged_records_survive_kills(kind: &str, codec: &str) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path(), &[("store.offload.interval.ms", "200")]).await;
    let arguments = [&node.bootstrap(), "killed", kind, codec];
    let Some(mut script) = Script::start("producers.py", &arguments).await else { return };
    for _ in 0..rounds() {
        script.tell("run 3000").await;
        script.expect("ran", LIMIT).await;
        node.kill();
        node.start_again().await;
    }
    script.tell("run 1000").await;
    script.expect("ran", LIMIT).await;
    script.tell("stop").await;
    script.expect("acked", LIMIT).await;
    // The last kill comes when nothing is under way: the newest acknowledged record counts too.
    node.kill();
    node.start_again().await;
    script.tell("verify").await;
    script.finish(LIMIT).await;
    node.stop().await;
}

#[tokio::test]
async fn an_idempotent_producers_records_are_there_once_and_in_order() {
    acknowledged_records_survive_kills("idempotent", "none").await;
}

#[tokio::test]
async fn a_plain_producers_acknowledged_records_are_there() {
    acknowledged_records_survive_kills("plain", "lz4").await;
}
