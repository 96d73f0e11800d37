use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use aquifer_services::{Process, free_ports};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::artifacts;
use crate::node::{ASK_EVERY, LIMIT, http_get, started, tail};

/// Ports that each node takes: Kafka, internal, HTTP.
const PORTS_PER_NODE: u16 = 3;

/// Several nodes as real processes of one `aquifer quickstart --nodes`.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    first_port: u16,
    nodes: u16,
    process: Process,
    /// Nodes that were killed and started again: no children of the one that started the others.
    again: BTreeMap<u16, Process>,
}

impl Cluster {
    /// Starts `nodes` nodes whose files lie under `dir`, and waits until all are ready.
    ///
    /// # Panics
    /// If they do not come up; the text has the end of the log.
    pub async fn start(dir: &Path, nodes: u16) -> Self {
        Self::start_with(dir, nodes, &[]).await
    }

    /// As [`Cluster::start`], with further options, `name=value` each.
    ///
    /// # Panics
    /// If they do not come up.
    pub async fn start_with(dir: &Path, nodes: u16, options: &[&str]) -> Self {
        let first_port = free_run(nodes * PORTS_PER_NODE);
        let mut command = Command::new(artifacts::aquifer());
        command.args(["quickstart", "--nodes", &nodes.to_string()]);
        command.args(["--listen", &format!("127.0.0.1:{first_port}"), "--dir"]).arg(dir.join("cluster"));
        command.args(options.iter().flat_map(|option| ["--set", option]));
        let process = started("cluster", &command, &dir.join("cluster.log"));
        let again = BTreeMap::new();
        let mut cluster = Self { dir: dir.to_owned(), first_port, nodes, process, again };
        let deadline = tokio::time::Instant::now() + LIMIT;
        // Written when all are ready.
        while !cluster.dir.join("cluster/quickstart.json").exists() {
            let ended = cluster.process.ended();
            assert!(ended.is_none(), "the nodes ended while starting ({ended:?}):\n{}", cluster.log());
            assert!(tokio::time::Instant::now() < deadline, "the nodes are not ready:\n{}", cluster.log());
            tokio::time::sleep(ASK_EVERY).await;
        }
        cluster
    }

    /// The addresses of all nodes, for clients to begin with.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let nodes = (0..self.nodes).map(|node| format!("127.0.0.1:{}", self.first_port + node));
        nodes.collect::<Vec<_>>().join(",")
    }

    /// Kills a node, numbered from 1, as `kill -9` does; gives what starts it again.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn kill(&mut self, node: u16) -> Command {
        let command = self.command(node);
        match self.again.remove(&node) {
            Some(mut process) => process.kill(),
            None => self.signal(node, "-KILL"),
        }
        command
    }

    /// Stops a node as a debugger does (`SIGSTOP`): its connections stay and say nothing.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn freeze(&self, node: u16) {
        self.signal(node, "-STOP");
    }

    /// Lets a frozen node go on.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn thaw(&self, node: u16) {
        self.signal(node, "-CONT");
    }

    /// Waits until a node has ended by itself, as one that finds itself fenced does; gives what it logged.
    ///
    /// # Panics
    /// If it does not.
    pub async fn until_ended(&self, node: u16) -> String {
        let stat = format!("/proc/{}/stat", self.pid(node));
        let runs = || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        let deadline = tokio::time::Instant::now() + LIMIT;
        while runs() {
            assert!(tokio::time::Instant::now() < deadline, "node {node} does not end");
            tokio::time::sleep(ASK_EVERY).await;
        }
        self.node_log(node)
    }

    /// What starts a running node again.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn command(&self, node: u16) -> Command {
        let words = fs::read(format!("/proc/{}/cmdline", self.pid(node))).expect("the node runs");
        let words = words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        let mut words = words.filter(|word| !word.is_empty() && word != "--end-with-parent");
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        command
    }

    /// Asks a node to stop, as `systemctl stop` does, and waits until its process has ended; gives what starts it again.
    ///
    /// # Panics
    /// If it does not end in time.
    pub async fn terminate(&mut self, node: u16) -> Command {
        let command = self.command(node);
        match self.again.remove(&node) {
            Some(mut process) => assert!(process.stop(LIMIT).await, "node {node} does not stop"),
            None => {
                self.signal(node, "-TERM");
                self.until_ended(node).await;
            }
        }
        command
    }

    /// All that a node has logged since its first start.
    #[must_use]
    pub fn node_log(&self, node: u16) -> String {
        let first = fs::read_to_string(self.directory(node).join("log")).unwrap_or_default();
        first + &fs::read_to_string(self.dir.join(format!("node-{node}-again.log"))).unwrap_or_default()
    }

    /// Runs `aquifer node WORDS`, asking node `via`: what it exits with and what it prints.
    ///
    /// # Panics
    /// If the binary cannot be run.
    pub async fn node_command(&self, via: u16, words: &[&str]) -> (i32, String) {
        let mut command = tokio::process::Command::new(artifacts::aquifer());
        command.arg("node").args(words);
        command.arg("--set").arg(format!("metadata.dir={}", self.directory(via).join("metadata").display()));
        let output = command.output().await.expect("the binary runs");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().expect("it was not killed"), said)
    }

    /// What the admin socket of node `via` says of `node`.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn describe(&self, via: u16, node: u16) -> serde_json::Value {
        let socket = self.directory(via).join("metadata/admin.sock");
        let mut stream = UnixStream::connect(socket).await.expect("the node serves its admin socket");
        let request = format!("GET /v1/nodes/{node} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    fn pid(&self, node: u16) -> u32 {
        self.again.get(&node).map_or_else(|| self.first_pid(node), Process::id)
    }

    fn signal(&self, node: u16, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid(node).to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{signal} to node {node}");
    }

    /// Starts a node again that was killed or stopped, and waits until it is ready.
    ///
    /// # Panics
    /// If it does not come up; the text has the end of its log.
    pub async fn start_again(&mut self, node: u16, command: &Command) {
        self.launch(node, command);
        self.until_ready(node).await;
    }

    /// Starts a killed node again.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn launch(&mut self, node: u16, command: &Command) {
        self.again.insert(node, started("node", command, &self.log_again(node)));
    }

    /// Waits until a node that was started again is ready.
    ///
    /// # Panics
    /// If it does not come up; the text has the end of its log.
    pub async fn until_ready(&mut self, node: u16) {
        let log = self.log_again(node);
        let deadline = tokio::time::Instant::now() + LIMIT;
        while !self.is_ready(node).await {
            let said = tail(&fs::read_to_string(&log).unwrap_or_default());
            let ended = self.again.get_mut(&node).and_then(Process::ended);
            assert!(ended.is_none(), "node {node} ended ({ended:?}):\n{said}");
            assert!(tokio::time::Instant::now() < deadline, "node {node} is not ready:\n{said}");
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    fn log_again(&self, node: u16) -> PathBuf {
        self.dir.join(format!("node-{node}-again.log"))
    }

    /// The directory of a node.
    #[must_use]
    pub fn directory(&self, node: u16) -> PathBuf {
        self.dir.join(format!("cluster/node-{node}"))
    }

    async fn is_ready(&self, node: u16) -> bool {
        let answer = http_get(self.http_port(node), "/readyz").await;
        answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Waits until every node's WAL has so many copies: after a start some find their last mirror a few seconds later.
    ///
    /// # Panics
    /// If they do not.
    pub async fn until_copies(&self, copies: u16) {
        let wanted = format!("aquifer_wal_copies {copies}");
        let deadline = tokio::time::Instant::now() + LIMIT;
        for node in 1..=self.nodes {
            loop {
                let page = http_get(self.http_port(node), "/metrics").await.unwrap_or_default();
                if page.lines().any(|line| line == wanted) {
                    break;
                }
                assert!(
                    tokio::time::Instant::now() < deadline,
                    "node {node} has no {copies} copies of its WAL"
                );
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
    }

    fn http_port(&self, node: u16) -> u16 {
        self.first_port + 2 * self.nodes + node - 1
    }

    fn first_pid(&self, node: u16) -> u32 {
        let file = fs::read(self.dir.join("cluster/quickstart.json")).expect("written when all were ready");
        let file: serde_json::Value = serde_json::from_slice(&file).expect("it is JSON");
        let pid = file["nodes"][usize::from(node) - 1]["pid"].as_u64().expect("a process id");
        u32::try_from(pid).expect("a process id")
    }

    /// Asks all nodes to stop and waits until they have.
    ///
    /// # Panics
    /// If they do not end in time.
    pub async fn stop(mut self) {
        // All at once: what is left of a quorum one by one decides nothing any more.
        self.again.keys().for_each(|node| self.signal(*node, "-TERM"));
        for (node, mut process) in std::mem::take(&mut self.again) {
            assert!(process.stop(LIMIT).await, "node {node} does not stop");
        }
        assert!(self.process.stop(LIMIT).await, "the nodes do not stop:\n{}", self.log());
    }

    fn log(&self) -> String {
        let log = fs::read(self.dir.join("cluster.log")).unwrap_or_default();
        tail(&String::from_utf8_lossy(&log))
    }
}

/// The first of `count` free ports in a row.
fn free_run(count: u16) -> u16 {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut firsts = (0..100).map(|_| free_ports::<1>()[0]);
    firsts.find(|first| (*first..first + count).all(free)).expect("some ports in a row are free")
}
