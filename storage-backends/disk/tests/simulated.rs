//! What the simulated disk does to its user.

use std::sync::Arc;

use aquifer_disk::{BLOCK, Disk, DiskError, SimulatedDisk, SimulatedFaults};

const BLOCK_BYTES: u64 = BLOCK as u64;

fn ones(disk: &dyn Disk, bytes: usize) -> Arc<aquifer_disk::AlignedBuf> {
    let mut buffer = disk.pool().zeros(bytes);
    buffer.fill(1);
    Arc::new(buffer)
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_what_was_acknowledged_and_tears_what_was_not() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let machine = SimulatedDisk::new(seed, SimulatedFaults::default());
        let disk = machine.attach().expect("attaches");
        let file = disk.create("file", 3 * BLOCK_BYTES).await.expect("created");
        file.write(0, ones(&*disk, BLOCK)).await.expect("written");
        let in_flight = file.write(BLOCK_BYTES, ones(&*disk, 2 * BLOCK));
        machine.crash();
        assert!(matches!(in_flight.await, Err(DiskError::Dead(_))));
        assert!(matches!(file.read(0, BLOCK).await, Err(DiskError::Dead(_))), "a dead process reads nothing");

        assert!(machine.bytes("file", 0, BLOCK).iter().all(|byte| *byte == 1));
        let torn = machine.bytes("file", BLOCK_BYTES, 2 * BLOCK);
        assert!(torn.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        seen.insert(torn.chunks(512).filter(|sector| sector[0] == 1).count());
        machine.attach().expect("the next process attaches");
    }
    assert!(seen.contains(&0) && seen.contains(&16) && seen.len() > 5, "none, all, and parts: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_killed_process_leaves_its_writes_to_the_kernel() {
    let machine = SimulatedDisk::new(3, SimulatedFaults::default());
    let disk = machine.attach().expect("attaches");
    let file = disk.create("file", BLOCK_BYTES).await.expect("created");
    drop(file.write(0, ones(&*disk, BLOCK)));
    machine.kill();
    assert!(machine.bytes("file", 0, BLOCK).iter().all(|byte| *byte == 1));
}

#[tokio::test(start_paused = true)]
async fn a_lying_disk_loses_what_it_acknowledged() {
    let lost = async |seed| {
        let machine = SimulatedDisk::new(seed, SimulatedFaults { lies: true, ..SimulatedFaults::default() });
        let disk = machine.attach().expect("attaches");
        let file = disk.create("file", BLOCK_BYTES).await.expect("created");
        file.write(0, ones(&*disk, BLOCK)).await.expect("acknowledged");
        assert_eq!(file.read(0, BLOCK).await.expect("read")[0], 1, "until the crash it looks written");
        machine.crash();
        machine.bytes("file", 0, BLOCK).contains(&0)
    };
    let mut losses = 0;
    for seed in 0..20 {
        losses += usize::from(lost(seed).await);
    }
    assert!(losses > 5, "{losses} of 20");
}

#[tokio::test(start_paused = true)]
async fn an_error_on_a_write_kills_the_device_until_the_next_process() {
    let machine = SimulatedDisk::new(1, SimulatedFaults::default());
    let disk = machine.attach().expect("attaches");
    let file = disk.create("file", BLOCK_BYTES).await.expect("created");
    machine.fail_next_write();
    assert!(matches!(file.write(0, ones(&*disk, BLOCK)).await, Err(DiskError::Dead(_))));
    assert!(matches!(file.write(0, ones(&*disk, BLOCK)).await, Err(DiskError::Dead(_))));
    assert!(disk.failure().is_some());
    machine.kill();
    assert!(machine.attach().expect("attaches").failure().is_none());
}

#[tokio::test(start_paused = true)]
async fn bad_reads_and_rot_come_where_they_were_asked_for() {
    let machine = SimulatedDisk::new(1, SimulatedFaults::default());
    let disk = machine.attach().expect("attaches");
    let file = disk.create("file", 2 * BLOCK_BYTES).await.expect("created");
    machine.fail_reads("file", BLOCK_BYTES + 100, 1);
    assert!(matches!(file.read(0, 2 * BLOCK).await, Err(DiskError::Io { .. })));
    let before = file.read(0, BLOCK).await.expect("the first block is fine");
    machine.rot("file", 7, 2);
    let after = file.read(0, BLOCK).await.expect("rot is silent");
    let differing: Vec<_> = (0..BLOCK).filter(|at| before[*at] != after[*at]).collect();
    assert_eq!(differing, [7, 8]);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_crash() {
    let run = async || {
        let machine = SimulatedDisk::new(42, SimulatedFaults::default());
        let disk = machine.attach().expect("attaches");
        let file = disk.create("file", 64 * BLOCK_BYTES).await.expect("created");
        for index in 0..16 {
            drop(file.write(index * 4 * BLOCK_BYTES, ones(&*disk, 4 * BLOCK)));
        }
        machine.crash();
        machine.bytes("file", 0, 64 * BLOCK)
    };
    assert!(run().await == run().await);
}
