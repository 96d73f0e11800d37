//! Nodes of a cluster die, or hang and come back: others lead on within seconds, and nothing acknowledged is lost or repeated.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use aquifer_compat::{Cluster, Script, Target, aquifer, run_script};

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
        let hangs = round % 4 == 3;
        let command = if hangs {
            cluster.freeze(node);
            cluster.command(node)
        } else {
            cluster.kill(node)
        };
        script.tell("more").await;
        script.expect("more", LIMIT).await;
        if hangs {
            // A zombie: what it acknowledges now would be lost.
            cluster.thaw(node);
            cluster.until_ended(node).await;
        }
        cluster.start_again(node, &command).await;
    }
    script.tell("enough").await;
    script.finish(LIMIT).await;
    cluster.stop().await;
}

/// Of one node only the metadata and the store are left, round after round.
#[tokio::test]
async fn a_killed_node_without_a_durable_disk_leaves_nothing_acknowledged_behind() {
    if Target::chosen().is_kafka() {
        // It starts Aquifer's own cluster.
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut cluster = Cluster::start_with(dir.path(), NODES, &["wal.mode=object"]).await;
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
        fs::remove_dir_all(cluster.directory(node).join("wal")).expect("removed");
        cluster.start_again(node, &command).await;
    }
    script.tell("enough").await;
    script.finish(LIMIT).await;
    cluster.stop().await;
}

/// `aquifer recover`, asked of one node about another.
async fn recover(cluster: &Cluster, asked: u16, about: u16, accept_loss: bool) -> Output {
    let mut command = Command::new(aquifer());
    command.args(["recover", &about.to_string(), "--socket"]);
    command.arg(cluster.directory(asked).join("metadata/admin.sock"));
    command.args(accept_loss.then_some("--accept-loss"));
    tokio::process::Command::from(command).output().await.expect("the binary runs")
}

/// Asks again until the answer has this word.
async fn until_told(cluster: &Cluster, asked: u16, about: u16, word: &str) -> String {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let output = recover(cluster, asked, about, false).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if said.contains(word) {
            assert_eq!(output.status.code(), Some(3), "something is waited for: {said}");
            return said;
        }
        assert!(tokio::time::Instant::now() < deadline, "{said}{}", String::from_utf8_lossy(&output.stderr));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Kills all three nodes, and starts two of them without their disks.
async fn lose_two_disks(cluster: &mut Cluster) -> Command {
    let [one, two, three] = [1, 2, 3].map(|node| cluster.kill(node));
    for (node, command) in [(1, one), (3, three)] {
        fs::remove_dir_all(cluster.directory(node).join("wal")).expect("removed");
        cluster.launch(node, &command);
    }
    two
}

#[tokio::test]
async fn records_wait_for_their_last_copy_until_it_is_back_or_given_up() {
    if Target::chosen().is_kafka() {
        // It starts Aquifer's own cluster.
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut cluster = Cluster::start(dir.path(), NODES).await;
    cluster.until_copies(3).await;
    let bootstrap = cluster.bootstrap();
    let fill = ["write", &bootstrap, "kept", "3000", "100"];
    if run_script("fill.py", &fill, "written", LIMIT).await.is_none() {
        return;
    }
    let two = lose_two_disks(&mut cluster).await;
    let said = until_told(&cluster, 1, 2, "0 trustworthy copies answer, 1 must").await;
    assert!(said.contains("aquifer recover 2 --accept-loss"), "{said}");
    for accept_loss in [false, true] {
        let output = recover(&cluster, 1, 9, accept_loss).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("there is no broker 9 in this cluster: its brokers are 1, 2, 3"), "{said}");
    }
    cluster.start_again(2, &two).await;
    for node in [1, 3] {
        cluster.until_ready(node).await;
    }
    let read = run_script("fill.py", &["read", &bootstrap, "kept", "0"], "read", LIMIT).await;
    assert_eq!(read.expect("it ran before"), ["read 3000"], "the third node has copies of all of it");

    let _gone = lose_two_disks(&mut cluster).await;
    // The starting nodes end what they left themselves; either can be asked to give up what the third one left.
    for (asked, about) in [(1, 1), (3, 3), (1, 2)] {
        until_told(&cluster, asked, about, "trustworthy copies answer").await;
        let output = recover(&cluster, asked, about, true).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("given up of node"), "{said}");
    }
    for node in [1, 3] {
        cluster.until_ready(node).await;
    }
    run_script("fill.py", &["write", &bootstrap, "later", "500", "100"], "written", LIMIT)
        .await
        .expect("it ran before");
    cluster.stop().await;
}
