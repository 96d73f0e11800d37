use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use aquifer_services::{Process, free_ports};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::artifacts;
use crate::target::Target;

/// How long anything may take that should be quick, on a machine that is busy.
pub const LIMIT: Duration = Duration::from_secs(120);

/// What every node of these tests is set to, so that nothing waits for a production's comfort.
const QUICK: &[(&str, &str)] = &[
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.replication.factor", "1"),
    ("offsets.topic.num.partitions", "5"),
    ("wal.size", "256MiB"),
    ("store.offload.interval.ms", "500"),
];

/// How often a starting node is asked whether it is ready.
pub(crate) const ASK_EVERY: Duration = Duration::from_millis(20);

/// One broker process with its directories; restarting keeps directories and ports.
#[derive(Debug)]
pub struct Node {
    dir: PathBuf,
    port: u16,
    http_port: u16,
    target: Target,
    /// What goes before the program: a wrapper that becomes it.
    wrapper: Vec<String>,
    environment: Vec<(String, String)>,
    process: Option<Process>,
}

/// A node that did not come up.
#[derive(Debug)]
pub struct NodeFailed {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub output: String,
}

impl Node {
    /// Starts a node whose files lie under `dir`, and waits until it answers.
    ///
    /// # Panics
    /// If it does not come up; the text has the end of its log.
    pub async fn start(dir: &Path, settings: &[(&str, &str)]) -> Self {
        Self::start_as(Target::chosen(), dir, settings).await
    }

    /// As [`Node::start`], of the given kind.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start_as(target: Target, dir: &Path, settings: &[(&str, &str)]) -> Self {
        let mut node = Self::prepared(target, dir, settings);
        node.start_again().await;
        node
    }

    /// Starts a node that may refuse to come up.
    ///
    /// # Errors
    /// If it ended before it was ready.
    pub async fn try_start(dir: &Path, settings: &[(&str, &str)]) -> Result<Self, NodeFailed> {
        let mut node = Self::prepare(dir, settings);
        node.try_start_again().await.map(|()| node)
    }

    /// A node that does not run yet.
    ///
    /// # Panics
    /// If its directory cannot be made.
    #[must_use]
    pub fn prepare(dir: &Path, settings: &[(&str, &str)]) -> Self {
        Self::prepared(Target::chosen(), dir, settings)
    }

    /// Sets a variable of its environment, from its next start on.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// From its next start on, starts it by a program that becomes it, as `nice` does.
    pub fn start_through(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
    }

    fn prepared(target: Target, dir: &Path, settings: &[(&str, &str)]) -> Self {
        fs::create_dir_all(dir).expect("the node's directory can be made");
        let [port, http_port] = free_ports();
        let (wrapper, environment) = (Vec::new(), Vec::new());
        let node = Self { dir: dir.to_owned(), port, http_port, target, wrapper, environment, process: None };
        node.configure(settings);
        node
    }

    /// Writes its properties anew; they count from its next start on.
    ///
    /// # Panics
    /// If they cannot be written.
    pub fn configure(&self, settings: &[(&str, &str)]) {
        let own = match self.target {
            Target::Aquifer => self.aquifer_settings(),
            Target::Kafka => self.kafka_settings(),
        };
        let ours = |name: &str| ["store.", "wal.", "cache."].iter().any(|prefix| name.starts_with(prefix));
        let mut lines: Vec<(String, String)> = own;
        for (name, value) in QUICK.iter().chain(settings) {
            if self.target.is_kafka() && ours(name) {
                continue;
            }
            lines.retain(|(given, _)| given != name);
            lines.push(((*name).to_owned(), (*value).to_owned()));
        }
        let text: String = lines.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::write(self.properties(), text).expect("the properties file can be written");
    }

    fn aquifer_settings(&self) -> Vec<(String, String)> {
        let under = |name: &str| self.dir.join(name).display().to_string();
        vec![
            ("node.id".into(), "1".into()),
            ("listeners".into(), format!("PLAINTEXT://127.0.0.1:{}", self.port)),
            ("http.listen".into(), format!("127.0.0.1:{}", self.http_port)),
            ("metadata.dir".into(), under("metadata")),
            ("wal.dir".into(), under("wal")),
            ("store.url".into(), format!("file://{}", under("store"))),
        ]
    }

    fn kafka_settings(&self) -> Vec<(String, String)> {
        let controller = self.http_port;
        vec![
            ("node.id".into(), "1".into()),
            ("process.roles".into(), "broker,controller".into()),
            ("controller.quorum.voters".into(), format!("1@127.0.0.1:{controller}")),
            (
                "listeners".into(),
                format!("PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{controller}", self.port),
            ),
            ("advertised.listeners".into(), format!("PLAINTEXT://127.0.0.1:{}", self.port)),
            ("controller.listener.names".into(), "CONTROLLER".into()),
            ("listener.security.protocol.map".into(), "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".into()),
            ("log.dirs".into(), self.dir.join("kafka").display().to_string()),
            ("transaction.state.log.replication.factor".into(), "1".into()),
            ("transaction.state.log.min.isr".into(), "1".into()),
        ]
    }

    fn properties(&self) -> PathBuf {
        self.dir.join("node.properties")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("node.log")
    }

    /// What it has printed, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The address that clients begin with.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port of that address.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its HTTP port on loopback.
    #[must_use]
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// The directory of its files: `store/`, `wal/`, `metadata/`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts a node that was stopped or killed, and waits until it answers.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start_again(&mut self) {
        if let Err(failed) = self.try_start_again().await {
            panic!("the node ended while starting ({}):\n{}", failed.status, tail(&failed.output));
        }
    }

    /// As [`Node::start_again`], for a node that may refuse.
    ///
    /// # Errors
    /// If it ended before it was ready.
    ///
    /// # Panics
    /// If it is neither ready nor ended in time.
    pub async fn try_start_again(&mut self) -> Result<(), NodeFailed> {
        assert!(self.process.is_none(), "the node runs already");
        if self.target.is_kafka() {
            self.format_kafka().await;
        }
        let mut process = started("node", &self.wrapped(), &self.log_file());
        let deadline = tokio::time::Instant::now() + LIMIT;
        while !self.answers().await {
            if let Some(status) = process.ended() {
                return Err(NodeFailed { status, output: self.log() });
            }
            assert!(tokio::time::Instant::now() < deadline, "the node is not ready:\n{}", tail(&self.log()));
            tokio::time::sleep(ASK_EVERY).await;
        }
        self.process = Some(process);
        Ok(())
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Panics
    /// If it does not end in time, or not well.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().expect("the node runs");
        assert!(process.stop(LIMIT).await, "the node does not stop:\n{}", tail(&self.log()));
        let status = process.ended().expect("a node that stopped has ended");
        // A JVM that was asked to stop ends with 143.
        let well = status.success() || (self.target.is_kafka() && status.code() == Some(143));
        assert!(well, "a graceful stop ended with {status}:\n{}", tail(&self.log()));
    }

    /// kill -9.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self) {
        self.process.take().expect("the node runs").kill();
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("the node runs").id()
    }

    /// How it ended by itself, if it did; then it can be started again.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.ended()?;
        self.process = None;
        Some(status)
    }

    /// Its metrics page; `None` while nobody answers.
    pub async fn metrics(&self) -> Option<String> {
        let page = tokio::time::timeout(Duration::from_secs(5), http_get(self.http_port, "/metrics")).await;
        page.ok()?.ok()
    }

    /// One metric without labels; `None` while nobody answers.
    ///
    /// # Panics
    /// If the page has no such metric.
    pub async fn metric(&self, name: &str) -> Option<u64> {
        let page = self.metrics().await?;
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no metric {name} in:\n{page}"));
        Some(value.trim().parse().unwrap_or_else(|_| panic!("{name} is {value}")))
    }

    fn wrapped(&self) -> Command {
        let command = self.command();
        let mut words = self
            .wrapper
            .iter()
            .map(Into::into)
            .chain([command.get_program().to_owned()])
            .chain(command.get_args().map(ToOwned::to_owned));
        let mut wrapped = Command::new(words.next().expect("the program at least"));
        wrapped.args(words);
        if let Some(directory) = command.get_current_dir() {
            wrapped.current_dir(directory);
        }
        wrapped.envs(self.environment.iter().map(|(name, value)| (name, value)));
        wrapped
    }

    fn command(&self) -> Command {
        match self.target {
            Target::Aquifer => {
                let mut command = Command::new(artifacts::aquifer());
                command.args(["serve", "--config"]).arg(self.properties());
                command
            }
            Target::Kafka => {
                let mut command = self.java();
                command.arg("kafka.Kafka").arg(self.properties());
                command
            }
        }
    }

    fn java(&self) -> Command {
        let classes = artifacts::kafka_classes().expect("Kafka's jars are installed");
        let mut command = Command::new("java");
        command.args(["-Xmx768m", "-XX:+UseSerialGC", "-cp", &classes]).current_dir(&self.dir);
        command.arg(artifacts::log_configuration());
        command
    }

    async fn format_kafka(&self) {
        let mut command = self.java();
        command.args([
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",
            "-t",
            "AquiferPeerKafka43100A",
            "-c",
        ]);
        command.arg(self.properties());
        let output = tokio::process::Command::from(command).output().await.expect("java starts");
        assert!(output.status.success(), "Kafka's storage cannot be formatted: {output:?}");
    }

    /// True once it is ready by its own word and by a client's.
    async fn answers(&self) -> bool {
        let ready = async {
            if self.target == Target::Aquifer {
                let answer = http_get(self.http_port, "/readyz").await.ok()?;
                answer.starts_with("HTTP/1.1 200").then_some(())?;
            }
            api_versions(self.port).await.ok()
        };
        tokio::time::timeout(Duration::from_secs(5), ready).await.is_ok_and(|ready| ready.is_some())
    }
}

/// The whole answer of the operator's HTTP port, head and body.
///
/// # Errors
/// If nobody listens there.
pub async fn http_get(port: u16, path: &str) -> std::io::Result<String> {
    http_get_from(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), path).await
}

/// As [`http_get`], from a node on another host.
///
/// # Errors
/// If nobody listens there.
pub async fn http_get_from(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// ApiVersions 0: the smallest request that any broker answers.
async fn api_versions(port: u16) -> std::io::Result<()> {
    const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(&REQUEST).await?;
    stream.read_u32().await?;
    Ok(())
}

pub(crate) fn started(name: &str, command: &Command, log: &Path) -> Process {
    Process::start(name, command, log).unwrap_or_else(|error| panic!("{error}"))
}

/// The last lines of a log, for a failure's text.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
