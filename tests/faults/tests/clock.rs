//! The clock jumps by hours, back and forth: nothing is deleted early, nobody is thrown out of a group.

use std::time::Duration;

use aquifer_faults::{FalseClock, Kept, Load, Scale, measured, settled};
use aquifer_harness::{Node, Script};
use tokio::time::sleep;

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_deletes_nothing_early_and_ends_no_session() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let settings = [
        ("store.offload.interval.ms", "200"),
        ("store.delete.delay.ms", "60000"),
        ("log.retention.check.interval.ms", "200"),
        ("offsets.retention.check.interval.ms", "200"),
        ("wal.retain.after.offload.ms", "500"),
        // Records are stamped by the node, so that its clock counts.
        ("log.message.timestamp.type", "LogAppendTime"),
    ];
    let mut node = Node::prepare(dir.path(), &settings);
    let Some(clock) = FalseClock::under(&mut node) else { return };
    node.start_again().await;
    let bootstrap = node.bootstrap();
    // Forty hours are kept, and no two records are stamped further apart.
    let kept = ["burst=20", "config.retention.ms=144000000"];
    let Some(mut kept) = Load::start(dir.path(), &bootstrap, "kept", &kept).await else { return };
    let mut member =
        Script::start("member.py", &[&bootstrap, "kept", "steady"]).await.expect("the clients are there");
    member.expect("assigned", LIMIT).await;
    kept.run(300).await;
    let lasts = Scale::chosen().seconds(2, 20);
    for hours in [6, -6, 3, 0, -24, 5, 0] {
        clock.set(hours);
        sleep(lasts).await;
        kept.run(100).await;
    }
    member.tell("stop").await;
    let steady = member.expect("steady", LIMIT).await;
    kept.stop().await;
    settled(&node, LIMIT).await;
    node.kill();
    clock.set(-12);
    node.start_again().await;
    let history = kept.check(dir.path(), Kept::All).await;
    node.stop().await;
    measured(&format!(
        "clock: jumps by up to 30 h back and forth; {} records acknowledged and there, {steady}",
        history.acknowledged()
    ));
}
