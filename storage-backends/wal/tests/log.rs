//! The log in fair weather, and the limits and errors that its users see.

mod machine;

use std::time::Duration;

use aquifer_disk::DiskError;
use aquifer_wal::{AppendError, FullLimit, Identity, Lsn, OpenError, Verdict, open};
use machine::{IDENTITY, Machine, flat, record, tags};

#[tokio::test(start_paused = true)]
async fn what_was_committed_is_recovered_in_order() {
    let mut machine = Machine::new(1);
    let (recovered, node) = machine.start().await;
    assert!(recovered.segments.is_empty());
    for tag in 0..50 {
        assert_eq!(node.append(tag, 100 * tag as usize), Lsn(tag));
    }
    node.wal.committed(Lsn(49)).await.expect("durable");
    assert_eq!(node.durable(), (0..50).collect::<Vec<_>>(), "the sink knows before a waiter does");
    node.close().await;

    let (recovered, node) = machine.start().await;
    assert_eq!(recovered.segments.len(), 1);
    assert_eq!((recovered.segments[0].id, recovered.segments[0].verdict), (10, Verdict::Clean));
    for (lsn, found) in flat(&recovered) {
        assert_eq!(found, record(lsn.0, 100 * lsn.0 as usize));
    }
    assert_eq!(tags(&recovered).len(), 50);
    assert_eq!(node.append(50, 1), Lsn(50), "LSNs go on growing");
    node.close().await;
    let (recovered, _node) = machine.start().await;
    assert_eq!(recovered.segments.iter().map(|segment| segment.id).collect::<Vec<_>>(), [10, 20]);
    assert_eq!(tags(&recovered), (0..51).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_record_larger_than_a_frame_and_a_file_is_split_and_joined() {
    let mut machine = Machine::new(2);
    let (_, node) = machine.start().await;
    node.append(0, 10);
    node.append(1, 300_000);
    node.write(2, 0).await;
    node.close().await;
    let (recovered, _node) = machine.start().await;
    let records: Vec<_> = flat(&recovered).into_iter().map(|(_, record)| record).collect();
    assert_eq!(records, [record(0, 10), record(1, 300_000), record(2, 0)]);
}

#[tokio::test(start_paused = true)]
async fn trimmed_records_are_gone_and_their_files_are_written_again() {
    let mut machine = Machine::new(3);
    let (_, node) = machine.start().await;
    // Many times the capacity.
    for tag in 0..400 {
        let lsn = node.write(tag, 20_000).await;
        node.wal.trim(Lsn(lsn.0.saturating_sub(3)));
    }
    let usage = node.wal.usage();
    assert_eq!(usage.trimmed, Lsn(396));
    assert!(usage.unoffloaded_bytes < 5 * 21_000, "{usage:?}");
    node.close().await;
    let (recovered, node) = machine.start().await;
    assert_eq!(tags(&recovered), [396, 397, 398, 399]);
    node.wal.trim(Lsn(400));
    node.close().await;
    let (recovered, _node) = machine.start().await;
    assert_eq!(tags(&recovered), [0_u64; 0], "a graceful stop leaves nothing");
    let bytes: u64 = machine.disk.files().iter().map(|file| file.length).sum();
    assert!(bytes <= machine.config.capacity_bytes + 2 * 4096, "{bytes}");
}

#[tokio::test(start_paused = true)]
async fn a_full_log_refuses_until_it_is_trimmed() {
    let mut machine = Machine::new(4);
    let (_, node) = machine.start().await;
    let mut last = Lsn(0);
    let full = loop {
        match node.wal.append(record(1, 5_000), 1) {
            Ok(lsn) => last = lsn,
            Err(error) => break error,
        }
        assert!(last.0 < 1_000, "it is never full");
    };
    let AppendError::Full { limit_kind: FullLimit::Capacity, limit, .. } = full else { panic!("{full}") };
    assert_eq!(limit, machine.config.capacity_bytes);
    assert!(full.to_string().contains("store.url"), "{full}");
    node.wal.committed(last).await.expect("what was accepted has its place");
    while let Ok(lsn) = node.wal.append(record(1, 5_000), 1) {
        node.wal.committed(lsn).await.expect("it has its place");
        last = lsn;
    }
    assert!(node.wal.usage().refuse(), "{:?}", node.wal.usage());
    assert!(last.0 * 5_000 > machine.config.capacity_bytes * 3 / 4, "most of wal.size is of use");

    node.wal.trim(Lsn(last.0 + 1));
    // The frame that tells of the trim is written into the reserve.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!node.wal.usage().throttle(), "{:?}", node.wal.usage());
    node.write(2, 5_000).await;
    node.close().await;
    assert_eq!(tags(&machine.start().await.0).last(), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_full_at_a_crash_starts_again() {
    let mut machine = Machine::new(5);
    let (_, node) = machine.start().await;
    while node.wal.append(record(1, 5_000), 1).is_ok() {}
    let appended = node.wal.usage().appended;
    node.wal.committed(Lsn(appended.0 - 1)).await.expect("durable");
    machine.disk.crash();
    let (recovered, node) = machine.start().await;
    assert_eq!(flat(&recovered).len() as u64, appended.0);
    node.write(2, 1_000).await;
    node.wal.trim(appended);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..20 {
        node.write(3, 10_000).await;
    }
    let bytes: u64 = machine.disk.files().iter().map(|file| file.length).sum();
    assert!(bytes <= machine.config.capacity_bytes + 2 * 4096, "the surplus file is removed: {bytes}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_after_a_failed_write() {
    let mut machine = Machine::new(6);
    let (_, node) = machine.start().await;
    node.write(0, 100).await;
    machine.disk.fail_next_write();
    let lsn = node.append(1, 100);
    let error = node.wal.committed(lsn).await.expect_err("the disk failed");
    assert!(error.to_string().contains("simulated I/O error"), "{error}");
    assert!(matches!(node.wal.append(record(2, 1), 2), Err(AppendError::Dead(_))));
    assert!(node.wal.close().await.is_err());
    assert_eq!(node.durable(), [0]);
    // The node hears of it, and does not look alive.
    node.tasks.stopping().cancelled().await;
    let failure = node.tasks.failure().expect("the disk failed");
    assert!(failure.task == "wal-writer" && failure.reason.contains("simulated I/O error"), "{failure}");
    node.tasks.shutdown(Duration::from_secs(60)).await.expect("ends");
    machine.disk.kill();
    assert_eq!(tags(&machine.start().await.0)[0], 0);
}

#[tokio::test(start_paused = true)]
async fn a_closed_log_refuses_and_a_stopping_group_closes_it() {
    let mut machine = Machine::new(7);
    let (_, node) = machine.start().await;
    let lsn = node.append(0, 100);
    node.tasks.shutdown(Duration::from_secs(60)).await.expect("ends");
    node.wal.committed(lsn).await.expect("what was appended is written first");
    assert!(matches!(node.wal.append(record(1, 1), 1), Err(AppendError::Closed)));
    node.wal.close().await.expect("closed already");
}

#[tokio::test(start_paused = true)]
async fn a_log_of_somebody_else_is_refused_with_the_remedy() {
    let mut machine = Machine::new(8);
    let (_, node) = machine.start().await;
    node.write(0, 1).await;
    node.close().await;
    for (identity, word) in [
        (Identity { cluster: 1, ..IDENTITY }, "wal.dir"),
        (Identity { disk: 1, ..IDENTITY }, "mount the disk"),
        (Identity { owner: 1, ..IDENTITY }, "node.id"),
    ] {
        let disk = machine.disk.attach().expect("free");
        let error = open(machine.config.clone(), disk, identity).await.expect_err("not ours");
        assert!(matches!(error, OpenError::Foreign { .. }) && error.to_string().contains(word), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_or_newer_identity_is_told() {
    let mut machine = Machine::new(9);
    let (_, node) = machine.start().await;
    node.close().await;
    machine.disk.rot("identity", 20, 1);
    drop(machine.open().await.expect("the second copy is good"));
    machine.disk.rot("identity", 4096 + 20, 1);
    assert!(matches!(machine.open().await, Err(OpenError::IdentityDamaged { .. })));

    let mut newer = machine.disk.bytes("identity", 0, 42);
    newer[8] = 2;
    newer[20] = 0;
    let checksum = crc32c::crc32c(&newer[..38]);
    newer[38..].copy_from_slice(&checksum.to_le_bytes());
    machine.disk.overwrite("identity", 0, &newer);
    let error = machine.open().await.expect_err("newer");
    assert!(matches!(error, OpenError::Version { found: 2, supported: 1, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_too_small_is_told_at_once() {
    let machine = Machine::new(10);
    machine.disk.set_capacity(300 << 10);
    let error = machine.open().await.expect_err("too small");
    let OpenError::NoSpace { needed, available, .. } = &error else { panic!("{error}") };
    assert_eq!((*needed, *available), (1 << 20, (300 << 10) - 8192));
    for word in ["wal.dir", "wal.size", "1048576", &available.to_string(), &(needed - available).to_string()]
    {
        assert!(error.to_string().contains(word), "'{word}' is not in: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_do_not_share_a_log() {
    let mut machine = Machine::new(11);
    let (_, _node) = machine.start().await;
    let error = machine.open().await.expect_err("it is taken");
    assert!(matches!(error, OpenError::Disk(DiskError::Locked { .. })), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_segment_id_that_does_not_grow_is_refused() {
    let mut machine = Machine::new(12);
    let (_, node) = machine.start().await;
    node.write(0, 1).await;
    node.close().await;
    let opened = machine.open().await.expect("opens");
    let tasks = aquifer_runtime::TaskGroup::new();
    let error = opened.start(10, |_: &mut Vec<()>| {}, &tasks).await.expect_err("used already");
    assert!(matches!(error, OpenError::StaleSegment { segment: 10, newest: 10 }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn waiters_wake_in_lsn_order_whoever_came_first() {
    let mut machine = Machine::new(13);
    let (_, node) = machine.start().await;
    for tag in 0..10 {
        node.append(tag, 60_000);
    }
    let woken = std::sync::Mutex::new(Vec::new());
    let waits = (0..10).rev().map(|lsn| {
        let (wal, woken) = (node.wal.clone(), &woken);
        async move {
            wal.committed(Lsn(lsn)).await.expect("durable");
            assert!(wal.usage().committed > Lsn(lsn));
            woken.lock().expect("whole").push(lsn);
        }
    });
    futures::future::join_all(waits).await;
    let woken = woken.into_inner().expect("whole");
    assert_eq!(woken.len(), 10);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "would lose records")]
async fn a_trim_of_what_is_not_durable_is_a_bug() {
    let mut machine = Machine::new(14);
    let (_, node) = machine.start().await;
    node.append(0, 1);
    node.wal.trim(Lsn(1));
}

/// Else a crash could take the knowledge of the trim away, and what is left would look as if its beginning were lost.
#[tokio::test(start_paused = true)]
async fn a_file_is_written_again_only_when_a_frame_that_tells_of_the_trim_is_durable() {
    let mut looked = 0;
    for seed in 0..10 {
        let mut machine = Machine::new(seed);
        machine.config.frames_in_flight = 8;
        let (_, node) = machine.start().await;
        let mut end = Lsn(0);
        while let Ok(lsn) = node.wal.append(record(1, 30_000), 1) {
            node.wal.committed(lsn).await.expect("durable");
            end = Lsn(lsn.0 + 1);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        node.wal.trim(end);
        // The log lets in what its reserve cannot hold only when files are free again.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        let trim_is_in_flight = machine.disk.writes_in_flight() == 1;
        let refused = node.wal.append(record(2, 200_000), 2).is_err();
        if trim_is_in_flight {
            looked += 1;
            assert!(refused, "no file may be free yet");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        node.write(2, 200_000).await;
    }
    assert!(looked >= 3, "{looked}");
}
