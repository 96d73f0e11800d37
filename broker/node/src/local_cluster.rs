//! `aquifer quickstart --nodes N`: a cluster of real processes on this machine.
//!
//! ```text
//!   DIR/node-1/{metadata,wal,log}  DIR/node-2/…    each node's own
//!   DIR/store/                                     the object store of all
//!   DIR/quickstart.json                            ids, process ids and addresses
//! ```

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// How long all nodes may take until they serve.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// How long a node may take to stop: longer than its own limits.
const STOP_LIMIT: Duration = Duration::from_secs(200);
/// Pause between two looks at a node that starts.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Bytes of a node's log that are shown when it does not start.
const LOG_TAIL: usize = 2_000;

/// The file that one cluster holds.
const LOCK: &str = "quickstart.lock";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What is wrong with the nodes.
#[derive(Debug, thiserror::Error)]
enum ClusterError {
    #[error("--listen {0}: an address and a port, such as 127.0.0.1:9092, are needed for several nodes")]
    Listen(String),
    #[error("a cluster runs in {dir}; stop it, or give this one another directory with --dir")]
    InUse { dir: String },
    #[error("node {id} ended before it was ready; the end of {log}:\n{tail}")]
    Ended { id: u32, log: String, tail: String },
    #[error("node {id} is not ready after {READY_LIMIT:?}: {reason}; its log is {log}")]
    NotReady { id: u32, reason: String, log: String },
}

/// One node of the file `quickstart.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeEntry {
    id: u32,
    pid: u32,
    kafka: String,
    http: String,
}

impl NodeEntry {
    /// Where Kafka clients reach it.
    pub(crate) fn kafka(&self) -> &str {
        &self.kafka
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }
}

impl fmt::Display for NodeEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, pid, kafka, http } = self;
        write!(f, "node {id}    pid {pid:<8} Kafka {kafka:<20} metrics http://{http}/metrics")
    }
}

#[derive(Serialize)]
struct Written<'a> {
    nodes: &'a [NodeEntry],
}

/// What the nodes have in common.
pub(crate) struct Plan {
    /// Where everything goes.
    pub(crate) dir: PathBuf,
    /// The first node's Kafka address; the others follow upwards, then internal ports, then HTTP ports.
    pub(crate) listen: String,
    /// How many nodes.
    pub(crate) nodes: u32,
    /// The object store's URL.
    pub(crate) store: String,
    /// Further options, `name=value`.
    pub(crate) sets: Vec<String>,
}

/// The running nodes.
pub(crate) struct LocalCluster {
    pub(crate) entries: Vec<NodeEntry>,
    children: Vec<Child>,
    dir: PathBuf,
    /// Held while the nodes run: another cluster in the directory would take their answers for its own.
    _lock: File,
}

impl LocalCluster {
    /// Starts the nodes and waits until all of them serve.
    pub(crate) async fn start(plan: &Plan) -> Outcome<Self> {
        let lock = File::create(plan.dir.join(LOCK))?;
        lock.try_lock().map_err(|_| ClusterError::InUse { dir: plan.dir.display().to_string() })?;
        let ports = ports(plan)?;
        let controllers: Vec<String> = ports.iter().take(3).map(|ports| ports.internal.to_string()).collect();
        let mut cluster =
            Self { entries: Vec::new(), children: Vec::new(), dir: plan.dir.clone(), _lock: lock };
        for (id, ports) in (1..).zip(&ports) {
            let child = spawn(plan, id, ports, &controllers)?;
            cluster.entries.push(NodeEntry {
                id,
                pid: child.id().unwrap_or_default(),
                kafka: ports.kafka.to_string(),
                http: ports.http.to_string(),
            });
            cluster.children.push(child);
        }
        let ready = async {
            for at in 0..cluster.children.len() {
                cluster.until_ready(at).await?;
            }
            cluster.write()
        };
        match ready.await {
            Ok(()) => Ok(cluster),
            Err(error) => {
                cluster.stop().await;
                Err(error)
            }
        }
    }

    async fn until_ready(&mut self, at: usize) -> Outcome<()> {
        let (id, http) = (self.entries[at].id, self.entries[at].http.clone());
        let log = log_path(&self.dir, id);
        let mut reason = String::new();
        let child = &mut self.children[at];
        let waiting = async {
            loop {
                if child.try_wait()?.is_some() {
                    let text = fs::read_to_string(&log).unwrap_or_default();
                    let tail =
                        text.chars().rev().take(LOG_TAIL).collect::<Vec<_>>().into_iter().rev().collect();
                    return Err(ClusterError::Ended { id, log: log.display().to_string(), tail }.into());
                }
                match readiness(&http).await {
                    Ok(()) => return Ok(()),
                    Err(why) => reason = why,
                }
                sleep(LOOK_AGAIN).await;
            }
        };
        match timeout(READY_LIMIT, waiting).await {
            Ok(ready) => ready,
            Err(_) => Err(ClusterError::NotReady { id, reason, log: log.display().to_string() }.into()),
        }
    }

    fn write(&self) -> Outcome<()> {
        let staged = self.dir.join("quickstart.json.new");
        fs::write(&staged, serde_json::to_vec_pretty(&Written { nodes: &self.entries })?)?;
        Ok(fs::rename(staged, self.dir.join("quickstart.json"))?)
    }

    /// Waits until a node has ended by itself or was killed; its id and how. For ever, if none does.
    pub(crate) async fn ended(&mut self) -> (u32, String) {
        loop {
            for (entry, child) in self.entries.iter_mut().zip(&mut self.children) {
                if entry.pid != 0
                    && let Ok(Some(status)) = child.try_wait()
                {
                    entry.pid = 0;
                    return (entry.id, status.to_string());
                }
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Asks all nodes to stop, and waits until they have.
    pub(crate) async fn stop(mut self) {
        for child in &self.children {
            let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                // It may have ended meanwhile.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        for child in &mut self.children {
            if timeout(STOP_LIMIT, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
    }
}

struct Ports {
    kafka: SocketAddr,
    internal: SocketAddr,
    http: SocketAddr,
}

fn ports(plan: &Plan) -> Outcome<Vec<Ports>> {
    let first: SocketAddr = plan.listen.parse().map_err(|_| ClusterError::Listen(plan.listen.clone()))?;
    let count = plan.nodes;
    // Held until all are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    let mut choose = |offset: u32| -> Outcome<SocketAddr> {
        if first.port() == 0 {
            held.push(TcpListener::bind(first)?);
            return Ok(held[held.len() - 1].local_addr()?);
        }
        let port = u16::try_from(u32::from(first.port()) + offset);
        Ok(SocketAddr::new(first.ip(), port.map_err(|_| ClusterError::Listen(plan.listen.clone()))?))
    };
    (0..count)
        .map(|at| {
            Ok(Ports { kafka: choose(at)?, internal: choose(count + at)?, http: choose(2 * count + at)? })
        })
        .collect()
}

fn spawn(plan: &Plan, id: u32, ports: &Ports, controllers: &[String]) -> Outcome<Child> {
    let dir = plan.dir.join(format!("node-{id}"));
    fs::create_dir_all(&dir)?;
    let log = File::options().create(true).append(true).open(log_path(&plan.dir, id))?;
    let is_controller = usize::try_from(id).is_ok_and(|id| id <= controllers.len());
    let defaults = [
        ("node.id", id.to_string()),
        ("process.roles", if is_controller { "broker,controller" } else { "broker" }.to_owned()),
        ("listeners", format!("PLAINTEXT://{},CONTROLLER://{}", ports.kafka, ports.internal)),
        ("controller.quorum.bootstrap.servers", controllers.join(",")),
        ("metadata.dir", dir.join("metadata").display().to_string()),
        ("wal.dir", dir.join("wal").display().to_string()),
        ("wal.size", "512MiB".to_owned()),
        ("wal.mirror.size", "512MiB".to_owned()),
        ("store.url", plan.store.clone()),
        ("http.listen", ports.http.to_string()),
        ("broker.rack", format!("rack-{id}")),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
    ];
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", "--end-with-parent"]);
    for (name, value) in defaults {
        command.arg("--set").arg(format!("{name}={value}"));
    }
    // The operator's come last, and count.
    for set in &plan.sets {
        command.arg("--set").arg(set);
    }
    let error_log = log.try_clone()?;
    // A group of its own: an interrupt of the terminal is for the one who then stops the nodes in good order.
    command.stdin(Stdio::null()).stdout(log).stderr(error_log).process_group(0).kill_on_drop(true);
    Ok(command.spawn()?)
}

fn log_path(dir: &Path, id: u32) -> PathBuf {
    dir.join(format!("node-{id}")).join("log")
}

/// Asks `/readyz`; what it says if it is not ready.
async fn readiness(http: &str) -> Result<(), String> {
    let ask = async {
        let mut socket = TcpStream::connect(http).await?;
        socket.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match timeout(Duration::from_secs(2), ask).await {
        Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200") => Ok(()),
        Ok(Ok(answer)) => Err(answer.lines().last().unwrap_or_default().to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}
