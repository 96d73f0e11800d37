use std::path::PathBuf;
use std::process::Command;

use tokio::net::TcpStream;

use super::site::{NAMENODE, Site, property, setting};
use super::{READY, STARTS, serves};
use crate::process::Process;
use crate::{ServiceError, free_ports, http, ready};

const JOURNALNODE: &str = "org.apache.hadoop.hdfs.qjournal.server.JournalNode";
const ADMIN: &str = "org.apache.hadoop.hdfs.tools.DFSHAAdmin";
const PROVIDER: &str = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider";
const NAMENODES: usize = 2;
const JOURNALS: usize = 3;

/// An HDFS with high availability on loopback: two NameNodes, three JournalNodes, some DataNodes. Who is active is said
/// by hand: no ZooKeeper.
#[derive(Debug)]
pub struct HaHdfs {
    namenodes: Vec<Process>,
    _others: Vec<Process>,
    site: Site,
    rpc_ports: [u16; NAMENODES],
    http_ports: [u16; NAMENODES],
    datanodes: usize,
}

impl HaHdfs {
    /// The name service, for `hdfs://…`.
    pub const NAME_SERVICE: &str = "pool";

    /// Starts it and waits until the first NameNode is active and counts all DataNodes as live.
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
        let site = Site::new(None)?;
        let rpc_ports = free_ports();
        let http_ports = free_ports();
        let journals: [u16; JOURNALS] = free_ports();
        configure(&site, datanodes, rpc_ports, http_ports, journals)?;

        let mut others = Vec::new();
        for (index, port) in journals.into_iter().enumerate() {
            let mut journal = start_journal(&site, index, port)?;
            ready::wait(&mut journal, READY, async || listens(port).await).await?;
            others.push(journal);
        }
        let mut namenodes = Vec::new();
        for (index, how) in ["-format", "-bootstrapStandby"].into_iter().enumerate() {
            let mut prepare = namenode(&site, index);
            prepare.args([how, "-nonInteractive"]);
            site.run(&format!("the NameNode's {how}"), prepare)?;
            let mut process = site.start(&format!("namenode-{index}"), &namenode(&site, index))?;
            ready::wait(&mut process, READY, async || listens(rpc_ports[index]).await).await?;
            namenodes.push(process);
        }
        for index in 0..datanodes {
            others.push(site.start_datanode(index)?);
        }
        let mut hdfs = Self { namenodes, _others: others, site, rpc_ports, http_ports, datanodes };
        hdfs.activate(0).await?;
        Ok(hdfs)
    }

    /// `localhost:PORT` of each NameNode.
    pub fn namenodes(&self) -> Vec<String> {
        self.rpc_ports.iter().map(|port| format!("localhost:{port}")).collect()
    }

    /// The directory with `core-site.xml` and `hdfs-site.xml`, for `HADOOP_CONF_DIR`.
    pub fn config_dir(&self) -> PathBuf {
        self.site.config_dir()
    }

    /// Kills a NameNode as a power cut would.
    pub fn kill_namenode(&mut self, index: usize) {
        self.namenodes[index].kill();
    }

    /// Makes a NameNode the active one and waits until it serves.
    ///
    /// # Errors
    /// If it cannot be, or that takes too long.
    pub async fn activate(&mut self, index: usize) -> Result<(), ServiceError> {
        let mut command = self.site.java("-Xmx96m", ADMIN);
        command.args(["-transitionToActive", "--forceactive", &name(index)]);
        self.site.run("the switch of the active NameNode", command)?;
        let (port, datanodes) = (self.http_ports[index], self.datanodes);
        let serving = async || is_active(port).await && serves(port, datanodes).await;
        ready::wait(&mut self.namenodes[index], READY, serving).await
    }
}

fn name(index: usize) -> String {
    format!("nn{}", index + 1)
}

fn configure(
    site: &Site,
    datanodes: usize,
    rpc_ports: [u16; NAMENODES],
    http_ports: [u16; NAMENODES],
    journals: [u16; JOURNALS],
) -> Result<(), ServiceError> {
    let service = HaHdfs::NAME_SERVICE;
    let quorum: Vec<String> = journals.iter().map(|port| format!("localhost:{port}")).collect();
    let mut hdfs = vec![
        property("dfs.nameservices", service),
        property(format!("dfs.ha.namenodes.{service}"), format!("{},{}", name(0), name(1))),
        property("dfs.namenode.shared.edits.dir", format!("qjournal://{}/{service}", quorum.join(";"))),
        property(format!("dfs.client.failover.proxy.provider.{service}"), PROVIDER),
        property("dfs.ha.fencing.methods", "shell(/bin/true)"),
        property("dfs.ha.tail-edits.period", "1s"),
        property("dfs.replication", datanodes.min(3)),
        property("dfs.permissions.enabled", false),
    ];
    for index in 0..NAMENODES {
        let address = |port| format!("localhost:{port}");
        let of = |what: &str| format!("dfs.namenode.{what}.{service}.{}", name(index));
        hdfs.push(property(of("rpc-address"), address(rpc_ports[index])));
        hdfs.push(property(of("http-address"), address(http_ports[index])));
    }
    let core = vec![
        property("fs.defaultFS", format!("hdfs://{service}")),
        property("ipc.client.connect.max.retries", 3),
    ];
    site.configure(core, hdfs)
}

fn start_journal(site: &Site, index: usize, port: u16) -> Result<Process, ServiceError> {
    let [http_port] = free_ports();
    let journal = format!("journal-{index}");
    let mut command = site.java("-Xmx96m", JOURNALNODE);
    command
        .arg(setting("dfs.journalnode.edits.dir", &site.path(&journal)))
        .arg(format!("-Ddfs.journalnode.rpc-address=localhost:{port}"))
        .arg(format!("-Ddfs.journalnode.http-address=localhost:{http_port}"));
    site.start(&journal, &command)
}

fn namenode(site: &Site, index: usize) -> Command {
    let mut command = site.java("-Xmx128m", NAMENODE);
    command
        .arg(format!("-Ddfs.ha.namenode.id={}", name(index)))
        .arg(setting("dfs.namenode.name.dir", &site.path(&name(index))));
    command
}

async fn listens(port: u16) -> bool {
    TcpStream::connect(("localhost", port)).await.is_ok()
}

async fn is_active(http_port: u16) -> bool {
    let state = http::get(http_port, "/jmx?qry=Hadoop:service=NameNode,name=NameNodeStatus").await;
    state.is_ok_and(|(status, body)| status == 200 && body.contains("\"State\" : \"active\""))
}
