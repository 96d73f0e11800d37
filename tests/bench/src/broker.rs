mod aquifer;
mod kafka;
mod node;

use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use aquifer_services::Minio;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use self::aquifer::Aquifer;
use self::node::Node;
use crate::BenchError;
use crate::layout::Layout;
use crate::machine::first_line;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Aquifer with its default configuration, on a store of files.
    Aquifer,
    /// The same on a MinIO of its own, which keeps its objects on the same disk; MinIO's CPU and memory are not
    /// counted as the broker's.
    AquiferMinio,
    /// Apache Kafka that syncs before it acknowledges, as Aquifer does.
    KafkaFsync,
    /// Apache Kafka as it comes: it acknowledges what is in the page cache.
    Kafka,
    /// Several nodes of Aquifer with `wal.mode=mirror`, which share a store of files.
    AquiferMirror,
    /// Several nodes of Apache Kafka, three copies of which two must be there, synced before they count.
    KafkaRf3Fsync,
    /// The same with Kafka's own flush: what is in three page caches is acknowledged.
    KafkaRf3,
}

impl System {
    /// In the order of the reports.
    pub const ALL: [Self; 7] = [
        Self::Aquifer,
        Self::AquiferMinio,
        Self::KafkaFsync,
        Self::Kafka,
        Self::AquiferMirror,
        Self::KafkaRf3Fsync,
        Self::KafkaRf3,
    ];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aquifer => "aquifer",
            Self::AquiferMinio => "aquifer-minio",
            Self::KafkaFsync => "kafka-fsync",
            Self::Kafka => "kafka",
            Self::AquiferMirror => "aquifer-mirror",
            Self::KafkaRf3Fsync => "kafka-rf3-fsync",
            Self::KafkaRf3 => "kafka-rf3",
        }
    }

    /// True for all kinds of Apache Kafka.
    pub fn is_kafka(self) -> bool {
        matches!(self, Self::KafkaFsync | Self::Kafka | Self::KafkaRf3Fsync | Self::KafkaRf3)
    }

    /// True for what is made of several nodes.
    pub fn is_cluster(self) -> bool {
        matches!(self, Self::AquiferMirror | Self::KafkaRf3Fsync | Self::KafkaRf3)
    }

    /// Copies of each partition.
    pub(crate) fn copies(self) -> i32 {
        if self.is_cluster() { 3 } else { 1 }
    }

    fn is_synced(self) -> bool {
        !matches!(self, Self::Kafka | Self::KafkaRf3)
    }

    /// The system of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str) -> Result<Self, BenchError> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|system| system.name() == name);
        found.ok_or_else(|| BenchError::Unknown(format!("there is no system '{name}': one of {names}")))
    }
}

/// What the `aquifer` binary says that it is.
///
/// # Errors
/// If there is none.
pub(crate) fn binary_version() -> Result<String, BenchError> {
    let binary = aquifer::find_binary()?;
    let version = first_line(&binary.display().to_string(), &["--version"]);
    if aquifer::is_named() {
        return Ok(format!("{version}, the binary of AQUIFER_BIN"));
    }
    let profile = binary.parent().and_then(Path::file_name).unwrap_or_default();
    let commit = first_line("git", &["describe", "--always", "--dirty"]);
    Ok(format!("{version}, commit {commit}, profile {}", profile.display()))
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a node may take.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// The heap of a JVM.
    pub heap: String,
    /// Each log of an Aquifer node; None: as the layout has it.
    pub wal: Option<&'static str>,
}

/// A running broker, or the nodes of a cluster, with a directory of its own; ended when it is dropped.
#[derive(Debug)]
pub struct Broker {
    runtime: Rc<Runtime>,
    system: System,
    sizes: Sizes,
    /// Node 1 comes first.
    nodes: Vec<Node>,
    // Below the nodes: the store goes last.
    _minio: Option<Minio>,
}

impl Broker {
    /// Starts one whose files lie under `directory`, and waits until each node answers.
    ///
    /// # Errors
    /// If it does not come up, or is not installed.
    pub fn start(
        system: System,
        layout: Layout,
        runtime: &Rc<Runtime>,
        directory: &Path,
        sizes: &Sizes,
    ) -> Result<Self, BenchError> {
        let minio = match system {
            System::AquiferMinio => Some(runtime.block_on(aquifer::store())?),
            _ => None,
        };
        let nodes = if system.is_kafka() {
            let started = kafka::start(system, layout.roles(), directory, &sizes.heap);
            runtime.block_on(started)?.into_iter().map(Node::Kafka).collect()
        } else {
            let wal_size = sizes.wal.or(layout.wal_size());
            let started = Aquifer::start(layout.roles(), directory, wal_size, minio.as_ref());
            runtime.block_on(started)?.into_iter().map(Node::Aquifer).collect()
        };
        Ok(Self { runtime: Rc::clone(runtime), system, sizes: sizes.clone(), nodes, _minio: minio })
    }

    /// `127.0.0.1:PORT` of each broker, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.brokers().map(|node| format!("127.0.0.1:{}", node.port())).collect::<Vec<_>>().join(",")
    }

    fn brokers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_broker())
    }

    /// The process id of each node, for `/proc`.
    pub fn process_ids(&self) -> Vec<u32> {
        self.nodes.iter().map(Node::process_id).collect()
    }

    /// The configuration file of its last node, which is a broker.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn configuration(&self) -> Result<String, BenchError> {
        let mut text = String::new();
        if self.nodes.len() > 1 {
            text.push_str(&format!("# the last of {} nodes; the others are alike\n", self.nodes.len()));
        }
        if self.system.is_kafka() {
            let heap = &self.sizes.heap;
            text.push_str(&format!("# JVM: -Xms{heap} -Xmx{heap} -XX:+UseG1GC\n"));
        }
        let last = self.nodes.last().expect("there is one node at least");
        Ok(text + &last.configuration()?)
    }

    /// From exec to the first answer of the first node, at its last start.
    pub fn start_took(&self) -> Duration {
        self.nodes[0].start_took()
    }

    /// Stops each node in turn as an operator does; gives the time from SIGTERM to the exit.
    ///
    /// # Errors
    /// If one had to be killed.
    pub fn stop(&mut self) -> Result<Duration, BenchError> {
        let mut took = Duration::ZERO;
        for node in &mut self.nodes {
            took += self.runtime.block_on(node.stop())?;
        }
        Ok(took)
    }

    /// Kills a node as a power cut would.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node - 1].kill();
    }

    /// Stops a node as a debugger does (`SIGSTOP`): its connections stay and say nothing, as those of a host that died.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn freeze(&self, node: usize) -> Result<(), BenchError> {
        self.nodes[node - 1].freeze()
    }

    /// Starts each node that does not run, on the same port with the same files.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn launch(&mut self) -> Result<(), BenchError> {
        for node in &mut self.nodes {
            if !node.runs() {
                node.launch()?;
            }
        }
        Ok(())
    }

    /// The same, and waits until all answer.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn start_again(&mut self) -> Result<(), BenchError> {
        let started: Vec<bool> = self.nodes.iter_mut().map(|node| !node.runs()).collect();
        self.launch()?;
        for (node, started) in self.nodes.iter_mut().zip(started) {
            if started {
                self.runtime.block_on(node.until_it_answers())?;
            }
        }
        Ok(())
    }

    /// Whether every node is well: brokers know all others, and Aquifer's write-ahead logs have all their copies.
    pub(crate) fn is_whole(&self) -> bool {
        let brokers = self.brokers().count();
        let copies = self.system.copies() as u64;
        self.runtime.block_on(async {
            for node in &self.nodes {
                if !node.is_whole(brokers, copies).await {
                    return false;
                }
            }
            true
        })
    }

    /// The node that leads the metadata quorum, if one says so.
    pub(crate) fn quorum_leader(&self) -> Option<usize> {
        self.runtime.block_on(async {
            let mut newest = None;
            for (node, id) in self.nodes.iter().zip(1..) {
                newest = newest.max(node.elected(id).await);
            }
            newest.map(|(_, leader)| leader)
        })
    }

    /// How often mirrors came or went so far; None where there are none.
    pub(crate) fn rolls(&self) -> Option<u64> {
        self.runtime.block_on(async {
            let mut rolls = None;
            for node in self.brokers() {
                let own = node.rolls().await;
                rolls = Some(rolls.unwrap_or_default() + own?);
            }
            rolls
        })
    }
}
