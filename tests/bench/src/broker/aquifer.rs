mod configuration;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aquifer_services::{Minio, Process, ServiceError, http_get, known_brokers};
use tokio::time::{Instant, sleep, timeout};

use self::configuration::{Place, make_certificates, places};
use crate::BenchError;

/// The variable that names a binary.
const NAMED: &str = "AQUIFER_BIN";
/// Profiles worth measuring, the best first.
const PROFILES: [&str; 2] = ["release", "fast"];
/// For a start or a stop on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at a starting node: start times are tenths of seconds.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// For an answer of a node that may have died.
const ANSWER: Duration = Duration::from_secs(2);
const STARTS: usize = 3;
const BUCKET: &str = "aquifer";

/// A MinIO for nodes to keep their objects in.
pub(super) async fn store() -> Result<Minio, BenchError> {
    let minio = Minio::start().await?;
    minio.create_bucket(BUCKET);
    Ok(minio)
}

/// A node of the `aquifer` binary.
#[derive(Debug)]
pub(super) struct Aquifer {
    process: Process,
    binary: PathBuf,
    place: Place,
    launched: Instant,
    start_took: Duration,
}

impl Aquifer {
    /// A node for each `process.roles`, on `minio` or on a directory that they share.
    pub(super) async fn start(
        roles: &[&str],
        directory: &Path,
        wal_size: Option<&str>,
        minio: Option<&Minio>,
    ) -> Result<Vec<Self>, BenchError> {
        let binary = find_binary()?;
        if roles.len() > 1 {
            make_certificates(&binary, directory, roles.len())?;
        }
        let mut starts = 1;
        loop {
            match Self::start_once(&binary, roles, directory, wal_size, minio).await {
                // Another process may have taken a port meanwhile.
                Err(BenchError::Service(ServiceError::Ended { .. })) if starts < STARTS => starts += 1,
                started => return started,
            }
        }
    }

    async fn start_once(
        binary: &Path,
        roles: &[&str],
        directory: &Path,
        wal_size: Option<&str>,
        minio: Option<&Minio>,
    ) -> Result<Vec<Self>, BenchError> {
        let places = places(directory, roles);
        for place in &places {
            place
                .configure(&places, directory, wal_size, minio)
                .map_err(BenchError::io(format!("configure a node in {}", directory.display())))?;
        }
        let brokers = places.iter().filter(|place| place.is_broker()).count();
        let mut nodes = Vec::new();
        for place in places {
            let (launched, process) = (Instant::now(), launch(binary, &place)?);
            let binary = binary.to_owned();
            nodes.push(Self { process, binary, place, launched, start_took: Duration::ZERO });
        }
        for node in &mut nodes {
            node.until_it_knows(brokers).await?;
        }
        Ok(nodes)
    }

    pub(super) fn port(&self) -> u16 {
        self.place.port
    }

    pub(super) fn is_broker(&self) -> bool {
        self.place.is_broker()
    }

    pub(super) fn process_id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn start_took(&self) -> Duration {
        self.start_took
    }

    pub(super) fn configuration(&self) -> Result<String, BenchError> {
        let path = self.place.properties();
        fs::read_to_string(&path).map_err(BenchError::io(format!("read {}", path.display())))
    }

    /// True if it stopped by itself.
    pub(super) async fn stop(&mut self) -> bool {
        self.process.stop(LIMIT).await
    }

    pub(super) fn kill(&mut self) {
        self.process.kill();
    }

    pub(super) fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }

    pub(super) fn launch(&mut self) -> Result<(), BenchError> {
        self.launched = Instant::now();
        self.process = launch(&self.binary, &self.place)?;
        Ok(())
    }

    /// Waits until it does.
    pub(super) async fn until_it_knows(&mut self, brokers: usize) -> Result<(), BenchError> {
        while !self.knows(brokers).await {
            if self.process.ended().is_some() {
                return Err(self.process.ended_error().into());
            }
            if self.launched.elapsed() > LIMIT {
                let log = self.process.log().display();
                return Err(BenchError::Wrong(format!(
                    "aquifer did not answer in {LIMIT:?}; its log is {log}"
                )));
            }
            sleep(LOOK_EVERY).await;
        }
        self.start_took = self.launched.elapsed();
        Ok(())
    }

    /// Whether it answers and knows so many brokers; whether it is ready, if it is only a controller.
    pub(super) async fn knows(&self, brokers: usize) -> bool {
        if self.is_broker() {
            known_brokers(self.place.port).await.is_ok_and(|known| known as usize >= brokers)
        } else {
            http_get(self.place.http, "/readyz").await.is_ok_and(|(status, _)| status == 200)
        }
    }

    /// A metric without labels; None while the node does not answer.
    pub(super) async fn metric(&self, name: &str) -> Option<u64> {
        let (_, page) = timeout(ANSWER, http_get(self.place.http, "/metrics")).await.ok()?.ok()?;
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

/// True if the binary is the user's choice, and not of this tree.
pub(super) fn is_named() -> bool {
    env::var_os(NAMED).is_some()
}

/// The binary that is measured: `AQUIFER_BIN`, or the one that cargo built last for speed.
pub(super) fn find_binary() -> Result<PathBuf, BenchError> {
    if let Some(path) = env::var_os(NAMED) {
        let path = PathBuf::from(path);
        return if path.is_file() { Ok(path) } else { Err(BenchError::NoBinary(path.display().to_string())) };
    }
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let built = PROFILES.map(|profile| target.join(profile).join("aquifer"));
    let newest = built
        .iter()
        .filter(|path| path.is_file())
        .max_by_key(|path| path.metadata().and_then(|metadata| metadata.modified()).ok());
    newest
        .cloned()
        .ok_or_else(|| BenchError::NoBinary(built.map(|path| path.display().to_string()).join(" and ")))
}

fn launch(binary: &Path, place: &Place) -> Result<Process, BenchError> {
    let mut command = Command::new(binary);
    command.args(["serve", "--config"]).arg(place.properties());
    Ok(Process::start("aquifer", &command, &place.directory.join("node.log"))?)
}
