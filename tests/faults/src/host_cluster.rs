use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aquifer_harness::{aquifer, http_get_from};
use aquifer_services::{Minio, Process, or_skip, skip};
use tokio::time::{Instant, sleep, timeout};

use crate::disk::SmallDisk;
use crate::network::{Network, Place};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Broker and controller.
    Both,
    /// Broker only.
    Broker,
    /// Controller only.
    Controller,
}

/// Several nodes, each a real process on a host and a disk of its own, with mutual TLS between them and MinIO as their store.
#[derive(Debug)]
pub struct HostCluster {
    network: Network,
    minio: Minio,
    dir: PathBuf,
    nodes: Vec<Node>,
}

/// One of them.
#[derive(Debug)]
struct Node {
    role: Role,
    /// Before the disk: it ends first.
    process: Option<Process>,
    disk: SmallDisk,
    started: Instant,
    /// How often it ended by itself and was started again.
    returns: u32,
}

const KAFKA: u16 = 9092;
const INTERNAL: u16 = 9093;
const HTTP: u16 = 9644;
const BUCKET: &str = "aquifer";
/// WAL, copies of others' segments, metadata, and little beside.
const DISK_BYTES: u64 = 400 << 20;
/// What a process that ended waits before it is started again, as the unit does.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// For an answer of a host that may be away.
const ANSWER: Duration = Duration::from_secs(1);
/// How long a node may take to stop: longer than its own limits.
const STOP: Duration = Duration::from_secs(200);

const SETTINGS: &[(&str, &str)] = &[
    ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:SSL"),
    ("wal.size", "128MiB"),
    ("wal.mirror.size", "128MiB"),
    ("store.url", "s3://aquifer/cluster"),
    ("store.s3.access.key", Minio::ACCESS_KEY),
    ("store.s3.secret.key", Minio::ACCESS_KEY),
    ("store.offload.interval.ms", "1000"),
    ("wal.retain.after.offload.ms", "1000"),
    ("offsets.topic.num.partitions", "5"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("auto.create.topics.enable", "false"),
];

impl HostCluster {
    /// Starts a node for each role, and waits until all are ready; `None` if the test was skipped. Only inside
    /// [`aquifer_harness::in_own_namespaces`].
    ///
    /// # Panics
    /// If they do not come up.
    pub async fn start(dir: &Path, roles: &[Role]) -> Option<Self> {
        let network = Network::build(u16::try_from(roles.len()).expect("some nodes"));
        let minio = or_skip(Minio::start_at(Place::Outside.address()).await)?;
        minio.create_bucket(BUCKET);
        let mut nodes = Vec::new();
        for &role in roles {
            match SmallDisk::mount(DISK_BYTES) {
                Ok(disk) => {
                    nodes.push(Node { role, process: None, disk, started: Instant::now(), returns: 0 });
                }
                Err(error) => {
                    skip(&format!("hosts' disks need root and loop devices: {error}"));
                    return None;
                }
            }
        }
        let mut cluster = Self { network, minio, dir: dir.to_owned(), nodes };
        cluster.configure();
        cluster.network.hosts().for_each(|node| cluster.launch(node));
        cluster.until_ready().await;
        Some(cluster)
    }

    fn configure(&self) {
        let ids: Vec<String> = self.network.hosts().map(|node| node.to_string()).collect();
        let certificates = self.dir.join("certificates");
        let made = Command::new(aquifer())
            .args(["certs", "--nodes", &ids.join(","), "--dir"])
            .arg(&certificates)
            .output()
            .expect("the binary runs");
        assert!(made.status.success(), "no certificates: {}", String::from_utf8_lossy(&made.stderr));
        let controllers = self.network.hosts().filter(|node| self.node(*node).role != Role::Broker);
        let controllers: Vec<String> = controllers.map(|node| at(node, INTERNAL).to_string()).collect();
        for node in self.network.hosts() {
            let Node { role, disk, .. } = self.node(node);
            let (roles, clients) = match role {
                Role::Both => ("broker,controller", true),
                Role::Broker => ("broker", true),
                Role::Controller => ("controller", false),
            };
            let clients = if clients { format!("PLAINTEXT://{},", at(node, KAFKA)) } else { String::new() };
            let store = |name: &str| {
                certificates.join(format!("node-{node}")).join(format!("{name}.pem")).display().to_string()
            };
            let own = [
                ("node.id", node.to_string()),
                ("process.roles", roles.to_owned()),
                ("broker.rack", format!("rack-{node}")),
                ("listeners", format!("{clients}CONTROLLER://{}", at(node, INTERNAL))),
                ("http.listen", at(node, HTTP).to_string()),
                ("controller.quorum.bootstrap.servers", controllers.join(",")),
                ("listener.name.controller.ssl.keystore.location", store("keystore")),
                ("listener.name.controller.ssl.truststore.location", store("truststore")),
                ("metadata.dir", disk.path().join("metadata").display().to_string()),
                ("wal.dir", disk.path().join("wal").display().to_string()),
                ("store.s3.endpoint", self.minio.endpoint()),
            ];
            let all = own.iter().map(|(name, value)| (*name, value.as_str())).chain(SETTINGS.iter().copied());
            let text: String = all.map(|(name, value)| format!("{name}={value}\n")).collect();
            fs::write(self.properties(node), text).expect("the properties file can be written");
        }
    }

    fn properties(&self, node: u16) -> PathBuf {
        self.dir.join(format!("node-{node}.properties"))
    }

    fn log_file(&self, node: u16) -> PathBuf {
        self.dir.join(format!("node-{node}.log"))
    }

    fn node(&self, node: u16) -> &Node {
        &self.nodes[usize::from(node) - 1]
    }

    fn node_mut(&mut self, node: u16) -> &mut Node {
        &mut self.nodes[usize::from(node) - 1]
    }

    /// The network between the nodes.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = u16> + use<> {
        self.network.hosts()
    }

    /// The addresses that clients begin with.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let brokers = self.nodes().filter(|node| self.node(*node).role != Role::Controller);
        brokers.map(|node| at(node, KAFKA).to_string()).collect::<Vec<_>>().join(",")
    }

    /// kill -9. It is down until [`Self::launch`].
    ///
    /// # Panics
    /// If it is down already.
    pub fn kill(&mut self, node: u16) {
        self.node_mut(node).process.take().expect("the node is up").kill();
    }

    /// Starts a node that is down.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn launch(&mut self, node: u16) {
        let mut serve = Command::new(aquifer());
        serve.args(["serve", "--config"]).arg(self.properties(node));
        let command = self.network.on(node, &serve);
        let process = Process::start("node", &command, &self.log_file(node));
        let process = process.unwrap_or_else(|error| panic!("{error}"));
        let node = self.node_mut(node);
        assert!(node.process.is_none(), "it is down");
        (node.process, node.started) = (Some(process), Instant::now());
    }

    /// `SIGSTOP`: its connections stay and say nothing.
    pub fn freeze(&self, node: u16) {
        self.signal(node, "-STOP");
    }

    /// Lets a frozen node go on.
    pub fn thaw(&self, node: u16) {
        self.signal(node, "-CONT");
    }

    fn signal(&self, node: u16, signal: &str) {
        // It may have ended by itself; what has ended is there until somebody looks, and takes signals.
        let Some(process) = &self.node(node).process else { return };
        let sent = Command::new("kill").args([signal, &process.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{signal} to node {node}");
    }

    /// Fills a node's disk up to the last block.
    pub fn fill_disk(&self, node: u16) {
        self.node(node).disk.fill();
    }

    /// Gives it room again.
    pub fn free_disk(&self, node: u16) {
        self.node(node).disk.free();
    }

    /// For so long, starts nodes again that end by themselves, as one does that finds itself fenced.
    pub async fn tend(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.look_after();
            sleep(LOOK_AGAIN).await;
        }
    }

    fn look_after(&mut self) {
        for node in self.nodes() {
            let own = self.node_mut(node);
            let ended = own.process.as_mut().is_some_and(|process| process.ended().is_some());
            if ended && own.started.elapsed() >= RESTART_AFTER {
                own.process = None;
                own.returns += 1;
                self.launch(node);
            }
        }
    }

    /// How often nodes ended by themselves and were started again.
    #[must_use]
    pub fn returns(&self) -> u32 {
        self.nodes.iter().map(|node| node.returns).sum()
    }

    /// Waits until every node is ready.
    ///
    /// # Panics
    /// If they are not within [`aquifer_harness::LIMIT`]; the text has the end of the logs.
    pub async fn until_ready(&mut self) {
        self.until("ready", async |cluster, node| cluster.is_ready(node).await).await;
    }

    /// Waits until every broker's WAL has so many copies.
    ///
    /// # Panics
    /// As [`Self::until_ready`].
    pub async fn until_copies(&mut self, copies: u64) {
        let enough = async |cluster: &Self, node| {
            let controls = cluster.node(node).role == Role::Controller;
            controls || cluster.metric(node, "aquifer_wal_copies").await == Some(copies)
        };
        self.until("mirrored", enough).await;
    }

    async fn until(&mut self, what: &str, holds: impl AsyncFn(&Self, u16) -> bool) {
        let deadline = Instant::now() + aquifer_harness::LIMIT;
        for node in self.nodes() {
            while !holds(self, node).await {
                assert!(Instant::now() < deadline, "node {node} is not {what}:\n{}", self.logs());
                self.look_after();
                sleep(LOOK_AGAIN).await;
            }
        }
    }

    async fn is_ready(&self, node: u16) -> bool {
        self.get(node, "/readyz").await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    async fn get(&self, node: u16, path: &str) -> Option<String> {
        timeout(ANSWER, http_get_from(at(node, HTTP), path)).await.ok()?.ok()
    }

    /// A metric without labels; `None` while the node does not answer.
    pub async fn metric(&self, node: u16, name: &str) -> Option<u64> {
        let page = self.get(node, "/metrics").await?;
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }

    /// Who leads the metadata quorum.
    ///
    /// # Panics
    /// If nobody does.
    pub async fn quorum_leader(&mut self) -> u16 {
        let deadline = Instant::now() + aquifer_harness::LIMIT;
        loop {
            for node in self.nodes() {
                if self.metric(node, "aquifer_quorum_leader").await == Some(1) {
                    return node;
                }
            }
            assert!(Instant::now() < deadline, "nobody leads the quorum:\n{}", self.logs());
            self.tend(LOOK_AGAIN).await;
        }
    }

    /// The last lines of all logs, for a failure's text.
    #[must_use]
    pub fn logs(&self) -> String {
        let tail = |node| {
            let log = fs::read(self.log_file(node)).unwrap_or_default();
            let log = String::from_utf8_lossy(&log).into_owned();
            let lines: Vec<&str> = log.lines().collect();
            format!("node {node}:\n{}\n", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        self.nodes().map(tail).collect()
    }

    /// Asks all nodes to stop and waits until they have.
    ///
    /// # Panics
    /// If they do not end in time.
    pub async fn stop(mut self) {
        // All at once: what is left of a quorum one by one decides nothing any more.
        self.nodes().for_each(|node| self.signal(node, "-TERM"));
        for node in self.nodes() {
            if let Some(mut process) = self.node_mut(node).process.take() {
                assert!(process.stop(STOP).await, "node {node} does not stop:\n{}", self.logs());
            }
        }
    }
}

fn at(node: u16, port: u16) -> SocketAddr {
    SocketAddr::from((Place::Host(node).address(), port))
}
