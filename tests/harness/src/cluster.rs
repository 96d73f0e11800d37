use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use aquifer_services::{Process, free_ports};

use crate::artifacts;
use crate::node::{ASK_EVERY, LIMIT, started, tail};

/// Ports that each node takes: Kafka, internal, HTTP.
const PORTS_PER_NODE: u16 = 3;

/// Several nodes as real processes of one `aquifer quickstart --nodes`.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    first_port: u16,
    nodes: u16,
    process: Process,
}

impl Cluster {
    /// Starts `nodes` nodes whose files lie under `dir`, and waits until all are ready.
    ///
    /// # Panics
    /// If they do not come up; the text has the end of the log.
    pub async fn start(dir: &Path, nodes: u16) -> Self {
        let first_port = free_run(nodes * PORTS_PER_NODE);
        let mut command = Command::new(artifacts::aquifer());
        command.args(["quickstart", "--nodes", &nodes.to_string()]);
        command.args(["--listen", &format!("127.0.0.1:{first_port}"), "--dir"]).arg(dir.join("cluster"));
        let process = started("cluster", &command, &dir.join("cluster.log"));
        let mut cluster = Self { dir: dir.to_owned(), first_port, nodes, process };
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

    /// Asks all nodes to stop and waits until they have.
    ///
    /// # Panics
    /// If they do not end in time.
    pub async fn stop(mut self) {
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
