//! Nodes stop, are drained and leave for good under clients that must not notice.

use std::time::Duration;

use aquifer_compat::{Cluster, Script, Target};

const LIMIT: Duration = Duration::from_secs(180);
const PARTITIONS: usize = 6;
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

async fn going(cluster: &Cluster) -> Option<Script> {
    let mut script =
        Script::start("moves.py", &[&cluster.bootstrap(), "events", &PARTITIONS.to_string()]).await?;
    script.expect("going", LIMIT).await;
    Some(script)
}

async fn more(script: &mut Script) {
    script.tell("more").await;
    script.expect("more", LIMIT).await;
}

/// The group has gone on as it was, and all that was acknowledged was read once.
async fn well(mut script: Script) {
    script.tell("rebalances").await;
    assert_eq!(script.expect("rebalances", LIMIT).await, "0");
    script.tell("enough").await;
    script.finish(LIMIT).await;
}

/// Waits until `node` may be stopped, as an operator's tool does.
async fn until_safe(cluster: &Cluster, via: u16, node: u16) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let (code, said) = cluster.node_command(via, &["safe-to-stop", &node.to_string()]).await;
        match code {
            0 => return,
            3 => assert!(tokio::time::Instant::now() < deadline, "node {node} may never be stopped: {said}"),
            _ => panic!("safe-to-stop exits with {code}: {said}"),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[tokio::test]
async fn a_rolling_restart_of_every_node_is_unseen_by_clients() {
    if Target::chosen().is_kafka() {
        // It starts Aquifer's own cluster.
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut cluster = Cluster::start(dir.path(), 3).await;
    let Some(mut script) = going(&cluster).await else { return };
    for node in 1..=3 {
        until_safe(&cluster, node % 3 + 1, node).await;
        let command = cluster.terminate(node).await;
        let said = cluster.node_log(node);
        assert!(said.contains("others lead what this broker led"), "{said}");
        more(&mut script).await;
        cluster.start_again(node, &command).await;
        more(&mut script).await;
    }
    well(script).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_drained_node_leads_nothing_until_it_is_resumed_and_no_client_notices() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = Cluster::start(dir.path(), 3).await;
    let Some(mut script) = going(&cluster).await else { return };

    let (code, said) = cluster.node_command(1, &["drain", "2"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("leads nothing"), "{said}");
    let report = cluster.describe(3, 2).await;
    assert_eq!((report["state"].as_str(), report["leads"].as_u64()), (Some("drained"), Some(0)), "{report}");
    more(&mut script).await;

    until_safe(&cluster, 1, 2).await;
    // Only one other takes part in the WAL while 2 is drained.
    let (code, said) = cluster.node_command(2, &["safe-to-stop", "1", "--format", "json"]).await;
    assert_eq!(code, 3, "{said}");
    let verdict: serde_json::Value = serde_json::from_str(&said).expect("a line of JSON");
    assert_eq!((verdict["node"].as_u64(), verdict["safe"].as_bool()), (Some(1), Some(false)));
    assert!(verdict["reasons"][0].as_str().is_some_and(|reason| reason.contains("would be left")), "{said}");
    let (code, said) = cluster.node_command(2, &["safe-to-stop", "9"]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("there is no node 9"), "{said}");

    let (code, said) = cluster.node_command(3, &["resume", "2", "--format", "json"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(r#""state":"in-service""#), "{said}");
    let deadline = tokio::time::Instant::now() + LIMIT;
    while cluster.describe(1, 2).await["leads"] == 0 {
        assert!(tokio::time::Instant::now() < deadline, "it never gets its share");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    more(&mut script).await;
    well(script).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_decommissioned_controller_is_forgotten_and_not_let_in_again() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cluster = Cluster::start(dir.path(), 4).await;
    let Some(mut script) = going(&cluster).await else { return };
    let command = cluster.command(3);
    let (code, said) = cluster.node_command(1, &["decommission", "3", "--timeout", "120"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("it may be switched off"), "{said}");
    more(&mut script).await;
    let said = cluster.until_ended(3).await;
    assert!(said.contains("nothing of this node is left in the cluster"), "{said}");
    let report = cluster.describe(4, 3).await;
    assert_eq!((report["state"].as_str(), report["voter"].as_bool()), (Some("decommissioned"), Some(false)));

    let mut again = tokio::process::Command::from(command);
    let output = again.kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, output).await.expect("it ends by itself").expect("it runs");
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("aquifer node resume 3"), "{said}");
    well(script).await;
    cluster.stop().await;
}
