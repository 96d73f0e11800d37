//! Three controllers on a simulated network: their processes die, and links are cut.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aquifer_peer::{Listener, Peers, SimulatedNetwork};
use aquifer_quorum::{
    CHANNELS, Formation, MemoryStorage, PeerNetwork, Quorum, QuorumConfig, RemoteQuorum, Storage, serve,
    succeed_dead_leaders,
};
use aquifer_runtime::{OnEnd, Random, TaskGroup};
use aquifer_types::NodeId;
use tokio::time::Instant;

use crate::support::{agree, commit, get, leader_of, set, until};

/// Controllers 1, 2 and 3, and the network between them.
struct Controllers {
    network: SimulatedNetwork,
    members: Vec<Quorum>,
    _listeners: Vec<Listener>,
    tasks: TaskGroup,
}

impl Controllers {
    async fn start(seed: u64) -> Self {
        let (random, tasks) = (Random::seeded(seed), TaskGroup::new());
        let network = SimulatedNetwork::new(random.clone());
        let voters: BTreeMap<_, _> = (1..=3).map(|node| (NodeId(node), address(NodeId(node)))).collect();
        let (mut members, mut listeners) = (Vec::new(), Vec::new());
        for node in voters.keys().copied() {
            let (peers, listener) = open(&network, node, &tasks);
            let storage = Storage::Memory(MemoryStorage::new());
            let config = QuorumConfig::new(node, storage, Formation::Bootstrap(voters.clone()));
            let network = PeerNetwork::new(peers.clone());
            let quorum = Quorum::start(config, network, &random, &tasks).await.unwrap();
            serve(&quorum, &listener);
            let succession = succeed_dead_leaders(quorum.clone(), peers, tasks.stopping().clone());
            tasks.spawn("succession", OnEnd::Continue, succession);
            members.push(quorum);
            listeners.push(listener);
        }
        agree(&members).await;
        Self { network, members, _listeners: listeners, tasks }
    }

    /// Who leads, once all know it.
    async fn leader(&self) -> NodeId {
        let leader = leader_of(&self.members).await.node();
        let all_know = || self.members.iter().all(|member| member.status().leader == Some(leader));
        until("the leader is known", all_know).await;
        leader
    }

    fn others(&self, node: NodeId) -> Vec<Quorum> {
        self.members.iter().filter(|member| member.node() != node).cloned().collect()
    }

    fn cut_off(&self, node: NodeId) {
        for other in self.others(node) {
            self.network.set_cut(node, other.node(), true);
            self.network.set_cut(other.node(), node, true);
        }
    }

    async fn stop(self) {
        for member in &self.members {
            member.shutdown().await;
        }
        self.tasks.shutdown(Duration::from_secs(10)).await.unwrap();
    }
}

/// A node's port on the network.
fn open(network: &SimulatedNetwork, node: NodeId, tasks: &TaskGroup) -> (Peers, Listener) {
    let transport = network.transport(node, &address(node));
    let peers = Peers::new(node, u64::from(node.get()), &CHANNELS, transport, tasks);
    let listener = Listener::start(&peers);
    (peers, listener)
}

fn address(node: NodeId) -> String {
    format!("host-{node}:9093")
}

/// The least time after which followers give up a leader that they do not hear.
fn patience() -> Duration {
    13 * QuorumConfig::single(NodeId(1), "").heartbeat
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_process_ended_is_succeeded_before_anybody_would_miss_its_heartbeats() {
    for seed in 1..=8 {
        let controllers = Controllers::start(seed).await;
        let leader = controllers.leader().await;
        let others = controllers.others(leader);
        let before = Instant::now();
        controllers.network.kill(&address(leader));
        let succeeded =
            || others.iter().any(|member| member.leader().is_some_and(|next| next.node != leader));
        until("another leads", succeeded).await;
        assert!(before.elapsed() < patience(), "after {:?}", before.elapsed());
        commit(&others[0], set("after", "x")).await;
        controllers.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_connections_break_and_who_lives_leads_on() {
    let controllers = Controllers::start(3).await;
    let leader = controllers.leader().await;
    let term = controllers.members[0].status().term;
    for _ in 0..5 {
        controllers.network.reset(leader);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for member in &controllers.members {
        assert_eq!((member.status().leader, member.status().term), (Some(leader), term));
    }
    controllers.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_knows_for_how_long_it_heard_no_majority() {
    let controllers = Controllers::start(3).await;
    let leader = controllers.leader().await;
    let cut_off = leader_of(&controllers.members).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(cut_off.silence() < Duration::from_secs(1), "{:?}", cut_off.silence());
    controllers.cut_off(leader);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(cut_off.silence() > Duration::from_secs(4), "{:?}", cut_off.silence());
    controllers.network.heal();
    until("it hears of a leader again", || cut_off.silence() < Duration::from_secs(1)).await;
    controllers.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_leaves_a_controller_that_is_cut_off_from_the_others() {
    let controllers = Controllers::start(5).await;
    let leader = controllers.leader().await;
    let asked = controllers.others(leader)[0].node();
    let (peers, _listener) = open(&controllers.network, NodeId(9), &controllers.tasks);
    let remote = RemoteQuorum::new(peers, vec![address(asked)], Duration::from_secs(10));
    while remote.propose(Arc::new(set("before", "x"))).await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let asked = remote.controllers()[0];
    assert_ne!(asked, leader);
    controllers.cut_off(asked);
    let proposing = async {
        while remote.propose(Arc::new(set("after", "x"))).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), proposing).await.expect("another controller is asked");
    let leads = leader_of(&controllers.others(asked)).await;
    until("the change", || get(&leads, "after").is_some()).await;
    assert_ne!(remote.controllers()[0], asked);
    controllers.stop().await;
}
