use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aquifer_services::{Minio, Process, ServiceError, free_ports, known_brokers};
use tokio::time::{Instant, sleep};

use crate::BenchError;

/// The variable that names a binary.
const NAMED: &str = "AQUIFER_BIN";
/// Profiles worth measuring, the best first.
const PROFILES: [&str; 2] = ["release", "fast"];
/// For a start or a stop on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at a starting node: start times are tenths of seconds.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const STARTS: usize = 3;
const BUCKET: &str = "aquifer";

/// A node of the `aquifer` binary.
#[derive(Debug)]
pub(crate) struct Aquifer {
    process: Process,
    directory: PathBuf,
    binary: PathBuf,
    port: u16,
    start_took: Duration,
    // Below the process: the store goes last.
    _minio: Option<Minio>,
}

impl Aquifer {
    pub(crate) async fn start_on_minio(directory: &Path) -> Result<Self, BenchError> {
        let minio = Minio::start().await?;
        minio.create_bucket(BUCKET);
        Self::start(directory, Some(minio)).await
    }

    /// On `minio`, or on a directory.
    pub(crate) async fn start(directory: &Path, minio: Option<Minio>) -> Result<Self, BenchError> {
        let binary = find_binary()?;
        let mut starts = 1;
        loop {
            let [port, http] = free_ports();
            configure(directory, port, http, minio.as_ref())
                .map_err(BenchError::io(format!("configure a node in {}", directory.display())))?;
            match started(&binary, directory, port).await {
                // Another process may have taken the port meanwhile.
                Err(BenchError::Service(ServiceError::Ended { .. })) if starts < STARTS => starts += 1,
                Err(error) => return Err(error),
                Ok((process, start_took)) => {
                    let directory = directory.to_owned();
                    return Ok(Self { process, directory, binary, port, start_took, _minio: minio });
                }
            }
        }
    }

    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn start_took(&self) -> Duration {
        self.start_took
    }

    pub(crate) fn configuration(&self) -> Result<String, BenchError> {
        let path = properties(&self.directory);
        fs::read_to_string(&path).map_err(BenchError::io(format!("read {}", path.display())))
    }

    pub(crate) async fn stop(&mut self) -> Result<Duration, BenchError> {
        let asked = Instant::now();
        if self.process.stop(LIMIT).await {
            return Ok(asked.elapsed());
        }
        Err(BenchError::Wrong(format!(
            "aquifer did not stop in {LIMIT:?}; its log is {}",
            self.process.log().display()
        )))
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    pub(crate) async fn start_again(&mut self) -> Result<(), BenchError> {
        (self.process, self.start_took) = started(&self.binary, &self.directory, self.port).await?;
        Ok(())
    }
}

/// True if the binary is the user's choice, and not of this tree.
pub(crate) fn is_named() -> bool {
    env::var_os(NAMED).is_some()
}

/// The binary that is measured: `AQUIFER_BIN`, or the one that cargo built last for speed.
pub(crate) fn find_binary() -> Result<PathBuf, BenchError> {
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

fn properties(directory: &Path) -> PathBuf {
    directory.join("node.properties")
}

/// What has no default, and ports of its own; all else is as it comes, but that deleted topics leave the disk
/// after ten seconds, as Kafka's do here: a long benchmark has to fit on it.
fn configure(directory: &Path, port: u16, http: u16, minio: Option<&Minio>) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    let under = |name: &str| directory.join(name).display().to_string();
    let store = match minio {
        None => format!("store.url=file://{}", under("store")),
        Some(minio) => format!(
            "store.url=s3://{BUCKET}/bench\nstore.s3.endpoint={}\nstore.s3.access.key={key}\nstore.s3.secret.key={key}",
            minio.endpoint(),
            key = Minio::ACCESS_KEY
        ),
    };
    let text = format!(
        "node.id=1\n\
         listeners=PLAINTEXT://127.0.0.1:{port}\n\
         http.listen=127.0.0.1:{http}\n\
         metadata.dir={}\n\
         wal.dir={}\n\
         {store}\n\
         store.delete.delay.ms=10000\n",
        under("metadata"),
        under("wal"),
    );
    fs::write(properties(directory), text)
}

async fn started(binary: &Path, directory: &Path, port: u16) -> Result<(Process, Duration), BenchError> {
    let mut command = Command::new(binary);
    command.args(["serve", "--config"]).arg(properties(directory));
    let log = directory.join("node.log");
    let begun = Instant::now();
    let mut process = Process::start("aquifer", &command, &log)?;
    while !known_brokers(port).await.is_ok_and(|brokers| brokers > 0) {
        if process.ended().is_some() {
            return Err(process.ended_error().into());
        }
        if begun.elapsed() > LIMIT {
            return Err(BenchError::Wrong(format!(
                "aquifer did not answer in {LIMIT:?}; its log is {}",
                log.display()
            )));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok((process, begun.elapsed()))
}
