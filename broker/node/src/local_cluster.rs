//! `aquifer quickstart --nodes N`: a cluster of real processes on this machine.
//!
//! ```text
//!   DIR/node-1/{metadata,wal,log,server.properties}  DIR/node-2/…    each node's own
//!   DIR/store/                                                       the object store of all
//!   DIR/quickstart.json                                              ids, process ids and addresses
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::commands::show;
use crate::options::{Given, MEMORY_LIMIT, Origin, is_secret, memory_share, option_of};

/// How long all nodes may take until they serve.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// How long a node may take to stop at once: longer than its own limits.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// A node that takes longer is named.
const TELL_AFTER: Duration = Duration::from_secs(1);
/// Pause between two looks at a node that starts.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Bytes of a node's log that are shown when it does not start.
const LOG_TAIL: usize = 2_000;

/// The file that one cluster holds.
const LOCK: &str = "quickstart.lock";
/// What runs in a directory, written when all of it is ready.
const RECORD: &str = "quickstart.json";
/// Ports that each node takes: Kafka, internal, HTTP.
const PORTS_PER_NODE: u32 = 3;
/// Controllers vote; three survive the loss of one.
const CONTROLLERS: usize = 3;
/// Options that are each node's own: one value for all of them would be none.
const OWN: [&str; 8] = [
    "node.id",
    "process.roles",
    "listeners",
    "controller.listener.names",
    "controller.quorum.bootstrap.servers",
    "metadata.dir",
    "wal.dir",
    "http.listen",
];

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What is wrong with the nodes.
#[derive(Debug, thiserror::Error)]
enum ClusterError {
    #[error(
        "--listen {0}: an IP address that clients can connect to and a port, such as 127.0.0.1:9092, are needed for several nodes"
    )]
    Listen(String),
    #[error("--listen {listen}: {nodes} nodes take {ports} ports from this one upwards, and there are none above {last}", last = u16::MAX)]
    Ports { listen: String, nodes: u32, ports: u32 },
    #[error("option '{name}' ({origin}) is each node's own: `quickstart --nodes` gives it a value")]
    Own { name: &'static str, origin: Origin },
    #[error("{path} is not what `quickstart --nodes` writes ({reason}); give another directory with --dir")]
    Record { path: String, reason: String },
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

    /// Its node id.
    pub(crate) fn id(&self) -> u32 {
        self.id
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

/// What of it is read again.
#[derive(Deserialize)]
struct Read {
    nodes: Vec<serde_json::Value>,
}

/// What earlier runs left in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// A single node.
    One,
    /// A cluster of so many nodes; `None`: one that was never ready.
    Several(Option<u32>),
}

/// Looks what is there.
pub(crate) fn found(dir: &Path) -> Outcome<Found> {
    let path = dir.join(RECORD);
    let unfit = |reason: String| ClusterError::Record { path: path.display().to_string(), reason };
    match fs::read(&path) {
        Ok(bytes) => {
            let read: Read = serde_json::from_slice(&bytes).map_err(|error| unfit(error.to_string()))?;
            Ok(Found::Several(u32::try_from(read.nodes.len()).ok()))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unfit(error.to_string()).into()),
        Err(_) if dir.join("metadata").exists() => Ok(Found::One),
        Err(_) if dir.join("node-1").join("metadata").exists() => Ok(Found::Several(None)),
        Err(_) => Ok(Found::Nothing),
    }
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
    /// What the operator gave, for all of them.
    pub(crate) given: Given,
    /// What all of them together may use, as the system says.
    pub(crate) memory_bytes: Option<u64>,
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
        if let Some((name, _, origin)) = plan.given.all().find(|(name, ..)| OWN.contains(name)) {
            return Err(ClusterError::Own { name, origin: origin.clone() }.into());
        }
        let ports = ports(plan)?;
        let controllers = ports.iter().take(CONTROLLERS).map(|ports| ports.internal.to_string());
        let controllers: Vec<String> = controllers.collect();
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
            cluster.until_ready().await?;
            cluster.write()
        };
        match ready.await {
            Ok(()) => Ok(cluster),
            Err(error) => {
                // Those that still start take no signals yet. Nobody was told of any of them.
                for child in &mut cluster.children {
                    let _ = child.kill().await;
                }
                Err(error)
            }
        }
    }

    /// Waits until all nodes serve. One that ends is told at once: the others would wait for it.
    async fn until_ready(&mut self) -> Outcome<()> {
        let deadline = Instant::now() + READY_LIMIT;
        let mut waits = self.entries.clone();
        while let Some(NodeEntry { id, http, .. }) = waits.first().cloned() {
            self.check_all_run()?;
            match readiness(&http).await {
                Ok(()) => drop(waits.remove(0)),
                Err(reason) if Instant::now() >= deadline => {
                    let log = log_path(&self.dir, id).display().to_string();
                    return Err(ClusterError::NotReady { id, reason, log }.into());
                }
                Err(_) => sleep(LOOK_AGAIN).await,
            }
        }
        Ok(())
    }

    fn check_all_run(&mut self) -> Outcome<()> {
        for (NodeEntry { id, .. }, child) in self.entries.iter().zip(&mut self.children) {
            if child.try_wait()?.is_some() {
                let log = log_path(&self.dir, *id);
                let text = fs::read_to_string(&log).unwrap_or_default();
                let tail = text.chars().rev().take(LOG_TAIL).collect::<Vec<_>>().into_iter().rev().collect();
                return Err(ClusterError::Ended { id: *id, log: log.display().to_string(), tail }.into());
            }
        }
        Ok(())
    }

    fn write(&self) -> Outcome<()> {
        let staged = self.dir.join(RECORD).with_extension("json.new");
        fs::write(&staged, serde_json::to_vec_pretty(&Written { nodes: &self.entries })?)?;
        Ok(fs::rename(staged, self.dir.join(RECORD))?)
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

    /// Has all nodes stop at once, which none of them can do for another; waits until they have, and says for whom.
    pub(crate) async fn stop(mut self) {
        for child in &self.children {
            let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                // It may have ended meanwhile.
                let _ = kill_process(pid, Signal::QUIT);
            }
        }
        for (NodeEntry { id, .. }, child) in self.entries.iter().zip(&mut self.children) {
            if timeout(TELL_AFTER, child.wait()).await.is_ok() {
                continue;
            }
            let log = log_path(&self.dir, *id).display().to_string();
            show(&format!("  Waiting for node {id} to end; its log is {log}"));
            if timeout(STOP_LIMIT, child.wait()).await.is_err() {
                show(&format!("  Node {id} did not end within {STOP_LIMIT:?}: it is killed."));
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
    let unfit = || ClusterError::Listen(plan.listen.clone());
    let first: SocketAddr = plan.listen.parse().map_err(|_| unfit())?;
    if first.ip().is_unspecified() {
        return Err(unfit().into());
    }
    // The internal ports are plain, which nodes take on loopback addresses only.
    let internal = if first.ip().is_loopback() { first.ip() } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
    let count = plan.nodes;
    // Held until all are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    let mut choose = |ip: IpAddr, offset: u32| -> Outcome<SocketAddr> {
        if first.port() == 0 {
            held.push(TcpListener::bind((ip, 0))?);
            return Ok(held[held.len() - 1].local_addr()?);
        }
        let port = u16::try_from(u32::from(first.port()) + offset).map_err(|_| ClusterError::Ports {
            listen: plan.listen.clone(),
            nodes: count,
            ports: count * PORTS_PER_NODE,
        })?;
        Ok(SocketAddr::new(ip, port))
    };
    (0..count)
        .map(|at| {
            Ok(Ports {
                kafka: choose(first.ip(), at)?,
                internal: choose(internal, count + at)?,
                http: choose(first.ip(), 2 * count + at)?,
            })
        })
        .collect()
}

/// The options of one node: what the operator gave counts, where it gave anything.
fn options(plan: &Plan, id: u32, ports: &Ports, controllers: &[String]) -> BTreeMap<&'static str, String> {
    let dir = plan.dir.join(format!("node-{id}"));
    let is_controller = usize::try_from(id).is_ok_and(|id| id <= controllers.len());
    let mut options = BTreeMap::from([
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
    ]);
    if let Some(bytes) = plan.memory_bytes {
        options.insert(MEMORY_LIMIT, memory_share(bytes, plan.nodes).to_string());
    }
    // A secret in the environment stays there.
    let stays = |name: &str, origin: &Origin| is_secret(name) && matches!(origin, Origin::Environment(_));
    let given = plan.given.all().filter(|(name, _, origin)| !stays(name, origin));
    options.extend(given.map(|(name, value, _)| (name, value.to_owned())));
    options
}

/// Where the options of a node are written, for its start by hand.
pub(crate) fn options_file(dir: &Path, id: u32) -> PathBuf {
    dir.join(format!("node-{id}")).join("server.properties")
}

fn write_options(path: &Path, options: &BTreeMap<&'static str, String>) -> Outcome<()> {
    let staged = path.with_extension("properties.new");
    // It may hold secrets.
    let file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&staged)?;
    let mut writer = java_properties::PropertiesWriter::new(file);
    writer.write_comment("Written by `aquifer quickstart --nodes` at each of its starts.")?;
    options.iter().try_for_each(|(name, value)| writer.write(name, value))?;
    writer.finish()?;
    Ok(fs::rename(staged, path)?)
}

fn spawn(plan: &Plan, id: u32, ports: &Ports, controllers: &[String]) -> Outcome<Child> {
    fs::create_dir_all(plan.dir.join(format!("node-{id}")))?;
    let log = File::options().create(true).append(true).open(log_path(&plan.dir, id))?;
    let file = options_file(&plan.dir, id);
    write_options(&file, &options(plan, id, ports, controllers))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", "--end-with-parent", "--config"]).arg(file);
    // The file has what the environment says, and what goes before that.
    for (variable, _) in std::env::vars() {
        if option_of(&variable).is_some_and(|name| !is_secret(&name)) {
            command.env_remove(variable);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(dir: &Path, listen: &str, nodes: u32, sets: &[&str]) -> Plan {
        let mut given = Given::default();
        sets.iter().for_each(|set| given.set(set));
        let (dir, listen, store) = (dir.to_owned(), listen.to_owned(), "file:///s".to_owned());
        Plan { dir, listen, nodes, store, given, memory_bytes: Some(6 << 30) }
    }

    #[test]
    fn a_node_finds_its_options_in_its_file_and_what_the_operator_gave_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let sets = ["wal.size=64MiB", "store.s3.region=a=b c\\d:é"];
        let plan = plan(dir.path(), "127.0.0.1:9092", 3, &sets);
        let ports = ports(&plan).expect("fit");
        let path = dir.path().join("server.properties");
        write_options(&path, &options(&plan, 2, &ports[1], &["a:1".to_owned()])).expect("written");
        let mut read = Given::default();
        read.file(&path).expect("it is a properties file");
        let get = |name: &str| read.get(name).map(|(value, _)| value).unwrap_or_default();
        assert_eq!(get("node.id"), "2");
        assert_eq!(get("process.roles"), "broker", "there is one controller");
        assert_eq!(get("listeners"), "PLAINTEXT://127.0.0.1:9093,CONTROLLER://127.0.0.1:9096");
        assert_eq!((get("wal.size"), get("wal.mirror.size")), ("64MiB", "512MiB"));
        assert_eq!(get("store.s3.region"), "a=b c\\d:é");
        assert_eq!(get(MEMORY_LIMIT), (2_u64 << 30).to_string(), "a third of what is there");
    }

    #[test]
    fn ports_fit_or_are_refused_with_a_reason() {
        let dir = Path::new("/nowhere");
        let refused = |listen| ports(&plan(dir, listen, 3, &[])).err().expect("refused").to_string();
        assert!(refused("localhost:9092").contains("an IP address"));
        assert!(refused("0.0.0.0:9092").contains("that clients can connect to"));
        assert_eq!(
            refused("127.0.0.1:65530"),
            "--listen 127.0.0.1:65530: 3 nodes take 9 ports from this one upwards, and there are none above 65535"
        );
        let beyond = ports(&plan(dir, "192.0.2.1:9092", 3, &[])).expect("fit");
        assert_eq!(beyond[2].kafka.to_string(), "192.0.2.1:9094");
        assert_eq!(beyond[2].internal.to_string(), "127.0.0.1:9097", "plain, so on loopback");
    }

    #[tokio::test]
    async fn one_value_for_what_is_each_nodes_own_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let started = LocalCluster::start(&plan(dir.path(), "127.0.0.1:0", 3, &["wal.dir=/w"])).await;
        let error = started.err().expect("refused").to_string();
        assert_eq!(
            error,
            "option 'wal.dir' (--set) is each node's own: `quickstart --nodes` gives it a value"
        );
    }

    #[test]
    fn what_earlier_runs_left_is_recognised() {
        let dir = tempfile::tempdir().expect("a directory");
        let look = || found(dir.path()).map_err(|error| error.to_string());
        assert_eq!(look(), Ok(Found::Nothing));
        fs::create_dir_all(dir.path().join("node-1/metadata")).expect("made");
        assert_eq!(look(), Ok(Found::Several(None)));
        fs::create_dir(dir.path().join("metadata")).expect("made");
        assert_eq!(look(), Ok(Found::One));
        fs::write(dir.path().join(RECORD), r#"{"nodes":[{"id":1},{"id":2},{"id":3}]}"#).expect("written");
        assert_eq!(look(), Ok(Found::Several(Some(3))));
        fs::write(dir.path().join(RECORD), "{").expect("written");
        assert!(look().expect_err("unreadable").contains("give another directory with --dir"));
    }
}
