use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::ServiceError;

/// Keep these three in step with `install.sh`.
const MINIO: &str = "minio/minio-v0.0.0-20260212201848-7aac2a2c5b7c";
const HDFS: &str = "hdfs/3.4.3";
const KAFKA: &str = "kafka/4.3.1";
/// Where Debian puts it, by architecture.
const FAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
];

/// What `install.sh` installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Artifact {
    /// The MinIO server.
    Minio,
    /// The jars of HDFS.
    Hdfs,
    /// The jars of Apache Kafka and its tools.
    Kafka,
    /// A Python with confluent-kafka.
    Python,
    /// The `kcat` program.
    Kcat,
    /// The library that shows a process another time.
    Faketime,
    /// A Linux kernel as a program.
    UserModeLinux,
    /// A Python with Ansible and ansible-lint.
    Ansible,
    /// The Debian root that systemd-nspawn boots, and what boots it.
    Hosts,
    /// A Python with kafka-python and aiokafka.
    Clients,
    /// A Kerberos KDC and its tools.
    Kerberos,
    /// Prometheus' `promtool`.
    Promtool,
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Artifact::Minio => "MinIO",
            Artifact::Hdfs => "HDFS",
            Artifact::Kafka => "Apache Kafka",
            Artifact::Python => "Python with confluent-kafka",
            Artifact::Kcat => "kcat",
            Artifact::Faketime => "libfaketime",
            Artifact::UserModeLinux => "User Mode Linux",
            Artifact::Ansible => "Ansible",
            Artifact::Hosts => "a Debian root for systemd-nspawn",
            Artifact::Clients => "Python with kafka-python and aiokafka",
            Artifact::Kerberos => "a Kerberos KDC",
            Artifact::Promtool => "Prometheus' promtool",
        })
    }
}

impl Artifact {
    /// Its name for `install.sh`.
    pub fn part(self) -> &'static str {
        match self {
            Artifact::Minio => "minio",
            Artifact::Hdfs => "hdfs",
            Artifact::Kafka => "kafka",
            Artifact::Python => "python",
            Artifact::Kcat => "kcat",
            Artifact::Faketime => "faketime",
            Artifact::UserModeLinux => "uml",
            Artifact::Ansible => "ansible",
            Artifact::Hosts => "hosts",
            Artifact::Clients => "clients",
            Artifact::Kerberos => "kerberos",
            Artifact::Promtool => "promtool",
        }
    }

    /// The program, or the directory of its jars.
    ///
    /// # Errors
    /// [`ServiceError::Missing`].
    pub fn find(self) -> Result<PathBuf, ServiceError> {
        let cache = cache();
        let found = match self {
            Artifact::Minio => file(cache.join(MINIO)),
            Artifact::Hdfs => jars(&cache.join(HDFS)),
            Artifact::Kafka => jars(&cache.join(KAFKA)),
            Artifact::Python => file(cache.join("python/bin/python")),
            Artifact::Kcat => on_path("kcat"),
            Artifact::Faketime => FAKETIME.iter().find_map(|path| file(path.into())),
            Artifact::UserModeLinux => on_path("linux.uml"),
            Artifact::Ansible => file(cache.join("ansible/bin/python")),
            Artifact::Hosts => on_path("systemd-nspawn")
                .and_then(|_| file(cache.join("hosts/complete")))
                .map(|complete| complete.with_file_name("root")),
            Artifact::Clients => file(cache.join("clients/bin/python")),
            Artifact::Kerberos => {
                let administrator = |program: &str| on_path(program).or_else(|| file(sbin(program)));
                on_path("kinit").and(administrator("kadmin.local")).and(administrator("krb5kdc"))
            }
            Artifact::Promtool => file(cache.join("promtool/promtool")),
        };
        found.ok_or(ServiceError::Missing(self))
    }
}

/// The interpreter that has confluent-kafka.
///
/// # Errors
/// [`ServiceError::Missing`].
pub fn python() -> Result<PathBuf, ServiceError> {
    Artifact::Python.find()
}

/// The `kcat` program.
///
/// # Errors
/// [`ServiceError::Missing`].
pub fn kcat() -> Result<PathBuf, ServiceError> {
    Artifact::Kcat.find()
}

fn cache() -> PathBuf {
    match env::var_os("AQUIFER_TEST_CACHE") {
        Some(directory) => directory.into(),
        None => PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/aquifer-tests"),
    }
}

/// Where Debian keeps what is not for every user's path.
fn sbin(program: &str) -> PathBuf {
    Path::new("/usr/sbin").join(program)
}

fn file(path: PathBuf) -> Option<PathBuf> {
    path.is_file().then_some(path)
}

/// Jars count only if all of them arrived.
fn jars(directory: &Path) -> Option<PathBuf> {
    directory.join("complete").is_file().then(|| directory.join("lib"))
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|directory| directory.join(program)).find_map(file)
}
