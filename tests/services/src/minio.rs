use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::artifact::Artifact;
use crate::private_ca::PrivateCa;
use crate::process::Process;
use crate::{ServiceError, free_port, http, ready};

/// It needs one second when the machine is idle.
const READY: Duration = Duration::from_secs(60);
/// Below its directory.
const CERTIFICATES: &str = "certificates";
/// What a server with TLS answers to a request in the clear.
const SPEAKS_TLS: u16 = 400;
/// Another process may take the port between our look and MinIO's bind.
const STARTS: usize = 3;

/// A MinIO server with one drive.
#[derive(Debug)]
pub struct Minio {
    process: Process,
    program: PathBuf,
    address: Ipv4Addr,
    port: u16,
    tls: bool,
    directory: TempDir,
}

impl Minio {
    /// The access key, which is the secret key too.
    pub const ACCESS_KEY: &str = "minioadmin";

    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// [`ServiceError::Missing`] if it is not installed.
    pub async fn start() -> Result<Self, ServiceError> {
        Self::start_with(Ipv4Addr::LOCALHOST, None).await
    }

    /// Starts one that hosts in the test's own network reach at this address.
    ///
    /// # Errors
    /// [`ServiceError::Missing`] if it is not installed.
    pub async fn start_at(address: Ipv4Addr) -> Result<Self, ServiceError> {
        Self::start_with(address, None).await
    }

    /// Starts one that speaks https only, with the certificate of `ca`.
    ///
    /// # Errors
    /// [`ServiceError::Missing`] if it is not installed.
    pub async fn start_with_tls(ca: &PrivateCa) -> Result<Self, ServiceError> {
        Self::start_with(Ipv4Addr::LOCALHOST, Some(ca)).await
    }

    async fn start_with(address: Ipv4Addr, ca: Option<&PrivateCa>) -> Result<Self, ServiceError> {
        let program = Artifact::Minio.find()?;
        let directory = tempfile::tempdir().map_err(ServiceError::io("create a directory for MinIO"))?;
        let certificates = directory.path().join(CERTIFICATES);
        fs::create_dir(&certificates).map_err(ServiceError::io("create MinIO's certificates"))?;
        if let Some(ca) = ca {
            for (name, pem) in [("public.crt", &ca.certificate), ("private.key", &ca.key)] {
                fs::write(certificates.join(name), pem)
                    .map_err(ServiceError::io("write MinIO's certificate"))?;
            }
        }
        let tls = ca.is_some();
        let mut starts = 1;
        loop {
            let port = free_port();
            match start(&program, directory.path(), (address, port), tls).await {
                Ok(process) => return Ok(Self { process, program, address, port, tls, directory }),
                Err(ServiceError::Ended { .. }) if starts < STARTS => starts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// `http://127.0.0.1:PORT`, or `https://…`; the address that it was started at.
    pub fn endpoint(&self) -> String {
        format!("{}://{}:{}", if self.tls { "https" } else { "http" }, self.address, self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Creates a bucket, which to MinIO is a directory of its drive.
    ///
    /// # Panics
    /// If the directory cannot be created.
    pub fn create_bucket(&self, name: &str) {
        fs::create_dir(self.directory.path().join("drive").join(name)).expect("a bucket can be created");
    }

    /// The keys in a bucket, without asking the server: what it would rather not show is seen too.
    ///
    /// # Panics
    /// If its drive cannot be read.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let root = self.directory.path().join("drive").join(bucket);
        let mut keys = Vec::new();
        let mut directories = vec![root.clone()];
        while let Some(directory) = directories.pop() {
            // What is deleted meanwhile is no key.
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for entry in entries.flatten() {
                if entry.file_name() == "xl.meta" {
                    let key = directory.strip_prefix(&root).expect("it is below");
                    keys.push(key.display().to_string());
                } else if entry.path().is_dir() {
                    directories.push(entry.path());
                }
            }
        }
        keys.sort();
        keys
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`Self::kill`], on the same port with the same data.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn restart(&mut self) -> Result<(), ServiceError> {
        self.process.kill();
        let place = (self.address, self.port);
        self.process = start(&self.program, self.directory.path(), place, self.tls).await?;
        Ok(())
    }
}

async fn start(
    program: &Path,
    directory: &Path,
    (address, port): (Ipv4Addr, u16),
    tls: bool,
) -> Result<Process, ServiceError> {
    let drive = directory.join("drive");
    fs::create_dir_all(&drive).map_err(ServiceError::io("create MinIO's drive"))?;
    let mut command = Command::new(program);
    command
        .args(["server", "--quiet", "--address", &format!("{address}:{port}")])
        .arg("--certs-dir")
        .arg(directory.join(CERTIFICATES))
        .arg(&drive)
        .env("HOME", directory)
        .env("MINIO_ROOT_USER", Minio::ACCESS_KEY)
        .env("MINIO_ROOT_PASSWORD", Minio::ACCESS_KEY)
        .env("MINIO_BROWSER", "off")
        .env("MINIO_UPDATE", "off")
        .env("GOMEMLIMIT", "512MiB")
        // On a drive that is shared with the system MinIO refuses to start outside of CI.
        .env("CI", "1");
    let mut process = Process::start("minio", &command, &directory.join("minio.log"))?;
    let ready = async || match http::get_from(address, port, "/minio/health/ready").await {
        Ok((status, _)) => status == 200 || (tls && status == SPEAKS_TLS),
        Err(_) => false,
    };
    ready::wait(&mut process, READY, ready).await?;
    Ok(process)
}
