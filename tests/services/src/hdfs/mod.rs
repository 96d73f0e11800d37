mod ha;
mod site;

use std::path::PathBuf;
use std::time::Duration;

use crate::kdc::{Kdc, Protection};
use crate::process::Process;
use crate::{ServiceError, free_ports, http, ready};
use site::{NAMENODE, Site, property};

pub use ha::HaHdfs;

/// Three DataNodes are ready in nine seconds when the machine is idle.
const READY: Duration = Duration::from_secs(180);
const STARTS: usize = 3;

/// An HDFS cluster on loopback: a NameNode and some DataNodes.
#[derive(Debug)]
pub struct Hdfs {
    namenode: Process,
    datanodes: Vec<Process>,
    site: Site,
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
        Self::start_with(datanodes, None).await
    }

    /// As [`Hdfs::start`], for clients whom `kdc` knows; calls and data are protected as said.
    ///
    /// # Errors
    /// [`ServiceError::Missing`] if it is not installed.
    pub async fn start_with_kerberos(
        datanodes: usize,
        kdc: &Kdc,
        protection: Protection,
    ) -> Result<Self, ServiceError> {
        Self::start_with(datanodes, Some((kdc, protection))).await
    }

    async fn start_with(
        datanodes: usize,
        kerberos: Option<(&Kdc, Protection)>,
    ) -> Result<Self, ServiceError> {
        let mut starts = 1;
        loop {
            match Self::start_once(datanodes, kerberos).await {
                Err(ServiceError::Ended { .. }) if starts < STARTS => starts += 1,
                result => return result,
            }
        }
    }

    async fn start_once(
        datanodes: usize,
        kerberos: Option<(&Kdc, Protection)>,
    ) -> Result<Self, ServiceError> {
        let site = Site::new(kerberos.map(|(kdc, _)| kdc))?;
        let [rpc_port, http_port] = free_ports();
        let mut core = vec![property("fs.defaultFS", format!("hdfs://localhost:{rpc_port}"))];
        let mut hdfs = vec![
            property("dfs.namenode.rpc-address", format!("localhost:{rpc_port}")),
            property("dfs.namenode.http-address", format!("localhost:{http_port}")),
            property("dfs.namenode.name.dir", site.path("namenode").display()),
            property("dfs.replication", datanodes.min(3)),
            property("dfs.permissions.enabled", false),
        ];
        if let Some((kdc, protection)) = kerberos {
            kdc.secure(protection, &mut core, &mut hdfs);
        }
        site.configure(core, hdfs)?;
        let mut format = site.java("-Xmx128m", NAMENODE);
        format.args(["-format", "-nonInteractive"]);
        site.run("the NameNode's format", format)?;
        let namenode = start_namenode(&site)?;
        let datanodes = (0..datanodes).map(|i| site.start_datanode(i)).collect::<Result<Vec<_>, _>>()?;
        let mut hdfs = Self { namenode, datanodes, site, rpc_port, http_port };
        hdfs.ready().await?;
        Ok(hdfs)
    }

    /// `localhost:PORT` of the NameNode.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.rpc_port)
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
        self.namenode = start_namenode(&self.site)?;
        Ok(())
    }

    /// Waits until the NameNode has left safe mode and counts all DataNodes as live.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn ready(&mut self) -> Result<(), ServiceError> {
        let (port, wanted) = (self.http_port, self.datanodes.len());
        ready::wait(&mut self.namenode, READY, async || serves(port, wanted).await).await
    }
}

fn start_namenode(site: &Site) -> Result<Process, ServiceError> {
    site.start("namenode", &site.java("-Xmx128m", NAMENODE))
}

/// Whether the NameNode with this HTTP port has left safe mode and counts so many live DataNodes.
async fn serves(http_port: u16, datanodes: usize) -> bool {
    let state = http::get(http_port, "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState").await;
    state.is_ok_and(|(status, body)| {
        status == 200
            && body.contains("\"FSState\" : \"Operational\"")
            && body.contains(&format!("\"NumLiveDataNodes\" : {datanodes},"))
    })
}
