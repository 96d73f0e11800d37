mod configuration;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::Instant;

use self::configuration::{Place, places};
use crate::artifact::Artifact;
use crate::process::Process;
use crate::{ServiceError, known_brokers, ready};

/// It needs three to eight seconds, several at once on few processors a multiple.
const READY: Duration = Duration::from_secs(120);
const STARTS: usize = 3;
/// Any 16 bytes in Kafka's base64; the cluster lives as long as the test.
const CLUSTER_ID: &str = "AquiferPeerKafka43100A";
/// `process.roles` of a node that is a cluster by itself.
const ALONE: &str = "broker,controller";

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

/// A real Apache Kafka: one node, alone or of a cluster.
#[derive(Debug)]
pub struct Kafka {
    process: Process,
    lib: PathBuf,
    place: Place,
    heap: String,
    launched: Instant,
    start_took: Duration,
    _temporary: Option<Arc<TempDir>>,
}

impl Kafka {
    /// The version that `install.sh` installs.
    pub const VERSION: &str = "4.3.1";

    /// Starts one that is broker and controller, and waits until it answers.
    ///
    /// # Errors
    /// [`ServiceError::Missing`] if it is not installed.
    pub async fn start(config: &KafkaConfig) -> Result<Self, ServiceError> {
        let mut nodes = Self::start_cluster(config, &[ALONE]).await?;
        Ok(nodes.pop().expect("one node was asked for"))
    }

    /// Starts a node for each `process.roles`, numbered from 1, and waits until all answer and know each other.
    ///
    /// # Errors
    /// [`ServiceError::Missing`] if it is not installed.
    pub async fn start_cluster(config: &KafkaConfig, roles: &[&str]) -> Result<Vec<Self>, ServiceError> {
        let mut starts = 1;
        loop {
            match Self::start_once(config, roles).await {
                // Another process may have taken a port meanwhile.
                Err(ServiceError::Ended { .. }) if starts < STARTS => starts += 1,
                result => return result,
            }
        }
    }

    async fn start_once(config: &KafkaConfig, roles: &[&str]) -> Result<Vec<Self>, ServiceError> {
        let lib = Artifact::Kafka.find()?;
        let temporary = match config.directory {
            Some(_) => None,
            None => {
                Some(Arc::new(tempfile::tempdir().map_err(ServiceError::io("create a directory for Kafka"))?))
            }
        };
        let directory = temporary.as_ref().map(|temporary| temporary.path()).or(config.directory.as_deref());
        let places = places(directory.expect("one of both is given"), roles);
        for place in &places {
            place.configure(&places, &config.properties).map_err(ServiceError::io("configure Kafka"))?;
            format(&lib, &place.directory)?;
        }
        let brokers = places.iter().filter(|place| place.is_broker()).count();
        let mut nodes = Vec::new();
        for place in places {
            nodes.push(Self {
                process: launch(&lib, &place.directory, &config.heap)?,
                lib: lib.clone(),
                place,
                heap: config.heap.clone(),
                launched: Instant::now(),
                start_took: Duration::ZERO,
                _temporary: temporary.clone(),
            });
        }
        for node in &mut nodes {
            node.until_it_knows(brokers).await?;
        }
        Ok(nodes)
    }

    /// `127.0.0.1:PORT`, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.place.port)
    }

    /// The port of that address; a node that is only a controller does not listen there.
    pub fn port(&self) -> u16 {
        self.place.port
    }

    /// False if it is only a controller.
    pub fn is_broker(&self) -> bool {
        self.place.is_broker()
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

    /// True while its process lives.
    pub fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Starts it after [`Kafka::stop`] or [`Kafka::kill`], on the same port with the same data.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch(&mut self) -> Result<(), ServiceError> {
        self.launched = Instant::now();
        self.process = launch(&self.lib, &self.place.directory, &self.heap)?;
        Ok(())
    }

    /// As [`Kafka::launch`], and waits until it answers.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start_again(&mut self) -> Result<(), ServiceError> {
        self.launch()?;
        self.until_it_knows(1).await
    }

    /// Waits until a broker answers and knows so many brokers, itself included, or a controller listens.
    ///
    /// # Errors
    /// If it does not come to that.
    pub async fn until_it_knows(&mut self, brokers: usize) -> Result<(), ServiceError> {
        let place = self.place.clone();
        ready::wait(&mut self.process, READY, async || knows(&place, brokers).await).await?;
        self.start_took = self.launched.elapsed();
        Ok(())
    }

    /// Whether it answers and knows so many brokers; whether it listens, if it is only a controller.
    pub async fn knows(&self, brokers: usize) -> bool {
        knows(&self.place, brokers).await
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
        fs::read_to_string(self.place.properties()).map_err(ServiceError::io("read Kafka's configuration"))
    }

    /// What a controller noted last about the metadata quorum: JSON with `leaderId`, -1 while it knows of none, and
    /// `leaderEpoch`.
    ///
    /// # Errors
    /// If the file cannot be read; it is replaced at every election.
    pub fn quorum_state(&self) -> Result<String, ServiceError> {
        fs::read_to_string(self.place.data().join("__cluster_metadata-0/quorum-state"))
            .map_err(ServiceError::io("read the state of Kafka's quorum"))
    }
}

async fn knows(place: &Place, brokers: usize) -> bool {
    if place.is_broker() {
        known_brokers(place.port).await.is_ok_and(|known| known as usize >= brokers)
    } else {
        TcpStream::connect((Ipv4Addr::LOCALHOST, place.controller_port)).await.is_ok()
    }
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

fn launch(lib: &Path, directory: &Path, heap: &str) -> Result<Process, ServiceError> {
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
    Process::start("kafka", &command, &directory.join("server.log"))
}
