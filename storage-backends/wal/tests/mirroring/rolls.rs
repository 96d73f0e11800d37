use std::time::Duration;

use aquifer_wal::{CopyOf, Lsn, Refusal, open};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{Cluster, small};
use crate::machine::IDENTITY;

async fn committed(cluster: &Cluster, lsn: u64) -> bool {
    timeout(Duration::from_secs(60), cluster.wal.committed(Lsn(lsn))).await.is_ok_and(|result| result.is_ok())
}

async fn landed(cluster: &Cluster, lsn: u64) -> bool {
    timeout(Duration::from_secs(60), cluster.wal.landed(Lsn(lsn))).await.is_ok_and(|result| result.is_ok())
}

#[tokio::test(start_paused = true)]
async fn a_record_lands_without_its_mirrors_and_a_roll_takes_nothing_of_that_back() {
    let mut cluster = Cluster::new(1, 3, 2).await;
    cluster.append(100);
    assert!(committed(&cluster, 0).await);
    cluster.hosts.iter().for_each(|host| host.wire.stick());
    cluster.append(100);
    assert!(landed(&cluster, 1).await, "our own disk has it");
    assert!(!committed(&cluster, 1).await, "nobody else has");
    cluster.append(100);
    assert!(landed(&cluster, 2).await, "nor does it wait for the mirrors of what came before");
    assert_eq!((cluster.wal.usage().committed, cluster.wal.usage().landed), (Lsn(1), Lsn(3)));
    cluster.hosts[0].strike(false);
    cluster.roll().await;
    cluster.append(100);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(cluster.wal.usage().landed, Lsn(3), "all is in the segment that was closed");
    assert!(!committed(&cluster, 1).await);
    cluster.hosts[1].strike(false);
    cluster.roll().await;
    assert!(landed(&cluster, 3).await && committed(&cluster, 3).await);
    cluster.note_acknowledged();
    assert_eq!(cluster.acknowledged, 4, "each once, in order");
}

#[tokio::test(start_paused = true)]
async fn what_a_frozen_segment_has_in_flight_lands_and_what_comes_later_waits_for_the_next_one() {
    let mut cluster = Cluster::new(1, 3, 2).await;
    cluster.append(100);
    assert!(committed(&cluster, 0).await);
    cluster.hosts.iter().for_each(|host| host.wire.stick());
    cluster.append(100);
    tokio::task::yield_now().await;
    cluster.wal.freeze().await.expect("alive");
    assert!(landed(&cluster, 1).await, "it was issued before");
    cluster.append(100);
    assert!(!landed(&cluster, 2).await, "nothing is issued any more");
    cluster.hosts.iter_mut().for_each(|host| host.strike(false));
    cluster.roll().await;
    assert!(landed(&cluster, 2).await);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_our_own_disk_in_a_log_that_has_ended() {
    let mut cluster = Cluster::new(1, 3, 2).await;
    cluster.append(100);
    assert!(committed(&cluster, 0).await);
    cluster.wal.freeze().await.expect("alive");
    cluster.append(100);
    let wal = cluster.wal.clone();
    let mut waiting = Box::pin(wal.landed(Lsn(1)));
    assert!(timeout(Duration::from_millis(50), &mut waiting).await.is_err());
    cluster.wal.fence("another one goes on");
    assert!(waiting.await.is_err());
    assert!(cluster.wal.landed(Lsn(1)).await.is_err());
    assert!(cluster.wal.landed(Lsn(0)).await.is_ok(), "what landed, landed");
}

/// Whoever closes it has others to stop, too: it must not take the limit that somebody sets.
#[tokio::test(start_paused = true)]
async fn a_log_that_closes_does_not_wait_for_a_mirror_that_was_silent_before() {
    let mut cluster = Cluster::new(5, 3, 2).await;
    cluster.append(100);
    assert!(committed(&cluster, 0).await);
    cluster.hosts[0].wire.stick();
    cluster.append(100);
    // Long enough to be found slow; nobody rolls.
    sleep(Duration::from_secs(2)).await;
    let closed = timeout(Duration::from_secs(2), cluster.wal.close()).await.expect("soon");
    assert!(closed.is_err(), "not all of it was acknowledged");
    assert_eq!(cluster.wal.usage().landed, Lsn(2), "our own copy has it");
    cluster.note_acknowledged();
    assert_eq!(cluster.acknowledged, 1);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_closes_in_the_middle_of_a_roll_that_nobody_ends_gives_up_soon() {
    let mut cluster = Cluster::new(6, 3, 2).await;
    cluster.append(100);
    assert!(committed(&cluster, 0).await);
    cluster.wal.freeze().await.expect("alive");
    cluster.append(100);
    let closed = timeout(Duration::from_secs(2), cluster.wal.close()).await.expect("soon");
    assert!(closed.is_err(), "not all of it was written");
}

#[tokio::test(start_paused = true)]
async fn each_of_several_rolls_in_a_row_ends_the_segment_that_the_one_before_began() {
    let mut cluster = Cluster::new(3_467_011_259_857_472_296, 2, 2).await;
    for round in 0..5_u64 {
        // Bytes on their way keep the segment from beginning at once.
        cluster.append(3_000);
        cluster.roll().await;
        let ended: Vec<u64> =
            cluster.segments.iter().filter(|(_, listed)| listed.end.is_some()).map(|(id, _)| *id).collect();
        assert_eq!(ended, (0..=round).map(|n| 10 + 10 * n).collect::<Vec<_>>());
    }
    let last = cluster.wal.usage().appended.0 - 1;
    assert!(committed(&cluster, last).await);
}

#[tokio::test(start_paused = true)]
async fn a_record_is_acknowledged_when_every_member_has_it() {
    let mut cluster = Cluster::new(1, 3, 2).await;
    cluster.append(5_000);
    assert!(committed(&cluster, 0).await);
    cluster.note_acknowledged();
    for host in [0, 1] {
        let found = cluster.recover(&[host], 100).await.expect("one copy is enough");
        cluster.check(&found);
        assert_eq!(found.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn two_of_three_are_enough_where_two_are_asked_for() {
    let mut cluster = Cluster::new(1, 2, 2).await;
    cluster.hosts[0].wire.stick();
    cluster.append(5_000);
    assert!(committed(&cluster, 0).await);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_stuck_is_found_out_and_rolled_away_from() {
    let mut cluster = Cluster::new(1, 3, 2).await;
    cluster.append(100);
    assert!(committed(&cluster, 0).await);
    cluster.hosts[0].wire.stick();
    let began = Instant::now();
    cluster.append(100);
    let mut health = cluster.wal.mirror_health();
    let ailing = health.wait_for(|health| !health.is_well()).await.expect("alive").clone();
    assert_eq!(ailing.slow[0], cluster.hosts[0].member());
    assert!((Duration::from_millis(300)..Duration::from_millis(400)).contains(&began.elapsed()));
    assert_eq!(cluster.wal.usage().committed, Lsn(1), "nothing is acknowledged by fewer");
    cluster.hosts[0].strike(false);
    cluster.roll().await;
    assert!(committed(&cluster, 1).await, "it was sent again");
    cluster.note_acknowledged();
    let found = cluster.recover(&[1], 100).await.expect("one copy is enough");
    cluster.check(&found);
}

#[tokio::test(start_paused = true)]
async fn a_ring_full_of_small_segments_rolls_again_once_something_is_trimmed() {
    let mut cluster = Cluster::new(1, 3, 2).await;
    let mut last = 0;
    loop {
        cluster.append(100);
        if !committed(&cluster, last).await {
            break;
        }
        last += 1;
        assert!(last < 100, "each segment begins with a file, and there are few");
        cluster.roll().await;
    }
    cluster.trim(255);
    assert!(committed(&cluster, last).await, "the trim is told although nothing is committed");
    cluster.note_acknowledged();
    let found = cluster.recover(&[0, 1], 1_000).await.expect("both answer");
    cluster.check(&found);
    cluster.disk.crash();
    let disk = cluster.disk.attach().expect("the process is dead");
    open(small(), disk, IDENTITY).await.expect("nothing of this is corruption");
}

#[tokio::test(start_paused = true)]
async fn rolls_that_come_faster_than_uploads_get_files_beyond_the_capacity_and_give_them_back() {
    const FILES: u64 = 16;
    let mut cluster = Cluster::new(1, 3, 2).await;
    for last in 0..FILES + FILES / 2 {
        cluster.append(100);
        assert!(committed(&cluster, last).await, "roll {last} has a file");
        cluster.roll().await;
    }
    cluster.append(100);
    assert!(committed(&cluster, FILES + FILES / 2).await);
    assert!(cluster.wal.usage().files_percent > 100, "{:?}", cluster.wal.usage());
    cluster.trim(255);
    cluster.append(100);
    sleep(Duration::from_secs(1)).await;
    cluster.note_acknowledged();
    let found = cluster.recover(&[0, 1], 1_000).await.expect("both answer");
    cluster.check(&found);
    cluster.disk.kill();
    let disk = cluster.disk.attach().expect("the process is dead");
    let bytes: u64 = disk.list().await.expect("it works").iter().map(|file| file.length).sum();
    assert!(bytes <= small().capacity_bytes + (1 << 20), "{bytes} bytes are left of the files");
    open(small(), disk, IDENTITY).await.expect("nothing of this is corruption");
}

#[tokio::test(start_paused = true)]
async fn what_a_segment_without_mirrors_had_in_flight_is_in_the_next_one() {
    let mut cluster = Cluster::new(275_276_888_756_179, 2, 2).await;
    cluster.hosts.iter_mut().for_each(|host| host.strike(false));
    cluster.append(65_496);
    cluster.roll().await;
    cluster.roll().await;
    cluster.append(0);
    assert!(committed(&cluster, 1).await);
    cluster.note_acknowledged();
    assert_eq!(cluster.acknowledged, 2, "both, in order");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_while_frozen() {
    let mut cluster = Cluster::new(1, 3, 2).await;
    cluster.append(100);
    assert!(committed(&cluster, 0).await);
    cluster.wal.freeze().await.expect("alive");
    cluster.append(100);
    assert!(!committed(&cluster, 1).await);
    assert_eq!(cluster.wal.usage().committed, Lsn(1));
    cluster.roll().await;
    assert!(committed(&cluster, 1).await);
}

#[tokio::test(start_paused = true)]
async fn a_sealed_copy_never_grows() {
    let mut cluster = Cluster::new(1, 3, 2).await;
    cluster.append(100);
    assert!(committed(&cluster, 0).await);
    let store = cluster.hosts[0].store.clone().expect("up");
    let of = CopyOf { segment: 10, owner: IDENTITY.owner, disk: cluster.hosts[0].id };
    let tail = store.seal(of, 50).await.expect("sealed");
    assert_eq!(tail.end, Lsn(1));
    cluster.append(100);
    assert!(!committed(&cluster, 1).await);
    cluster.hosts[0].strike(true);
    cluster.hosts[0].start(0).await.expect("starts");
    let store = cluster.hosts[0].store.clone().expect("up");
    assert_eq!(store.seal(of, 60).await.expect("sealed").end, Lsn(1));
    assert!(matches!(store.seal(of, 55).await, Err(Refusal::OldEpoch { promised: 60, .. })));
    assert!(matches!(store.begin(of), Err(Refusal::Sealed { .. })));
    let elsewhere = CopyOf { disk: 5, ..of };
    assert!(matches!(store.seal(elsewhere, 70).await, Err(Refusal::OtherDisk { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_mirror_takes_many_times_its_log_while_one_segment_rests() {
    let mut resting = Cluster::new(1, 2, 1).await;
    resting.append(100);
    assert!(committed(&resting, 0).await);
    let store = resting.hosts[0].store.clone().expect("up");
    let mut busy = Cluster::new(2, 2, 0).await;
    busy.hosts.push(std::mem::replace(&mut resting.hosts[0], crate::cluster::Host::new(9, 1, 0).await));
    busy.index_from(500);
    busy.roll().await;
    for round in 0..400 {
        busy.append(60_000);
        assert!(committed(&busy, round).await, "round {round}: {:?}", store.usage());
        busy.trim(255);
        sleep(Duration::from_millis(5)).await;
    }
    assert!(store.usage().appended > Lsn(400));
    resting.note_acknowledged();
    std::mem::swap(&mut busy.hosts[0], &mut resting.hosts[0]);
    let found = resting.recover(&[0], 1_000).await.expect("one copy is enough");
    resting.check(&found);
}
