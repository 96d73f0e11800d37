//! A node whose log cannot be written.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Looks before a wait is given up; reached only by a bug.
const LOOKS: u32 = 600;

struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "between two looks at another process")]
fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}

fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.write_all(b"GET /readyz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// Its disk may be full. Tasks that log must not end by that.
#[test]
fn a_node_serves_though_its_log_cannot_be_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let under = |name: &str| dir.path().join(name).display().to_string();
    let sets = [
        "node.id=1".to_owned(),
        "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
        format!("http.listen={free}"),
        format!("metadata.dir={}", under("metadata")),
        format!("wal.dir={}", under("wal")),
        "wal.size=64MiB".to_owned(),
        format!("store.url=file://{}", under("store")),
    ];
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut command = Command::new(env!("CARGO_BIN_EXE_aquifer"));
    command.arg("serve").args(sets.iter().flat_map(|set| ["--set", set]));
    let node = command.stdin(Stdio::null()).stdout(full()).stderr(full()).spawn();
    let mut node = Node(node.expect("the node starts"));
    for _ in 0..LOOKS {
        if is_ready(free.port()) {
            return;
        }
        let ended = node.0.try_wait().expect("it is ours");
        assert!(ended.is_none(), "the node ended: {ended:?}");
        pause();
    }
    panic!("the node is not ready after {LOOKS} looks");
}
