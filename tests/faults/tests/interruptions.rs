//! For how long producers wait when nodes die, when partitions move, and when the metadata quorum loses its leader: the longest
//! time between two acknowledgements of a producer that sends a hundred records a second to each partition. Measured, not
//! asserted.

use std::env;
use std::time::Duration;

use aquifer_faults::{HostCluster, Role, Scale, Steady, Times, measured};
use aquifer_harness::{Script, in_own_namespaces};
use aquifer_services::Artifact;
use tokio::time::sleep;

const PARTITIONS: u32 = 6;
const PER_SECOND: u32 = 100;
/// Acknowledgements of each partition after which an interruption is over.
const OVER: u32 = 50;
/// And then so long, should there be another.
const AFTER: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(120);

/// `AQUIFER_FAULTS_ROUNDS` asks for another number.
fn rounds() -> u32 {
    let asked = env::var("AQUIFER_FAULTS_ROUNDS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or_else(|| Scale::chosen().of(3, 100))
}

/// How nodes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The process dies: the kernel resets its connections.
    Process,
    /// The host dies: nothing says so.
    Host,
}

/// Waits until the interruption is over; the gap of each partition.
async fn gaps(steady: &mut Steady) -> Vec<Duration> {
    steady.flows(OVER).await;
    sleep(AFTER).await;
    steady.gaps().await
}

/// Ends the leaders of so many partitions at once: how long their partitions waited, and how long the others did.
async fn end(
    cluster: &mut HostCluster,
    steady: &mut Steady,
    end: End,
    count: usize,
) -> (Duration, Option<Duration>) {
    cluster.until_ready().await;
    cluster.until_copies(3).await;
    let leaders = steady.leaders().await;
    let mut gone = Vec::new();
    for leader in &leaders {
        if gone.len() < count && !gone.contains(leader) {
            gone.push(*leader);
        }
    }
    steady.mark().await;
    for &node in &gone {
        if end == End::Host {
            cluster.network().cut(node);
        }
        cluster.kill(node);
    }
    let gaps = gaps(steady).await;
    for &node in &gone {
        if end == End::Host {
            cluster.network().join(node);
        }
        cluster.launch(node);
    }
    let of = |led: bool| {
        let gaps = gaps.iter().zip(&leaders).filter(|(_, leader)| gone.contains(leader) == led);
        gaps.map(|(gap, _)| *gap).max()
    };
    (of(true).expect("a leader was ended"), of(false))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_long_producers_wait_when_nodes_die() {
    let name = "how_long_producers_wait_when_nodes_die";
    let Some(dir) = in_own_namespaces(name, &env::temp_dir()) else { return };
    let Some(mut cluster) = HostCluster::start(&dir, &[Role::Both; 5]).await else { return };
    let bootstrap = cluster.bootstrap();
    let Some(mut steady) = Steady::start(&bootstrap, "steady", PARTITIONS, PER_SECOND, 0).await else {
        return;
    };
    let events = [
        ("the death of a process", End::Process, 1),
        ("the death of a host", End::Host, 1),
        ("the death of two processes at once", End::Process, 2),
    ];
    for (what, how, count) in events {
        let (mut own, mut others) = (Times::default(), Times::default());
        for _ in 0..rounds() {
            let (led, not_led) = end(&mut cluster, &mut steady, how, count).await;
            own.add(led);
            others.extend(not_led);
        }
        measured(&format!("produce after {what}: {own}; partitions that others led: {others}"));
    }
    steady.end().await;
    cluster.stop().await;
}

/// What the larger partition of a move holds.
fn large_mib() -> u32 {
    Scale::chosen().of(64, 4_096)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_long_producers_wait_for_moves_and_without_the_quorums_leader() {
    let name = "how_long_producers_wait_for_moves_and_without_the_quorums_leader";
    let Some(dir) = in_own_namespaces(name, &env::temp_dir()) else { return };
    let [controller, broker] = [Role::Controller, Role::Broker];
    let roles = [controller, controller, controller, broker, broker, broker];
    let Some(mut cluster) = HostCluster::start(&dir, &roles).await else { return };
    cluster.until_copies(3).await;
    let bootstrap = cluster.bootstrap();

    let reassign = Script::start_with(Artifact::Clients, "reassign.py", &[&bootstrap]).await;
    if let Some(mut reassign) = reassign {
        for (topic, mib) in [("small", 1), ("large", large_mib())] {
            let Some(mut steady) = Steady::start(&bootstrap, topic, 1, PER_SECOND, mib).await else { return };
            let mut times = Times::default();
            for _ in 0..rounds() {
                steady.flows(OVER).await;
                let leader = steady.leaders().await[0];
                let next = if leader == 6 { 4 } else { leader + 1 };
                steady.mark().await;
                reassign.tell(&format!("{topic} 0 {next}")).await;
                reassign.expect("moved", LIMIT).await;
                times.extend(gaps(&mut steady).await);
            }
            steady.end().await;
            measured(&format!("produce during the move of a partition of {mib} MiB: {times}"));
        }
        reassign.tell("enough").await;
    }

    let Some(mut steady) = Steady::start(&bootstrap, "steady", PARTITIONS, PER_SECOND, 0).await else {
        return;
    };
    let (mut undisturbed, mut times) = (Times::default(), Times::default());
    for _ in 0..rounds() {
        cluster.until_ready().await;
        steady.mark().await;
        undisturbed.extend(gaps(&mut steady).await.into_iter().max());
        let leader = cluster.quorum_leader().await;
        steady.mark().await;
        cluster.kill(leader);
        times.extend(gaps(&mut steady).await.into_iter().max());
        let _next = cluster.quorum_leader().await;
        cluster.launch(leader);
    }
    steady.end().await;
    cluster.stop().await;
    measured(&format!(
        "produce after the loss of the quorum's leader: {times}; when nothing happens: {undisturbed}"
    ));
}
