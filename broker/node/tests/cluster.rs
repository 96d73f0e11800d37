//! Three real processes: `aquifer quickstart --nodes 3`, one of them killed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Tries before a wait is given up; reached only by a bug.
const TRIES: u32 = 600;

/// The command that runs the nodes; stopped with them when the test ends, however it ends.
struct Quickstart(Child);

impl Quickstart {
    fn signal(&self, signal: Signal) {
        send(self.0.id(), signal);
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let _ = self.0.wait();
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("not 0");
    // It may have ended.
    let _ = kill_process(pid, signal);
}

/// Asks until there is an answer.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..TRIES {
        if let Some(answer) = ask() {
            return answer;
        }
        pause();
    }
    panic!("{what}: not within {TRIES} tries");
}

#[expect(clippy::disallowed_methods, reason = "between two looks at other processes")]
fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}

fn get(http: &str, path: &str) -> Option<String> {
    let mut socket = TcpStream::connect(http).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A number of the metrics page.
fn metric(http: &str, name: &str) -> Option<u64> {
    let page = get(http, "/metrics")?;
    let line = page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

struct Node {
    pid: u32,
    http: String,
}

fn nodes(dir: &Path) -> Option<Vec<Node>> {
    let written: Value = serde_json::from_slice(&fs::read(dir.join("quickstart.json")).ok()?).ok()?;
    let node = |entry: &Value| Node {
        pid: u32::try_from(entry["pid"].as_u64().expect("a number")).expect("a process id"),
        http: entry["http"].as_str().expect("an address").to_owned(),
    };
    Some(written["nodes"].as_array()?.iter().map(node).collect())
}

fn leader(nodes: &[Node]) -> Option<usize> {
    nodes.iter().position(|node| metric(&node.http, "aquifer_quorum_leader") == Some(1))
}

#[test]
fn three_processes_form_a_cluster_that_outlives_the_leader_of_its_quorum() {
    let dir = tempfile::tempdir().expect("a directory");
    // Below the ports that the system gives out by itself; apart from other tests' by the process.
    let port = 20_000 + std::process::id() % 1_000 * 10;
    let command = || {
        let mut quickstart = Command::new(env!("CARGO_BIN_EXE_aquifer"));
        quickstart.args(["quickstart", "--nodes", "3", "--listen", &format!("127.0.0.1:{port}")]);
        quickstart
            .args(["--set", "wal.io.engine=threads", "--set", "wal.size=64MiB", "--dir"])
            .arg(dir.path());
        quickstart
    };
    let quickstart = Quickstart(command().stdout(Stdio::null()).spawn().expect("the binary runs"));

    let mut nodes = until("the nodes are ready", || nodes(dir.path()));
    assert_eq!(nodes.len(), 3);
    for node in &nodes {
        until("three voters", || metric(&node.http, "aquifer_quorum_voters").filter(|voters| *voters == 3));
    }
    let second = command().output().expect("the binary runs");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("a cluster runs in "), "{said}");

    let lost = nodes.remove(until("a leader", || leader(&nodes)));
    send(lost.pid, Signal::KILL);
    until("another leader", || leader(&nodes));
    for node in &nodes {
        until("ready", || get(&node.http, "/readyz").filter(|answer| answer.starts_with("HTTP/1.1 200")));
    }

    // The one who started them stops them.
    quickstart.signal(Signal::TERM);
    for node in &nodes {
        until("stopped", || TcpStream::connect(&node.http).is_err().then_some(()));
    }
}
