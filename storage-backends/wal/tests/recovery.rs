//! The recovery table of the module `recovery`, row by row.

mod machine;

use std::collections::BTreeSet;
use std::time::Duration;

use aquifer_disk::DiskError;
use aquifer_wal::{Absence, Corruption, LossPoint, LostRange, Lsn, OpenError, Verdict};
use machine::{Machine, flat, record, tags};
use tokio::time::sleep;

const FIRST_FILE: &str = "ring-00000001.wal";
const FRAME: u64 = 4096;

/// A log of ten records with a frame each (from frame 1 on: frame 0 only begins the segment), gracefully closed.
async fn ten_frames() -> Machine {
    let mut machine = Machine::new(1);
    let (_, node) = machine.start().await;
    for tag in 0..10 {
        node.write(tag, 1_000).await;
    }
    node.close().await;
    machine
}

async fn corruption(machine: &Machine) -> Corruption {
    match machine.open().await.expect_err("damaged") {
        OpenError::Corrupt(corruption) => *corruption,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn damage_in_the_middle_is_refused_with_all_that_is_known() {
    let machine = ten_frames().await;
    machine.disk.rot(FIRST_FILE, 4 * FRAME + 500, 3);
    let corruption = corruption(&machine).await;
    assert!(corruption.path.ends_with(FIRST_FILE));
    assert_eq!(corruption.position, 4 * FRAME);
    assert_eq!(corruption.at, LossPoint { segment: 10, sequence: 4 });
    assert_eq!(corruption.lost, [LostRange { stream: 0, first: Some(10), end: Some(20) }]);
    let text = corruption.to_string();
    for part in ["ring-00000001.wal", "byte 16384", "segment 10, frame 4", "stream 0 offsets 10..20", "=10:4"]
    {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
}

/// The one file of the newest segment, whose first frame says that it is its file.
#[tokio::test(start_paused = true)]
async fn a_segment_whose_beginning_is_damaged_is_not_taken_for_one_that_never_was() {
    let mut machine = ten_frames().await;
    assert_eq!(machine.open().await.expect("whole").recovered.absence, Absence::Certain);
    machine.disk.rot(FIRST_FILE, 60, 1);
    let corruption = corruption(&machine).await;
    assert_eq!((corruption.position, corruption.at), (0, LossPoint { segment: 10, sequence: 0 }));
    machine.config.accept_loss = Some(corruption.at);
    let (recovered, node) = machine.start().await;
    assert_eq!((tags(&recovered), recovered.absence), (vec![], Absence::Unknown));
    assert!(node.write(10, 1_000).await >= Lsn(10), "no LSN is given out twice");
}

#[tokio::test(start_paused = true)]
async fn of_a_segment_that_only_began_there_is_doubt_when_its_beginning_is_damaged() {
    let mut machine = Machine::new(1);
    assert_eq!(machine.open().await.expect("blank").recovered.absence, Absence::Unknown);
    let (_, node) = machine.start().await;
    machine.disk.crash();
    drop(node);
    assert_eq!(machine.open().await.expect("whole").recovered.absence, Absence::Certain);
    machine.disk.rot(FIRST_FILE, 60, 1);
    assert_eq!(machine.open().await.expect("nothing is lost").recovered.absence, Absence::Doubtful);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_header_and_a_damaged_padding_are_noticed_too() {
    for at in [3 * FRAME + 60, 3 * FRAME + 4000] {
        let machine = ten_frames().await;
        machine.disk.rot(FIRST_FILE, at, 1);
        assert_eq!(corruption(&machine).await.at.sequence, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_record_is_protected_by_the_empty_frame_after_it() {
    let mut machine = Machine::new(1);
    let (_, node) = machine.start().await;
    node.write(0, 1_000).await;
    sleep(Duration::from_millis(50)).await;
    machine.disk.crash();
    machine.disk.rot(FIRST_FILE, FRAME + 300, 1);
    assert_eq!(corruption(&machine).await.lost, [LostRange { stream: 0, first: Some(0), end: Some(10) }]);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_disk_is_not_the_end_of_the_log() {
    let machine = ten_frames().await;
    machine.disk.fail_reads(FIRST_FILE, 5 * FRAME, 1);
    assert!(matches!(machine.open().await, Err(OpenError::Disk(DiskError::Io { .. }))));
}

#[tokio::test(start_paused = true)]
async fn a_lost_file_is_noticed() {
    let mut machine = Machine::new(2);
    let (_, node) = machine.start().await;
    for tag in 0..50 {
        node.write(tag, 10_000).await;
    }
    node.close().await;
    for file in ["ring-00000001.wal", "ring-00000002.wal"] {
        let disk = machine.disk.attach().expect("free");
        disk.rename(file, "elsewhere").await.expect("renamed");
        drop(disk);
        corruption(&machine).await;
        machine.disk.attach().expect("free").rename("elsewhere", file).await.expect("renamed");
    }
    assert_eq!(tags(&machine.open().await.expect("all is back").recovered).len(), 50);
}

#[tokio::test(start_paused = true)]
async fn an_accepted_loss_gives_the_records_before_it_and_the_log_goes_on() {
    let mut machine = ten_frames().await;
    machine.disk.rot(FIRST_FILE, 4 * FRAME + 500, 3);
    machine.config.accept_loss = Some(LossPoint { segment: 10, sequence: 5 });
    corruption(&machine).await;
    machine.config.accept_loss = Some(LossPoint { segment: 10, sequence: 4 });
    let (recovered, node) = machine.start().await;
    assert_eq!(tags(&recovered), [0, 1, 2]);
    assert_eq!(recovered.segments[0].verdict, Verdict::LossAccepted);
    let lsn = node.write(10, 1_000).await;
    assert!(lsn >= Lsn(10), "no LSN is given out twice: {lsn}");
    // The prefix is offloaded.
    node.wal.trim(lsn);
    node.close().await;
    machine.config.accept_loss = None;
    assert_eq!(tags(&machine.start().await.0), [10]);
}

#[tokio::test(start_paused = true)]
async fn a_log_of_which_nothing_is_needed_opens_with_any_damage() {
    let mut machine = ten_frames().await;
    machine.disk.rot(FIRST_FILE, 4 * FRAME + 500, 3);
    corruption(&machine).await;
    machine.config.disposable = true;
    let (recovered, node) = machine.start().await;
    assert_eq!(tags(&recovered), [0, 1, 2]);
    assert!(node.write(10, 1_000).await >= Lsn(10), "no LSN is given out twice");
}

#[tokio::test(start_paused = true)]
async fn what_is_damaged_but_trimmed_harms_nobody() {
    let mut machine = Machine::new(3);
    let (_, node) = machine.start().await;
    for tag in 0..50 {
        let lsn = node.write(tag, 10_000).await;
        node.wal.trim(lsn);
    }
    node.close().await;
    let before = machine.disk.bytes(FIRST_FILE, 0, 4096);
    assert_ne!(before, [0; 4096]);
    machine.disk.rot(FIRST_FILE, 0, 100_000);
    assert_eq!(tags(&machine.start().await.0), [49]);
}

#[tokio::test(start_paused = true)]
async fn ends_are_told_apart() {
    let mut verdicts = BTreeSet::new();
    for seed in 0..30 {
        let mut machine = Machine::new(seed);
        let (_, node) = machine.start().await;
        node.write(0, 100).await;
        for tag in 1..12 {
            node.append(tag, 20_000 + 10 * seed as usize);
        }
        sleep(Duration::from_millis(seed % 5)).await;
        machine.disk.crash();
        let (recovered, _) = machine.start().await;
        verdicts.insert(format!("{:?}", recovered.segments[0].verdict));
        for (lsn, found) in flat(&recovered).into_iter().skip(1) {
            assert_eq!(found, record(lsn.0, 20_000 + 10 * seed as usize));
        }
    }
    assert_eq!(verdicts.into_iter().collect::<Vec<_>>(), ["Clean", "DamagedLast", "Torn"]);
}

/// What was in flight at a crash may be recovered, shown, and then must stay.
#[tokio::test(start_paused = true)]
async fn what_was_recovered_once_is_not_forgotten() {
    let mut shown_again = 0;
    for seed in 0..40 {
        let mut machine = Machine::new(seed);
        let (_, node) = machine.start().await;
        node.append(0, 1_000);
        sleep(Duration::from_millis(1)).await;
        machine.disk.crash();
        let (recovered, node) = machine.start().await;
        let shown = tags(&recovered);
        drop(node);
        machine.disk.crash();
        machine.disk.rot(FIRST_FILE, FRAME + 300, 1);
        if shown.is_empty() {
            machine.open().await.expect("nobody saw it");
        } else {
            shown_again += 1;
            assert_eq!(corruption(&machine).await.at, LossPoint { segment: 10, sequence: 1 });
        }
    }
    assert!((5..35).contains(&shown_again), "{shown_again}");
}
