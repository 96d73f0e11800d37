//! Clusters whose nodes have a host each: processes die and hang, the network splits one way and both, disks are full, round
//! after round under producers, and the histories of these are compared with what is there afterwards.

use std::env;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aquifer_faults::{Faults, HostCluster, Kept, Load, Network, Place, Role, Times, asked, measured};
use aquifer_harness::{Script, in_own_namespaces};
use aquifer_runtime::Random;
use tokio::time::Instant;

/// After each so many rounds everything is read and compared, and new topics begin.
const ROUNDS_A_TOPIC: u32 = 30;
const PARTITIONS: &str = "6";
/// What each partition must have taken since a fault was mended.
const RECORDS_AFTER: u64 = 20;
/// How long a cluster may need to serve everything again once a fault is mended.
const SERVES_AGAIN: Duration = Duration::from_secs(120);

fn rounds() -> u32 {
    aquifer_faults::rounds(8, 300)
}

/// `AQUIFER_FAULTS_SEED` asks for one that was printed.
fn seed() -> u64 {
    asked("AQUIFER_FAULTS_SEED").unwrap_or_else(|| Random::from_os().next_u64())
}

/// Producers of both kinds on topics of their own, and a group that commits.
struct Clients {
    idempotent: Load,
    plain: Load,
    group: Script,
}

impl Clients {
    /// `None` if the clients are not installed.
    async fn start(dir: &Path, bootstrap: &str, number: u32) -> Option<Self> {
        let load = async |kind: &str| {
            let (topic, kind) = (format!("{kind}-{number}"), format!("kind={kind}"));
            let partitions = format!("partitions={PARTITIONS}");
            Load::start(dir, bootstrap, &topic, &[&kind, &partitions, "burst=6", "pace_ms=20"]).await
        };
        let (mut idempotent, mut plain) = (load("idempotent").await?, load("plain").await?);
        for load in [&mut idempotent, &mut plain] {
            load.run_everywhere(RECORDS_AFTER).await;
        }
        let (topic, group) = (format!("plain-{number}"), format!("group-{number}"));
        let arguments = [bootstrap, &topic, PARTITIONS, &group];
        Some(Self { idempotent, plain, group: Script::start("commit.py", &arguments).await? })
    }

    /// Waits until all nodes are ready and both producers go on in every partition; how long that took.
    async fn go_on(&mut self, cluster: &mut HostCluster) -> Duration {
        let start = Instant::now();
        cluster.until_ready().await;
        let going_on = async {
            for load in [&mut self.idempotent, &mut self.plain] {
                load.run_everywhere(RECORDS_AFTER).await;
            }
        };
        let well = tokio::select! {
            () = going_on => true,
            () = cluster.tend(SERVES_AGAIN) => false,
        };
        assert!(well, "producers do not go on within {SERVES_AGAIN:?}:\n{}", cluster.logs());
        let served = start.elapsed();
        // A later commit covers what an earlier one lost: looked at after each fault, when all nodes are well.
        self.group.tell("look").await;
        self.group.expect("looked", SERVES_AGAIN).await;
        served
    }

    /// Ends, and compares what was acknowledged with what is there; how many records of each producer, and commits.
    async fn judge(mut self, dir: &Path) -> [usize; 3] {
        let mut counted = [0; 3];
        for (load, count) in [&mut self.idempotent, &mut self.plain].into_iter().zip(&mut counted) {
            let said = load.stop().await;
            let history = load.check(dir, Kept::All).await;
            assert_eq!(history.failed(), 0, "no record may fail: {said}");
            *count = history.acknowledged();
        }
        self.group.tell("stop").await;
        self.group.expect("stopped", SERVES_AGAIN).await;
        self.group.tell("check").await;
        let checked = self.group.expect("checked", SERVES_AGAIN).await;
        counted[2] = checked.split(' ').next().and_then(|count| count.parse().ok()).expect("it counts");
        counted
    }
}

async fn survives(name: &str, nodes: u16) {
    let Some(dir) = in_own_namespaces(name, &env::temp_dir()) else { return };
    let roles = vec![Role::Both; usize::from(nodes)];
    let Some(mut cluster) = HostCluster::start(&dir, &roles).await else { return };
    let bootstrap = cluster.bootstrap();
    let (seed, mut number, mut counted) = (seed(), 0, [0; 3]);
    let mut faults = Faults::seeded(seed, nodes);
    let mut times = Times::default();
    while number < rounds() {
        let Some(mut clients) = Clients::start(&dir, &bootstrap, number).await else { return };
        for (fault, lasts) in faults.by_ref().take((rounds() - number).min(ROUNDS_A_TOPIC) as usize) {
            number += 1;
            tell(&format!("{name}, seed {seed}, round {number}: {fault} for {:.1} s", lasts.as_secs_f64()));
            fault.begin(&mut cluster);
            cluster.tend(lasts).await;
            fault.end(&mut cluster);
            let took = clients.go_on(&mut cluster).await;
            tell(&format!("served again {:.1} s after", took.as_secs_f64()));
            times.add(took);
        }
        let found = clients.judge(&dir).await;
        counted.iter_mut().zip(found).for_each(|(all, more)| *all += more);
    }
    let returns = cluster.returns();
    cluster.stop().await;
    let [idempotent, plain, commits] = counted;
    measured(&format!(
        "cluster of {nodes}: {number} faults (seed {seed}), {idempotent} records of idempotent producers acknowledged and \
         there once and in order, {plain} of plain ones there, {commits} commits; nodes that ended by themselves came back \
         {returns} times; everything served again after the fault: {times}"
    ));
}

#[expect(clippy::print_stderr, reason = "where a test stands, for who waits or looks for a cause")]
fn tell(what: &str) {
    eprintln!("{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hosts_lose_nothing_by_faults_at_random() {
    survives("three_hosts_lose_nothing_by_faults_at_random", 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hosts_lose_nothing_by_faults_at_random() {
    survives("five_hosts_lose_nothing_by_faults_at_random", 5).await;
}

/// What the rounds above are worth: a fault of the network that is none would show nothing.
#[test]
fn the_faults_of_the_network_cut_the_ways_that_they_say_and_no_other() {
    let name = "the_faults_of_the_network_cut_the_ways_that_they_say_and_no_other";
    if in_own_namespaces(name, &env::temp_dir()).is_none() {
        return;
    }
    let network = Network::build(2);
    let ours = TcpListener::bind((Place::Outside.address(), 0)).expect("a port on the bridge");
    let port = ours.local_addr().expect("it is bound").port();
    // Connections are made by the kernel's backlog; nobody needs to accept them.
    let reaches = |host: u16| {
        let connect = format!("exec 3<>/dev/tcp/{}/{port}", Place::Outside.address());
        let mut command = Command::new("timeout");
        command.args(["1", "bash", "-c", &connect]);
        network.on(host, &command).output().expect("nsenter starts").status.success()
    };
    // A link that has come up asks for its neighbour's address first.
    let reaches_again = |host: u16| (0..10).any(|_| reaches(host));
    let [first, outside] = [Place::Host(1), Place::Outside];
    assert!(reaches(1) && reaches(2), "all is well at first");
    network.mute(first, outside);
    assert!(!reaches(1), "what the host says is lost");
    assert!(reaches(2), "what another one says is not");
    network.unmute(first, outside);
    assert!(reaches_again(1));
    network.mute(outside, first);
    assert!(!reaches(1), "the answer is lost");
    network.unmute(outside, first);
    network.mute(first, Place::Host(2));
    assert!(reaches_again(1), "this way is open");
    network.unmute(first, Place::Host(2));
    network.cut(1);
    assert!(!reaches(1) && reaches(2));
    network.join(1);
    assert!(reaches_again(1));
}
