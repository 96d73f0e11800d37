//! Three real processes: partitions go from node to node by Kafka's own tools, under clients that must not notice.

use std::fs;
use std::time::Duration;

use aquifer_compat::{Cluster, JavaTools, Script, Target};

const LIMIT: Duration = Duration::from_secs(180);
const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
const ELECT: &str = "org.apache.kafka.tools.LeaderElectionCommand";
const PARTITIONS: usize = 6;

/// A plan for `kafka-reassign-partitions.sh` with the replicas that `of` gives each partition.
fn plan(of: impl Fn(usize) -> String) -> String {
    let partitions = (0..PARTITIONS)
        .map(|index| format!(r#"{{"topic":"events","partition":{index},"replicas":[{}]}}"#, of(index)));
    format!(r#"{{"version":1,"partitions":[{}]}}"#, partitions.collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn partitions_move_by_kafkas_tools_and_no_client_notices() {
    if Target::chosen().is_kafka() {
        // It starts Aquifer's own cluster.
        return;
    }
    let Some(mut tools) = JavaTools::start().await else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    // The preferred leaders are to be elected by the tool, not before it.
    let cluster = Cluster::start_with(dir.path(), 3, &["auto.leader.rebalance.enable=false"]).await;
    let bootstrap = cluster.bootstrap();
    let Some(mut script) = Script::start("moves.py", &[&bootstrap, "events", &PARTITIONS.to_string()]).await
    else {
        return;
    };
    script.expect("going", LIMIT).await;

    let file = dir.path().join("plan.json");
    let name = file.to_str().expect("a path of letters");
    for round in 0..3 {
        // Each partition to the next node, and in the end to where it began.
        fs::write(&file, plan(|index| ((index + round + 1) % 3 + 1).to_string())).expect("written");
        let mut reassign = async |action: &str| {
            let all = ["--bootstrap-server", &bootstrap, "--reassignment-json-file", name, action];
            tools.run(REASSIGN, &all).await.ok()
        };
        let said = reassign("--execute").await;
        assert!(said.contains("Successfully started partition reassignments"), "{said}");
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            let said = reassign("--verify").await;
            if said.matches("is completed").count() == PARTITIONS {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "round {round}: {said}");
        }
    }

    // A leader among the new replicas stays, until the preferred one is elected.
    fs::write(&file, plan(|_| "1,2,3".to_owned())).expect("written");
    let all = ["--bootstrap-server", &bootstrap, "--reassignment-json-file", name, "--execute"];
    tools.run(REASSIGN, &all).await.ok();
    let all = ["--bootstrap-server", &bootstrap, "--election-type", "preferred", "--all-topic-partitions"];
    let said = tools.run(ELECT, &all).await.ok();
    assert!(said.contains("Successfully completed leader election (PREFERRED)"), "{said}");

    script.tell("enough").await;
    script.finish(LIMIT).await;
    cluster.stop().await;
}
