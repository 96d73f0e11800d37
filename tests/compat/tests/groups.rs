//! Consumer groups of several members through joins, leaves and restarts of the node.

use std::time::Duration;

use aquifer_compat::{JavaTools, Node, Script, run_script};

const LIMIT: Duration = Duration::from_secs(180);
const CONSUMER_GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

/// Each record is processed at least once, and what was committed is there after every restart: one graceful,
/// one after a kill, and one when the group is empty.
async fn a_group_survives(strategy: &str) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path(), &[("group.min.session.timeout.ms", "6000")]).await;
    let arguments = [&node.bootstrap(), "events", "workers", strategy];
    let Some(mut script) = Script::start("group.py", &arguments).await else { return };
    script.expect("restart 0", LIMIT).await;
    node.stop().await;
    node.start_again().await;
    script.tell("go on").await;
    script.expect("restart 1", LIMIT).await;
    node.kill();
    node.start_again().await;
    script.tell("go on").await;
    script.expect("restart with committed offsets", LIMIT).await;
    node.stop().await;
    node.start_again().await;
    script.tell("go on").await;
    script.finish(LIMIT).await;
    node.stop().await;
}

#[tokio::test]
async fn each_record_is_processed_through_joins_leaves_and_restarts() {
    a_group_survives("range").await;
}

#[tokio::test]
async fn a_cooperative_group_survives_too() {
    a_group_survives("cooperative-sticky").await;
}

#[tokio::test]
async fn static_members_keep_their_partitions_and_fence_impostors() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path(), &[]).await;
    let arguments = [&node.bootstrap(), "events", "static"];
    let Some(said) = run_script("static_members.py", &arguments, "", LIMIT).await else { return };
    assert!(said.iter().any(|line| line.starts_with("fenced")), "{said:?}");
    node.stop().await;
}

#[tokio::test]
async fn the_group_tool_lists_describes_resets_and_deletes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut node = Node::start(dir.path(), &[]).await;
    let bootstrap = node.bootstrap();
    let Some(mut tools) = JavaTools::start().await else { return };
    let Some(said) = run_script("committed.py", &[&bootstrap, "events", "readers"], "done", LIMIT).await
    else {
        return;
    };
    assert_eq!(said, ["done"]);
    let mut groups = async |arguments: &[&str]| {
        let mut all = vec!["--bootstrap-server", &bootstrap];
        all.extend(arguments);
        tools.run(CONSUMER_GROUPS, &all).await
    };
    assert_eq!(groups(&["--list"]).await.ok().trim(), "readers");
    let state = groups(&["--describe", "--group", "readers", "--state"]).await.ok();
    assert!(state.contains("Empty"), "{state}");

    // committed.py wrote 30 records to each of two partitions and committed 10 and 30.
    assert_offsets(&groups(&["--describe", "--group", "readers"]).await.ok(), &["0 10 30 20", "1 30 30 0"]);
    let reset = ["--reset-offsets", "--group", "readers", "--topic", "events", "--execute"];
    let with = |how: &[&'static str]| [reset.as_slice(), how].concat();
    groups(&with(&["--to-earliest"])).await.ok();
    assert_offsets(&groups(&["--describe", "--group", "readers"]).await.ok(), &["0 0 30 30", "1 0 30 30"]);
    groups(&with(&["--shift-by", "7"])).await.ok();
    assert_offsets(&groups(&["--describe", "--group", "readers"]).await.ok(), &["0 7 30 23", "1 7 30 23"]);
    // The record at offset n has the timestamp 1 700 000 000 000 ms + n s.
    groups(&with(&["--to-datetime", "2023-11-14T22:13:32.000"])).await.ok();
    assert_offsets(&groups(&["--describe", "--group", "readers"]).await.ok(), &["0 12 30 18", "1 12 30 18"]);
    groups(&with(&["--to-latest"])).await.ok();

    groups(&["--delete-offsets", "--group", "readers", "--topic", "events:1"]).await.ok();
    let described = groups(&["--describe", "--group", "readers"]).await.ok();
    assert_offsets(&described, &["0 30 30 0"]);
    groups(&["--delete", "--group", "readers"]).await.ok();
    assert_eq!(groups(&["--list"]).await.ok().trim(), "");
    let gone = groups(&["--delete", "--group", "readers"]).await;
    let said = format!("{}{}", gone.out, gone.err);
    assert!(said.contains("GroupIdNotFoundException"), "{said}");
    node.stop().await;
}

/// The columns partition, current offset, log end offset and lag of each line about `events`.
fn assert_offsets(described: &str, expected: &[&str]) {
    let mut found: Vec<String> = described
        .lines()
        .filter_map(|line| line.split_once(" events "))
        .map(|(_, columns)| {
            columns.split_whitespace().filter(|word| *word != "-").collect::<Vec<_>>().join(" ")
        })
        .collect();
    found.sort();
    assert_eq!(found, expected, "{described}");
}
