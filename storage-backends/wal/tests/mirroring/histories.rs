//! For any history, any moment of a crash of the owner and of its mirrors, and any enough of the copies: what a recovery
//! gives back is a prefix of what was appended that holds everything acknowledged.

use std::time::Duration;

use aquifer_wal::Lsn;
use proptest::prelude::*;
use tokio::time::{sleep, timeout};

use crate::cluster::Cluster;

#[derive(Clone, Debug)]
enum Step {
    /// Appends so many records of up to so many bytes, all at once.
    Append {
        count: usize,
        bytes: usize,
    },
    Wait(u64),
    /// Waits for a while until everything is acknowledged; it need not become so.
    Settle,
    Trim(u8),
    /// A mirror's connection ends, or gets stuck.
    Cut(usize),
    Stick(usize),
    /// A mirror's process or machine dies, and comes back.
    Kill(usize),
    PowerOff(usize),
    Start(usize),
    /// The owner goes on in another segment, with the mirrors that are up.
    Roll,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..8_usize, 0..9_000_usize).prop_map(|(count, bytes)| Step::Append { count, bytes }),
        1 => (1..3_usize, 50_000..200_000_usize).prop_map(|(count, bytes)| Step::Append { count, bytes }),
        5 => (0..12_u64).prop_map(Step::Wait),
        3 => Just(Step::Settle),
        2 => any::<u8>().prop_map(Step::Trim),
        1 => (0..2_usize).prop_map(Step::Cut),
        1 => (0..2_usize).prop_map(Step::Stick),
        1 => (0..2_usize).prop_map(Step::Kill),
        1 => (0..2_usize).prop_map(Step::PowerOff),
        2 => (0..2_usize).prop_map(Step::Start),
        3 => Just(Step::Roll),
    ]
}

async fn perform(cluster: &mut Cluster, step: &Step) {
    match *step {
        Step::Append { count, bytes } => {
            (1..=count).for_each(|part| cluster.append(bytes * part / count));
        }
        Step::Wait(time_ms) => sleep(Duration::from_millis(time_ms)).await,
        Step::Settle => {
            let appended = cluster.wal.usage().appended.0;
            if let Some(last) = appended.checked_sub(1) {
                let _ = timeout(Duration::from_millis(200), cluster.wal.committed(Lsn(last))).await;
            }
        }
        Step::Trim(part) => cluster.trim(part),
        Step::Cut(host) => cluster.hosts[host].wire.cut(),
        Step::Stick(host) => cluster.hosts[host].wire.stick(),
        Step::Kill(host) => cluster.hosts[host].strike(false),
        Step::PowerOff(host) => cluster.hosts[host].strike(true),
        Step::Start(host) => {
            if cluster.hosts[host].store.is_none() {
                cluster.hosts[host].start(host as u64).await.expect("nothing of this is corruption");
            }
        }
        Step::Roll => cluster.roll().await,
    }
}

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig::default();
    ProptestConfig { cases: if asked { default.cases } else { 24 }, max_shrink_iters: 2_000, ..default }
}

fn on_one_thread<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn enough_mirrors_give_back_everything_acknowledged(
        seed in any::<u64>(),
        needed in 2..=3_usize,
        steps in prop::collection::vec(step(), 1..50),
        lost in 0..2_usize,
        zombie in any::<bool>(),
        power in any::<bool>(),
    ) {
        on_one_thread(async {
            let mut cluster = Cluster::new(seed, needed, 2).await;
            let mut landed = Lsn(0);
            for step in &steps {
                perform(&mut cluster, step).await;
                let usage = cluster.wal.usage();
                prop_assert!(usage.landed >= landed, "what our own disk has never gets less: {usage:?}");
                prop_assert!((usage.committed..=usage.appended).contains(&usage.landed), "{usage:?}");
                landed = usage.landed;
            }
            if !zombie {
                cluster.disk.crash();
            }
            for host in 0..2 {
                cluster.hosts[host].strike(power);
                cluster.hosts[host].start(0).await.expect("nothing of this is corruption");
            }
            cluster.note_acknowledged();
            // With A = W one copy is enough; with one less both mirrors must answer, as the owner's own is gone.
            let all_needed = cluster.segments.values().all(|listed| listed.needed == listed.members.len() + 1);
            let asked: &[usize] = if all_needed && cluster.segments.values().all(|listed| listed.members.len() == 2) {
                &[lost]
            } else {
                &[0, 1]
            };
            // Segments without mirrors are the owner's alone: nothing to recover here.
            let alone = cluster.segments.values().any(|listed| listed.members.len() + 1 < needed || listed.members.is_empty());
            if !alone {
                match cluster.recover(asked, 1_000_000).await {
                    Ok(found) => {
                        cluster.note_acknowledged();
                        cluster.check(&found);
                    }
                    Err(undecided) => prop_assert!(needed == 2, "{undecided}"),
                }
            }
            Ok(())
        })?;
    }
}
