use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::artifact::Artifact;
use crate::kdc::Kdc;
use crate::process::Process;
use crate::{ServiceError, free_ports};

pub(super) const NAMENODE: &str = "org.apache.hadoop.hdfs.server.namenode.NameNode";
const DATANODE: &str = "org.apache.hadoop.hdfs.server.datanode.DataNode";
/// Small and quick to start, which is what a test wants of a JVM.
const JVM: [&str; 4] =
    ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.net.preferIPv4Stack=true"];

/// What the processes of a cluster share: jars, configuration, a directory.
#[derive(Debug)]
pub(super) struct Site {
    lib: PathBuf,
    directory: TempDir,
    /// Where the JVM's Kerberos is configured, if it has one.
    kerberos: Option<PathBuf>,
}

impl Site {
    pub(super) fn new(kdc: Option<&Kdc>) -> Result<Self, ServiceError> {
        let lib = Artifact::Hdfs.find()?;
        let directory = tempfile::tempdir().map_err(ServiceError::io("create a directory for HDFS"))?;
        Ok(Self { lib, directory, kerberos: kdc.map(|kdc| kdc.config().to_owned()) })
    }

    /// A path in its directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn config_dir(&self) -> PathBuf {
        self.path("conf")
    }

    /// Writes the configuration files: what every cluster has, and `core` and `hdfs`.
    pub(super) fn configure(
        &self,
        core: Vec<(String, String)>,
        hdfs: Vec<(String, String)>,
    ) -> Result<(), ServiceError> {
        self.write_files(core, hdfs).map_err(ServiceError::io("configure HDFS"))
    }

    fn write_files(
        &self,
        mut core: Vec<(String, String)>,
        mut hdfs: Vec<(String, String)>,
    ) -> std::io::Result<()> {
        let conf = self.config_dir();
        // The jars have no web pages, and the HTTP servers insist on the directories.
        for page in ["hdfs", "datanode", "journal", "static"] {
            fs::create_dir_all(conf.join("webapps").join(page))?;
        }
        fs::write(
            conf.join("log4j.properties"),
            "log4j.rootLogger=INFO,c\n\
             log4j.appender.c=org.apache.log4j.ConsoleAppender\n\
             log4j.appender.c.target=System.err\n\
             log4j.appender.c.layout=org.apache.log4j.PatternLayout\n\
             log4j.appender.c.layout.ConversionPattern=%d{HH:mm:ss,SSS} %p %c{1}: %m%n\n",
        )?;
        core.push(property("hadoop.tmp.dir", self.path("tmp").display()));
        hdfs.extend([
            property("dfs.namenode.safemode.extension", 0),
            property("dfs.heartbeat.interval", 1),
            property("dfs.datanode.du.reserved", 0),
        ]);
        fs::write(conf.join("core-site.xml"), xml(&core))?;
        fs::write(conf.join("hdfs-site.xml"), xml(&hdfs))
    }

    /// A JVM with this cluster's classes and configuration.
    pub(super) fn java(&self, heap: &str, class: &str) -> Command {
        let mut command = Command::new("java");
        command.args(JVM).arg(heap);
        if let Some(config) = &self.kerberos {
            command.arg(format!("-Djava.security.krb5.conf={}", config.display()));
        }
        command.arg("-cp");
        command.arg(format!("{}:{}/*", self.config_dir().display(), self.lib.display())).arg(class);
        command
    }

    /// Runs a command to its good end.
    pub(super) fn run(&self, name: &str, mut command: Command) -> Result<(), ServiceError> {
        let output = command.output().map_err(ServiceError::io("start java"))?;
        if output.status.success() {
            return Ok(());
        }
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(ServiceError::Ended { name: name.to_owned(), log })
    }

    /// Starts a daemon whose log bears its name.
    pub(super) fn start(&self, name: &str, command: &Command) -> Result<Process, ServiceError> {
        Process::start(name, command, &self.path(&format!("{name}.log")))
    }

    pub(super) fn start_datanode(&self, index: usize) -> Result<Process, ServiceError> {
        let name = format!("datanode-{index}");
        let blocks = self.path(&name);
        fs::create_dir_all(&blocks).map_err(ServiceError::io("create a DataNode's directory"))?;
        let [data, http, ipc] = free_ports();
        let mut command = self.java("-Xmx96m", DATANODE);
        command
            .arg(setting("dfs.datanode.data.dir", &blocks))
            .arg(format!("-Ddfs.datanode.address=127.0.0.1:{data}"))
            .arg(format!("-Ddfs.datanode.http.address=127.0.0.1:{http}"))
            .arg(format!("-Ddfs.datanode.ipc.address=127.0.0.1:{ipc}"));
        self.start(&name, &command)
    }
}

pub(super) fn setting(name: &str, path: &Path) -> String {
    format!("-D{name}={}", path.display())
}

pub(super) fn property(name: impl Into<String>, value: impl ToString) -> (String, String) {
    (name.into(), value.to_string())
}

fn xml(properties: &[(String, String)]) -> String {
    let properties: String = properties
        .iter()
        .map(|(name, value)| format!("<property><name>{name}</name><value>{value}</value></property>\n"))
        .collect();
    format!("<configuration>\n{properties}</configuration>\n")
}
