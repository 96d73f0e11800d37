//! What partitions cost that nobody uses.

use crate::batches::{batch, produce};
use crate::machine::Machine;

const PARTITIONS: usize = 10_000;
const LIMIT_BYTES: usize = 8 * 1024;

#[tokio::test]
async fn ten_thousand_idle_partitions_cost_at_most_eight_kilobytes_each() {
    let machine = Machine::new(60).await;
    let node = machine.start().await;
    // Whatever the first one of anything allocates.
    let warm = node.create("warm", 1, &[]).await;
    produce(&warm, batch(&["a"])).await.unwrap();
    let before = resident_bytes();
    let partition = node.create("idle", PARTITIONS, &[]).await;
    node.wait_open().await;
    assert_eq!(node.partitions.open().len(), PARTITIONS + 1);
    let each = resident_bytes().saturating_sub(before) / PARTITIONS;
    assert!(each <= LIMIT_BYTES, "{each} bytes");
    produce(&partition, batch(&["a"])).await.unwrap();
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}
