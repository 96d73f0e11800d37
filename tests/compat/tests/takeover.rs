//! kill -9 of nodes of a cluster: others lead on within seconds, and nothing acknowledged is lost or repeated.

use std::time::Duration;

use aquifer_compat::{Cluster, Script, Target};

const LIMIT: Duration = Duration::from_secs(180);
const PARTITIONS: usize = 6;
const NODES: u16 = 3;

/// Rounds of kill and restart; `AQUIFER_COMPAT_KILLS` asks for more.
fn rounds() -> u16 {
    std::env::var("AQUIFER_COMPAT_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

#[tokio::test]
async fn a_killed_nodes_partitions_go_on_elsewhere_and_nothing_acknowledged_is_lost() {
    if Target::chosen().is_kafka() {
        // It starts Aquifer's own cluster.
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut cluster = Cluster::start(dir.path(), NODES).await;
    let bootstrap = cluster.bootstrap();
    let Some(mut script) = Script::start("moves.py", &[&bootstrap, "events", &PARTITIONS.to_string()]).await
    else {
        return;
    };
    script.expect("going", LIMIT).await;
    for round in 0..rounds() {
        let node = round % NODES + 1;
        let command = cluster.kill(node);
        script.tell("more").await;
        script.expect("more", LIMIT).await;
        cluster.start_again(node, &command).await;
    }
    script.tell("enough").await;
    script.finish(LIMIT).await;
    cluster.stop().await;
}
