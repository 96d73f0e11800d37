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

fn rounds() -> u32 {
    aquifer_faults::rounds(3, 100)
}

/// Nodes end, all at once.
#[derive(Clone, Copy, Debug)]
struct End {
    /// How many.
    nodes: usize,
    /// With the host; else the process dies, and the kernel resets its connections.
    host: bool,
    /// One of them leads the metadata quorum; else none does.
    leads_quorum: bool,
}

impl End {
    const PROCESS: Self = Self { nodes: 1, host: false, leads_quorum: false };

    /// Who that is: leaders of partitions first, then others, as leaders may have become few.
    fn of(self, partitions: &[u16], quorum: u16, all: impl Iterator<Item = u16>) -> Vec<u16> {
        let mut nodes: Vec<u16> = self.leads_quorum.then_some(quorum).into_iter().collect();
        for node in partitions.iter().copied().chain(all).filter(|node| *node != quorum) {
            if nodes.len() < self.nodes && !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        assert_eq!(nodes.len(), self.nodes, "what is measured is what is said");
        nodes
    }

    /// For how long the partitions that these nodes led waited, and for how long the others did.
    async fn measure(self, cluster: &mut HostCluster, steady: &mut Steady) -> [Option<Duration>; 2] {
        cluster.until_ready().await;
        cluster.until_copies(3).await;
        let leaders = steady.leaders().await;
        let gone = self.of(&leaders, cluster.quorum_leader().await, cluster.nodes());
        steady.mark().await;
        for &node in &gone {
            if self.host {
                cluster.network().cut(node);
            }
            cluster.kill(node);
        }
        let gaps = gaps(steady).await;
        for &node in &gone {
            if self.host {
                cluster.network().join(node);
            }
            cluster.launch(node);
        }
        [true, false].map(|led| {
            let gaps = gaps.iter().zip(&leaders).filter(|(_, leader)| gone.contains(leader) == led);
            gaps.map(|(gap, _)| *gap).max()
        })
    }
}

/// Waits until the interruption is over; the gap of each partition.
async fn gaps(steady: &mut Steady) -> Vec<Duration> {
    steady.flows(OVER).await;
    sleep(AFTER).await;
    steady.gaps().await
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
        ("a process", End::PROCESS),
        ("two processes at once", End { nodes: 2, ..End::PROCESS }),
        ("a process that leads the quorum too", End { leads_quorum: true, ..End::PROCESS }),
        ("a host", End { host: true, ..End::PROCESS }),
    ];
    for (what, end) in events {
        let (mut own, mut others) = (Times::default(), Times::default());
        for _ in 0..rounds() {
            let [led, not_led] = end.measure(&mut cluster, &mut steady).await;
            own.extend(led);
            others.extend(not_led);
        }
        measured(&format!("produce after the death of {what}: {own}; partitions that others led: {others}"));
    }
    steady.end().await;
    cluster.stop().await;
}

/// What the larger partition of a move holds.
fn large_mib() -> u32 {
    Scale::chosen().of(64, 10_240)
}

/// Partitions that move at once, and how many records a second each of them gets.
fn many() -> (u32, u32) {
    (Scale::chosen().of(50, 1_000), 10)
}

/// Has the next broker lead all partitions of a topic, once records flow in each; the gaps.
async fn move_all(reassign: &mut Script, steady: &mut Steady, topic: &str, flowing: u32) -> Vec<Duration> {
    steady.flows(flowing).await;
    let leader = steady.leaders().await[0];
    let next = if leader == 6 { 4 } else { leader + 1 };
    steady.mark().await;
    reassign.tell(&format!("{topic} {next}")).await;
    reassign.expect("moved", LIMIT).await;
    gaps(steady).await
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
                times.extend(move_all(&mut reassign, &mut steady, topic, OVER).await);
            }
            steady.end().await;
            measured(&format!("produce during the move of a partition of {mib} MiB: {times}"));
        }
        let (partitions, per_second) = many();
        let Some(mut steady) = Steady::start(&bootstrap, "many", partitions, per_second, 0).await else {
            return;
        };
        // Brings them together: from here on all of them move.
        move_all(&mut reassign, &mut steady, "many", per_second).await;
        let mut times = Times::default();
        for _ in 0..rounds() {
            times.extend(move_all(&mut reassign, &mut steady, "many", per_second).await);
        }
        steady.end().await;
        measured(&format!(
            "produce during the move of {partitions} partitions at once, with {per_second} records a second to each: {times}"
        ));
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
