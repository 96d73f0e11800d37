//! The quorum over real connections: formation, joining, a wiped disk, and brokers that are no members.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aquifer_image::{ResumeBroker, UnregisterBroker};
use aquifer_peer::{Listener, Peers, Security, TcpTransport};
use aquifer_quorum::{
    CHANNELS, CallError, FeedChunk, Formation, Peer, PeerNetwork, Quorum, QuorumConfig, RemoteQuorum,
    Request, Role, Storage, agree_on_formation, serve, stay_joined,
};
use aquifer_runtime::{OnEnd, Random, TaskGroup};
use aquifer_types::{LogIndex, NodeId};
use futures::future::join_all;

use crate::support::{PATIENCE, agree, commit, get, leader_of, set, until};

/// A process's part of the port, before it is known whether there is a cluster.
struct Port {
    node: NodeId,
    peers: Peers,
    listener: Listener,
    tasks: TaskGroup,
    address: String,
}

impl Port {
    async fn open(node: u32, instance: u64) -> Self {
        Self::open_at(node, instance, "127.0.0.1:0").await
    }

    async fn open_at(node: u32, instance: u64, address: &str) -> Self {
        let node = NodeId(node);
        let transport = TcpTransport::bind(address, node, &Security::Plain).await.unwrap();
        let address = transport.local_address().unwrap().to_string();
        let tasks = TaskGroup::new();
        let peers = Peers::new(node, instance, &CHANNELS, Arc::new(transport), &tasks);
        let listener = Listener::start(&peers);
        Self { node, peers, listener, tasks, address }
    }

    /// As a controller with a directory starts.
    async fn start(&self, dir: &Path, servers: &[String]) -> Quorum {
        let formation = match dir.join("log").exists() {
            true => Formation::Join,
            false => agree_on_formation(&self.peers, &self.listener, &self.address, servers).await,
        };
        let config = QuorumConfig::new(self.node, Storage::Directory(dir.to_owned()), formation);
        let network = PeerNetwork::new(self.peers.clone());
        let quorum = Quorum::start(config, network, &Random::from_os(), &self.tasks).await.unwrap();
        serve(&quorum, &self.listener);
        let joined = stay_joined(
            quorum.clone(),
            self.peers.clone(),
            self.address.clone(),
            servers.to_vec(),
            self.tasks.stopping().clone(),
        );
        self.tasks.spawn("join", OnEnd::Continue, joined);
        quorum
    }

    async fn stop(self, quorum: Quorum) {
        quorum.resign(Duration::from_secs(5)).await;
        quorum.shutdown().await;
        drop((quorum, self.peers, self.listener));
        self.tasks.shutdown(Duration::from_secs(10)).await.unwrap();
    }
}

async fn all_vote(members: &[Quorum]) {
    for member in members {
        until("a vote for each", || member.status().voters.len() == members.len() && member.is_voter()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_blank_controllers_form_one_cluster_and_a_wiped_one_comes_back_as_another() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let ports = [Port::open(1, 1).await, Port::open(2, 2).await, Port::open(3, 3).await];
    let servers: Vec<String> = ports.iter().map(|port| port.address.clone()).collect();
    let starts = ports.iter().zip(&dirs).map(|(port, dir)| port.start(dir.path(), &servers));
    let mut members = join_all(starts).await;
    all_vote(&members).await;
    let cluster = members[0].image().cluster_id().unwrap();
    for member in &members {
        commit(member, set(&format!("by-{}", member.node()), "x")).await;
    }
    agree(&members).await;

    // The leader stops: it hands the lead over, and the others go on.
    let leader = leader_of(&members).await;
    let at = members.iter().position(|member| member.node() == leader.node()).unwrap();
    let old = members.remove(at);
    let directory = old.directory();
    let mut ports = Vec::from(ports);
    let port = ports.remove(at);
    let (node, address) = (port.node, port.address.clone());
    drop(leader);
    port.stop(old).await;
    commit(&members[0], set("without", "x")).await;

    // Its disk is lost. The same node comes back as another member, and the old one has no vote any more.
    let dir = tempfile::tempdir().unwrap();
    let port = Port::open_at(node.0, 9, &address).await;
    let again = port.start(dir.path(), &servers).await;
    assert_ne!(again.directory(), directory);
    members.push(again.clone());
    all_vote(&members).await;
    agree(&members).await;
    assert_eq!(again.image().cluster_id(), Some(cluster));
    assert_eq!((get(&again, "by-1").as_deref(), get(&again, "without").as_deref()), (Some("x"), Some("x")));
    assert_eq!(again.members().len(), 3, "{:?}", again.members());

    ports.push(port);
    for (port, member) in ports.into_iter().zip(members) {
        // The last one has nobody to hand the lead to.
        member.shutdown().await;
        drop((member, port.peers, port.listener));
        port.tasks.shutdown(Duration::from_secs(10)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_lost_its_vote_and_stays_gets_it_back() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let ports = [Port::open(1, 1).await, Port::open(2, 2).await, Port::open(3, 3).await];
    let servers: Vec<String> = ports.iter().map(|port| port.address.clone()).collect();
    let starts = ports.iter().zip(&dirs).map(|(port, dir)| port.start(dir.path(), &servers));
    let members = join_all(starts).await;
    all_vote(&members).await;
    let leader = leader_of(&members).await;
    let leaving = members.iter().find(|member| member.node() != leader.node()).unwrap();

    // As when it is decommissioned: its vote is taken, and it cannot have it back until it is resumed.
    commit(&leader, UnregisterBroker { node: leaving.node() }.into()).await;
    // The last change may still be on its way.
    while leader.take_vote(leaving.node(), Duration::from_secs(10)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((leader.status().voters.len(), leader.status().learners), (2, vec![leaving.node()]));
    commit(&leader, ResumeBroker { node: leaving.node() }.into()).await;
    all_vote(&members).await;

    for (port, member) in ports.into_iter().zip(members) {
        member.shutdown().await;
        port.tasks.shutdown(Duration::from_secs(10)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_was_removed_while_it_was_down_joins_again_with_its_disk() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut ports = vec![Port::open(1, 1).await, Port::open(2, 2).await, Port::open(3, 3).await];
    let servers: Vec<String> = ports.iter().map(|port| port.address.clone()).collect();
    let starts = ports.iter().zip(&dirs).map(|(port, dir)| port.start(dir.path(), &servers));
    let mut members = join_all(starts).await;
    all_vote(&members).await;
    commit(&members[0], set("before", "x")).await;
    agree(&members).await;

    let leader = leader_of(&members).await;
    let at = members.iter().position(|member| member.node() != leader.node()).unwrap();
    let (removed, port) = (members.remove(at), ports.remove(at));
    let (node, directory, address) = (port.node, removed.directory(), port.address.clone());
    port.stop(removed).await;
    leader.remove_voter(node, PATIENCE).await.unwrap();
    commit(&leader, set("without", "x")).await;
    assert_eq!(leader.members().len(), 2);

    let port = Port::open_at(node.0, 9, &address).await;
    let again = port.start(dirs[at].path(), &servers).await;
    assert_eq!(again.directory(), directory, "its disk is its own");
    members.insert(at, again.clone());
    until("what it missed", || get(&again, "without").is_some()).await;
    all_vote(&members).await;
    commit(&again, set("again", "x")).await;
    agree(&members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_controller_founds_nothing_while_another_one_cannot_be_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Port::open(1, 1).await, Port::open(2, 2).await);
    let servers = [one.address.clone(), two.address.clone()];
    drop((two.peers, two.listener));
    two.tasks.shutdown(Duration::from_secs(10)).await.unwrap();
    let start = tokio::time::timeout(Duration::from_secs(2), one.start(dir.path(), &servers)).await;
    assert!(start.is_err(), "it waits");

    let two_again = Port::open_at(2, 3, &servers[1]).await;
    let other = tempfile::tempdir().unwrap();
    let members = join_all([one.start(dir.path(), &servers), two_again.start(other.path(), &servers)]).await;
    all_vote(&members).await;
    agree(&members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_no_member_follows_and_proposes() {
    let dir = tempfile::tempdir().unwrap();
    let (controller, broker) = (Port::open(1, 1).await, Port::open(7, 7).await);
    let servers = [controller.address.clone()];
    let quorum = controller.start(dir.path(), &servers).await;
    let remote = RemoteQuorum::new(broker.peers.clone(), servers.to_vec(), Duration::from_secs(10));
    let (index, verdict) = remote.propose(Arc::new(set("from-afar", "x"))).await.unwrap();
    verdict.unwrap();
    assert_eq!(get(&quorum, "from-afar").as_deref(), Some("x"));

    let mut after = LogIndex(0);
    while after < index {
        after = match remote.pull(after).await {
            FeedChunk::Snapshot { index, .. } => index,
            FeedChunk::Entries { through, .. } => through,
        };
    }
    // It is held until something happens.
    let (pulled, _) = tokio::join!(remote.pull(after), commit(&quorum, set("next", "x")));
    let FeedChunk::Entries { entries, .. } = pulled else { panic!("{pulled:?}") };
    assert_eq!(entries.len(), 1);
    assert_eq!(quorum.status().role, Role::Leader);

    // The controller restarts elsewhere on the same address; the broker finds it again.
    let address = controller.address.clone();
    controller.stop(quorum).await;
    let controller = Port::open_at(1, 2, &address).await;
    let quorum = controller.start(dir.path(), &servers).await;
    let mut proposed = remote.propose(Arc::new(set("again", "x"))).await;
    while proposed.is_err() {
        proposed = remote.propose(Arc::new(set("again", "x"))).await;
    }
    assert_eq!(get(&quorum, "again").as_deref(), Some("x"));
}

/// As when the machine whose disk was replaced is switched on again, or two have the same `node.id`.
#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_is_there_does_not_lose_its_vote_to_another_storage_of_its_node() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut ports = vec![Port::open(1, 1).await, Port::open(2, 2).await, Port::open(3, 3).await];
    let servers: Vec<String> = ports.iter().map(|port| port.address.clone()).collect();
    let starts = ports.iter().zip(&dirs).map(|(port, dir)| port.start(dir.path(), &servers));
    let mut members = join_all(starts).await;
    all_vote(&members).await;
    agree(&members).await;

    let leader = leader_of(&members).await;
    let at = members.iter().position(|member| member.node() != leader.node()).unwrap();
    let node = members[at].node();
    let twin = Peer { node, directory: members[at].directory() ^ 1, address: "127.0.0.1:9".to_owned() };
    let answer = leader.handle(Request::Join(twin)).await;
    assert!(matches!(&answer, Err(CallError::NotDelivered(why)) if why.contains("node.id")), "{answer:?}");
    assert!(members[at].is_voter());
    drop(leader);
    for (port, member) in ports.drain(..).zip(members.drain(..)) {
        member.shutdown().await;
        drop((member, port.peers, port.listener));
        port.tasks.shutdown(Duration::from_secs(10)).await.unwrap();
    }
}
