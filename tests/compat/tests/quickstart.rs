//! `aquifer quickstart`, as the README's first reader runs it.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use aquifer_compat::{LIMIT, Target, aquifer, kcat};
use aquifer_services::{Minio, Process, free_port, or_skip};

/// Runs `aquifer quickstart` to its end.
async fn ended(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(aquifer());
    command.arg("quickstart").arg("--dir").arg(dir).args(arguments).kill_on_drop(true);
    tokio::time::timeout(LIMIT, command.output()).await.expect("it ends").expect("it starts")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A quickstart that stays.
struct Quickstart {
    process: Process,
}

impl Quickstart {
    async fn start(dir: &Path, arguments: &[&str]) -> Self {
        Self::start_at(free_port(), dir, arguments).await
    }

    async fn start_at(port: u16, dir: &Path, arguments: &[&str]) -> Self {
        let address = format!("127.0.0.1:{port}");
        let log = dir.with_extension("log");
        // Of an earlier start in the same directory.
        let _ = fs::remove_file(&log);
        let mut command = Command::new(aquifer());
        command.args(["quickstart", "--listen", &address, "--dir"]).arg(dir).args(arguments);
        let process = Process::start("quickstart", &command, &log).expect("it starts");
        let mut quickstart = Self { process };
        let deadline = tokio::time::Instant::now() + LIMIT;
        while !quickstart.said().contains("Aquifer is ready.") {
            assert!(quickstart.process.ended().is_none(), "{}", quickstart.said());
            assert!(tokio::time::Instant::now() < deadline, "{}", quickstart.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        quickstart
    }

    fn said(&self) -> String {
        fs::read_to_string(self.process.log()).unwrap_or_default()
    }

    /// SIGTERM, and a good end.
    async fn stop(mut self) {
        assert!(self.process.stop(LIMIT).await, "it does not stop: {}", self.said());
        let status = self.process.ended().expect("it has ended");
        assert!(status.success(), "{status}: {}", self.said());
    }

    /// Waits until it says so.
    async fn until_said(&self, words: &str) {
        let deadline = tokio::time::Instant::now() + LIMIT;
        while !self.said().contains(words) {
            assert!(tokio::time::Instant::now() < deadline, "'{words}' is not in:\n{}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A command that it tells a person to run, the last with this word.
    fn command_with(&self, word: &str) -> Command {
        let said = self.said();
        let line = said.lines().rfind(|line| line.contains(word)).unwrap_or_else(|| panic!("{said}"));
        let mut command = Command::new("sh");
        // Without it the shell stays, and takes the signals.
        command.args(["-c", &format!("exec {}", line.trim())]);
        command
    }

    /// Runs one of the commands that it tells a person to try, and returns what that prints.
    async fn try_the_command_with(&self, word: &str) -> String {
        let said = self.said();
        let line = said.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{said}"));
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", line.trim()]).kill_on_drop(true);
        let output =
            tokio::time::timeout(LIMIT, command.output()).await.expect("it ends").expect("it starts");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}

#[tokio::test]
async fn the_demo_verifies_its_records_and_says_so_twice_in_one_directory() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path().join("quickstart");
    for _ in 0..2 {
        let output = ended(&dir, &["--demo", "--listen", "127.0.0.1:0"]).await;
        let said = text(&output);
        assert!(output.status.success(), "{said}");
        let go_on = format!("{} quickstart --dir", aquifer().display());
        for words in
            ["written", "read", "100,000 records", "MB/s", "Verified", "--listen 127.0.0.1:0", &go_on]
        {
            assert!(said.contains(words), "'{words}' is not in:\n{said}");
        }
    }
}

#[tokio::test]
async fn what_it_tells_to_try_works_and_a_stop_leaves_nothing_in_the_wal() {
    if Target::chosen().is_kafka() || kcat().is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path().join("quickstart");
    let first = Quickstart::start(&dir, &[]).await;
    first.try_the_command_with("kcat -P").await;
    assert_eq!(first.try_the_command_with("kcat -C").await, "hello\n");

    // Nobody else gets the directory meanwhile.
    let output = ended(&dir, &["--listen", "127.0.0.1:0"]).await;
    let said = text(&output);
    assert!(!output.status.success() && said.contains(&dir.display().to_string()), "{said}");
    first.stop().await;

    // With records in it, a WAL that is gone would be refused.
    fs::remove_dir_all(dir.join("wal")).expect("the WAL can be removed");
    let second = Quickstart::start(&dir, &[]).await;
    assert_eq!(second.try_the_command_with("kcat -C").await, "hello\n");
    second.stop().await;
}

#[tokio::test]
async fn of_several_nodes_one_that_was_killed_is_started_again_as_told_and_all_stop_at_once() {
    if Target::chosen().is_kafka() || kcat().is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path().join("it's here");
    let nodes = ["--nodes", "3"];
    let first = Quickstart::start_at(0, &dir, &nodes).await;
    first.try_the_command_with("kcat -P").await;
    first.try_the_command_with("kill -9").await;
    first.until_said("Node 3 has ended").await;
    let log = dir.with_extension("again");
    let mut again = Process::start("node 3", &first.command_with("serve --config"), &log).expect("it starts");
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !said().contains("serving") {
        assert!(again.ended().is_none() && tokio::time::Instant::now() < deadline, "{}", said());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(first.try_the_command_with("kcat -C").await, "hello\n");

    first.stop().await;
    again.kill();
    for node in 1..=2 {
        let log = fs::read_to_string(dir.join(format!("node-{node}/log"))).expect("it logs");
        assert!(log.contains("stopped at once") && !log.contains("left the cluster"), "{log}");
    }
    // What it acknowledged is still there, though nothing was handed over.
    let second = Quickstart::start_at(0, &dir, &nodes).await;
    assert_eq!(second.try_the_command_with("kcat -C").await, "hello\n");
    second.stop().await;

    for other in [&["--nodes", "5"][..], &[]] {
        let output = ended(&dir, &[&["--listen", "127.0.0.1:0"], other].concat()).await;
        let said = text(&output);
        assert!(!output.status.success() && said.contains("has a cluster of 3 nodes"), "{said}");
        assert!(said.contains("quickstart --nodes 3 --dir"), "{said}");
    }
}

#[tokio::test]
async fn what_several_nodes_cannot_be_started_with_is_told_before_any_of_them_is() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let three = ["--nodes", "3", "--listen"];
    let cases = [
        (&["127.0.0.1:0", "--set", "num.partitions=many", "--set", "a=b"][..], "2 things are wrong"),
        (&["127.0.0.1:0", "--set", "wal.dir=/w"], "is each node's own"),
        (&["127.0.0.1:65535"], "9 ports from this one upwards"),
        (&["0.0.0.0:9092"], "that clients can connect to"),
        (&["9092"], "expected HOST:PORT"),
    ];
    for (more, words) in cases {
        let output = ended(dir.path(), &[&three, more].concat()).await;
        let said = text(&output);
        assert!(!output.status.success() && said.contains(words), "{more:?}: {said}");
    }
    assert!(!dir.path().join("node-1").exists(), "nothing was started");
}

/// The others wait for it: without a look at all of them nothing would be told for minutes.
#[tokio::test]
async fn of_several_nodes_one_that_cannot_start_is_told_at_once_with_its_reason() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("it is bound").port();
    let listen = format!("127.0.0.1:{}", port - 1);
    // Within less than what it would wait for the others.
    let output = ended(dir.path(), &["--nodes", "3", "--listen", &listen]).await;
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    for words in ["ended before it was ready", "cannot listen on", "another process may use the port"] {
        assert!(said.contains(words), "'{words}' is not in:\n{said}");
    }
}

#[tokio::test]
async fn files_of_another_cluster_are_refused_with_both_names() {
    if Target::chosen().is_kafka() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [mine, other] = ["mine", "other"].map(|name| dir.path().join(name));
    for dir in [&mine, &other] {
        Quickstart::start(dir, &[]).await.stop().await;
    }
    for part in ["wal", "store"] {
        let [own, foreign, aside] = [mine.join(part), other.join(part), mine.join("aside")];
        fs::rename(&own, &aside).and_then(|()| fs::rename(&foreign, &own)).expect("they can be renamed");
        let output = ended(&mine, &["--listen", "127.0.0.1:0"]).await;
        let said = text(&output);
        assert!(!output.status.success() && said.contains("cluster"), "{part}: {said}");
        assert!(said.contains(&own.display().to_string()), "{part}: {said}");
        fs::rename(&own, &foreign).and_then(|()| fs::rename(&aside, &own)).expect("they can be renamed");
    }
    Quickstart::start(&mine, &[]).await.stop().await;
}

#[tokio::test]
async fn a_quickstart_runs_on_a_real_object_store() {
    if Target::chosen().is_kafka() {
        return;
    }
    let Some(minio) = or_skip(Minio::start().await) else { return };
    minio.create_bucket("aquifer");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let endpoint = format!("store.s3.endpoint={}", minio.endpoint());
    let keys = [("store.s3.access.key", Minio::ACCESS_KEY), ("store.s3.secret.key", Minio::ACCESS_KEY)];
    let keys = keys.map(|(name, value)| format!("{name}={value}"));
    let arguments = ["--store", "s3://aquifer/try", "--set", &endpoint, "--set", &keys[0], "--set", &keys[1]];
    let arguments = [arguments.as_slice(), &["--demo", "--listen", "127.0.0.1:0"]].concat();
    let output = ended(&dir.path().join("quickstart"), &arguments).await;
    let said = text(&output);
    assert!(output.status.success() && said.contains("s3://aquifer/try"), "{said}");
    assert!(!said.contains("minioadmin"), "a secret is shown: {said}");
    assert!(!dir.path().join("quickstart/store").exists(), "nothing goes to a directory");
}
