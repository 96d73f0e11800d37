use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use crate::artifact::Artifact;
use crate::process::Process;
use crate::{ServiceError, free_ports, known_brokers, ready};

/// It needs three to eight seconds.
const READY: Duration = Duration::from_secs(120);
const STARTS: usize = 3;
/// Any 16 bytes in Kafka's base64; the cluster lives as long as the test.
const CLUSTER_ID: &str = "AquiferPeerKafka43100A";

/// How an Apache Kafka is started.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// JVM heap, such as `512m`.
    pub heap: String,
    /// Added to `server.properties`, and winning over what is there.
    pub properties: Vec<(String, String)>,
    /// Where its data go; None: into a temporary directory.
    pub directory: Option<PathBuf>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self { heap: "512m".to_owned(), properties: Vec::new(), directory: None }
    }
}

/// A real Apache Kafka: one node that is broker and controller.
#[derive(Debug)]
pub struct Kafka {
    process: Process,
    lib: PathBuf,
    port: u16,
    directory: PathBuf,
    heap: String,
    start_took: Duration,
    _temporary: Option<TempDir>,
}

impl Kafka {
    /// The version that `install.sh` installs.
    pub const VERSION: &str = "4.3.1";

    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// [`ServiceError::Missing`] if it is not installed.
    pub async fn start(config: &KafkaConfig) -> Result<Self, ServiceError> {
        let mut starts = 1;
        loop {
            match Self::start_once(config).await {
                Err(ServiceError::Ended { .. }) if starts < STARTS => starts += 1,
                result => return result,
            }
        }
    }

    async fn start_once(config: &KafkaConfig) -> Result<Self, ServiceError> {
        let lib = Artifact::Kafka.find()?;
        let temporary = match config.directory {
            Some(_) => None,
            None => Some(tempfile::tempdir().map_err(ServiceError::io("create a directory for Kafka"))?),
        };
        let directory = temporary.as_ref().map(TempDir::path).or(config.directory.as_deref());
        let directory = directory.expect("one of both is given").to_owned();
        let [port, controller] = free_ports();
        configure(&directory, port, controller, &config.properties)
            .map_err(ServiceError::io("configure Kafka"))?;
        format(&lib, &directory)?;
        let (process, start_took) = start(&lib, &directory, &config.heap, port).await?;
        let heap = config.heap.clone();
        Ok(Self { process, lib, port, directory, heap, start_took, _temporary: temporary })
    }

    /// `127.0.0.1:PORT`, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its process id, for `/proc`.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A command that runs a main class of Kafka's jars, such as
    /// `org.apache.kafka.tools.ProducerPerformance`.
    ///
    /// # Errors
    /// [`ServiceError::Missing`] if Kafka is not installed.
    pub fn tool(class: &str) -> Result<Command, ServiceError> {
        Self::tool_with(&["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"], class)
    }

    /// As [`Kafka::tool`], with JVM options of the caller's.
    ///
    /// # Errors
    /// [`ServiceError::Missing`] if Kafka is not installed.
    pub fn tool_with(options: &[&str], class: &str) -> Result<Command, ServiceError> {
        Ok(java(&Artifact::Kafka.find()?, options, class))
    }

    /// Stops it in an orderly way and starts it again, on the same port with the same data.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn restart(&mut self) -> Result<(), ServiceError> {
        self.stop().await;
        self.start_again().await
    }

    /// Stops it in an orderly way. True if it did so by itself.
    pub async fn stop(&mut self) -> bool {
        self.process.stop(READY).await
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it after [`Kafka::stop`] or [`Kafka::kill`], on the same port with the same data, and waits until
    /// it answers.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start_again(&mut self) -> Result<(), ServiceError> {
        (self.process, self.start_took) = start(&self.lib, &self.directory, &self.heap, self.port).await?;
        Ok(())
    }

    /// From the start of its JVM to the first answer, at its last start.
    pub fn start_took(&self) -> Duration {
        self.start_took
    }

    /// Its `server.properties`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn configuration(&self) -> Result<String, ServiceError> {
        fs::read_to_string(self.directory.join("server.properties"))
            .map_err(ServiceError::io("read Kafka's configuration"))
    }
}

fn configure(directory: &Path, port: u16, controller: u16, own: &[(String, String)]) -> io::Result<()> {
    let data = directory.join("data");
    fs::create_dir_all(&data)?;
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n",
        data.display()
    );
    for (name, value) in own {
        text.push_str(&format!("{name}={value}\n"));
    }
    fs::write(directory.join("server.properties"), text)?;
    fs::write(
        directory.join("log4j2.xml"),
        "<Configuration status=\"WARN\">\n\
         <Appenders><Console name=\"C\" target=\"SYSTEM_OUT\"><PatternLayout pattern=\"[%d] %p %m (%c)%n\"/></Console>\
         </Appenders>\n\
         <Loggers><Root level=\"INFO\"><AppenderRef ref=\"C\"/></Root></Loggers>\n\
         </Configuration>\n",
    )
}

fn java(lib: &Path, options: &[&str], class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(options).arg("-cp").arg(format!("{}/*", lib.display())).arg(class);
    command
}

fn format(lib: &Path, directory: &Path) -> Result<(), ServiceError> {
    if directory.join("data/meta.properties").exists() {
        return Ok(());
    }
    let output =
        java(lib, &["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"], "kafka.tools.StorageTool")
            .args(["format", "-t", CLUSTER_ID, "-c"])
            .arg(directory.join("server.properties"))
            .output()
            .map_err(ServiceError::io("start java"))?;
    if output.status.success() {
        return Ok(());
    }
    let log = [output.stdout, output.stderr].concat();
    Err(ServiceError::Ended {
        name: "Kafka's format".to_owned(),
        log: String::from_utf8_lossy(&log).into_owned(),
    })
}

async fn start(
    lib: &Path,
    directory: &Path,
    heap: &str,
    port: u16,
) -> Result<(Process, Duration), ServiceError> {
    let (most, least) = (format!("-Xmx{heap}"), format!("-Xms{heap}"));
    let logging = format!("-Dlog4j2.configurationFile={}", directory.join("log4j2.xml").display());
    let options = [
        "-server",
        &most,
        &least,
        "-XX:+UseG1GC",
        "-XX:MaxGCPauseMillis=20",
        "-XX:InitiatingHeapOccupancyPercent=35",
        "-Djava.awt.headless=true",
        &logging,
    ];
    let mut command = java(lib, &options, "kafka.Kafka");
    command.arg(directory.join("server.properties")).current_dir(directory);
    let begun = Instant::now();
    let mut process = Process::start("kafka", &command, &directory.join("server.log"))?;
    ready::wait(&mut process, READY, async || known_brokers(port).await.is_ok_and(|brokers| brokers > 0))
        .await?;
    Ok((process, begun.elapsed()))
}
