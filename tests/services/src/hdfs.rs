use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::artifact::Artifact;
use crate::process::Process;
use crate::{ServiceError, free_ports, http, ready};

/// Three DataNodes are ready in nine seconds when the machine is idle.
const READY: Duration = Duration::from_secs(180);
const STARTS: usize = 3;
const NAMENODE: &str = "org.apache.hadoop.hdfs.server.namenode.NameNode";
const DATANODE: &str = "org.apache.hadoop.hdfs.server.datanode.DataNode";
/// Small and quick to start, which is what a test wants of a JVM.
const JVM: [&str; 4] =
    ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.net.preferIPv4Stack=true"];

/// An HDFS cluster on loopback: a NameNode and some DataNodes.
#[derive(Debug)]
pub struct Hdfs {
    namenode: Process,
    datanodes: Vec<Process>,
    site: Site,
}

/// What its processes share.
#[derive(Debug)]
struct Site {
    lib: PathBuf,
    directory: TempDir,
    rpc_port: u16,
    http_port: u16,
}

impl Hdfs {
    /// Starts a NameNode and `datanodes` DataNodes and waits until all of them are live. New files have as
    /// many copies as there are DataNodes, at most three. A killed DataNode stays "live" to the NameNode for
    /// ten minutes, as on a site with default settings.
    ///
    /// # Errors
    /// [`ServiceError::Missing`] if it is not installed.
    pub async fn start(datanodes: usize) -> Result<Self, ServiceError> {
        let mut starts = 1;
        loop {
            match Self::start_once(datanodes).await {
                Err(ServiceError::Ended { .. }) if starts < STARTS => starts += 1,
                result => return result,
            }
        }
    }

    async fn start_once(datanodes: usize) -> Result<Self, ServiceError> {
        let lib = Artifact::Hdfs.find()?;
        let directory = tempfile::tempdir().map_err(ServiceError::io("create a directory for HDFS"))?;
        let [rpc_port, http_port] = free_ports();
        let site = Site { lib, directory, rpc_port, http_port };
        site.configure(datanodes.min(3)).map_err(ServiceError::io("configure HDFS"))?;
        site.format()?;
        let namenode = site.start_namenode()?;
        let datanodes = (0..datanodes).map(|i| site.start_datanode(i)).collect::<Result<Vec<_>, _>>()?;
        let mut hdfs = Self { namenode, datanodes, site };
        hdfs.ready().await?;
        Ok(hdfs)
    }

    /// `localhost:PORT` of the NameNode.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.site.rpc_port)
    }

    /// The directory with `core-site.xml` and `hdfs-site.xml`, for `HADOOP_CONF_DIR`.
    pub fn config_dir(&self) -> PathBuf {
        self.site.config_dir()
    }

    /// Kills the DataNode with this index as a power cut would.
    pub fn kill_datanode(&mut self, index: usize) {
        self.datanodes[index].kill();
    }

    /// Starts a DataNode again.
    ///
    /// # Errors
    /// If its process cannot be started.
    pub fn start_datanode(&mut self, index: usize) -> Result<(), ServiceError> {
        self.datanodes[index] = self.site.start_datanode(index)?;
        Ok(())
    }

    /// Kills the NameNode as a power cut would.
    pub fn kill_namenode(&mut self) {
        self.namenode.kill();
    }

    /// Starts the NameNode again.
    ///
    /// # Errors
    /// If its process cannot be started.
    pub fn start_namenode(&mut self) -> Result<(), ServiceError> {
        self.namenode = self.site.start_namenode()?;
        Ok(())
    }

    /// Waits until the NameNode has left safe mode and counts all DataNodes as live.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn ready(&mut self) -> Result<(), ServiceError> {
        let (port, wanted) = (self.site.http_port, self.datanodes.len());
        ready::wait(&mut self.namenode, READY, async || {
            let state = http::get(port, "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState").await;
            state.is_ok_and(|(status, body)| {
                status == 200
                    && body.contains("\"FSState\" : \"Operational\"")
                    && body.contains(&format!("\"NumLiveDataNodes\" : {wanted},"))
            })
        })
        .await
    }
}

impl Site {
    fn config_dir(&self) -> PathBuf {
        self.directory.path().join("conf")
    }

    fn configure(&self, replication: usize) -> std::io::Result<()> {
        let conf = self.config_dir();
        // The jars have no web pages, and the HTTP servers insist on the directories.
        for page in ["hdfs", "datanode", "static"] {
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
        let directory = self.directory.path().display();
        let core = [
            ("fs.defaultFS", format!("hdfs://localhost:{}", self.rpc_port)),
            ("hadoop.tmp.dir", format!("{directory}/tmp")),
        ];
        let hdfs = [
            ("dfs.namenode.rpc-address", format!("localhost:{}", self.rpc_port)),
            ("dfs.namenode.http-address", format!("localhost:{}", self.http_port)),
            ("dfs.namenode.name.dir", format!("{directory}/namenode")),
            ("dfs.replication", replication.to_string()),
            ("dfs.permissions.enabled", "false".to_owned()),
            ("dfs.namenode.safemode.extension", "0".to_owned()),
            ("dfs.heartbeat.interval", "1".to_owned()),
            ("dfs.datanode.du.reserved", "0".to_owned()),
        ];
        fs::write(conf.join("core-site.xml"), xml(&core))?;
        fs::write(conf.join("hdfs-site.xml"), xml(&hdfs))
    }

    fn java(&self, heap: &str, class: &str) -> Command {
        let mut command = Command::new("java");
        command.args(JVM).arg(heap).arg("-cp");
        command.arg(format!("{}:{}/*", self.config_dir().display(), self.lib.display())).arg(class);
        command
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.log"))
    }

    fn format(&self) -> Result<(), ServiceError> {
        let output = self.java("-Xmx128m", NAMENODE).args(["-format", "-nonInteractive"]).output();
        let output = output.map_err(ServiceError::io("start java"))?;
        if output.status.success() {
            return Ok(());
        }
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(ServiceError::Ended { name: "the NameNode's format".to_owned(), log })
    }

    fn start_namenode(&self) -> Result<Process, ServiceError> {
        Process::start("namenode", &self.java("-Xmx128m", NAMENODE), &self.log("namenode"))
    }

    fn start_datanode(&self, index: usize) -> Result<Process, ServiceError> {
        let name = format!("datanode-{index}");
        let blocks = self.directory.path().join(&name);
        fs::create_dir_all(&blocks).map_err(ServiceError::io("create a DataNode's directory"))?;
        let [data, http, ipc] = free_ports();
        let mut command = self.java("-Xmx96m", DATANODE);
        command
            .arg(setting("dfs.datanode.data.dir", &blocks))
            .arg(format!("-Ddfs.datanode.address=127.0.0.1:{data}"))
            .arg(format!("-Ddfs.datanode.http.address=127.0.0.1:{http}"))
            .arg(format!("-Ddfs.datanode.ipc.address=127.0.0.1:{ipc}"));
        Process::start(&name, &command, &self.log(&name))
    }
}

fn setting(name: &str, path: &Path) -> String {
    format!("-D{name}={}", path.display())
}

fn xml(properties: &[(&str, String)]) -> String {
    let properties: String = properties
        .iter()
        .map(|(name, value)| format!("<property><name>{name}</name><value>{value}</value></property>\n"))
        .collect();
    format!("<configuration>\n{properties}</configuration>\n")
}
