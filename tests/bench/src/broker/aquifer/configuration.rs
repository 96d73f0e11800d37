use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use aquifer_services::{Minio, many_free_ports};

use super::BUCKET;
use crate::BenchError;

/// Clients, the other nodes, HTTP.
const PORTS: usize = 3;
const CERTIFICATES: &str = "certificates";

/// Where one node stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    id: usize,
    roles: String,
    pub(super) port: u16,
    internal: u16,
    pub(super) http: u16,
    pub(super) directory: PathBuf,
}

/// A place below `directory` for each `process.roles`.
pub(super) fn places(directory: &Path, roles: &[&str]) -> Vec<Place> {
    let ports = many_free_ports(PORTS * roles.len());
    let each = roles.iter().zip(ports.chunks(PORTS)).zip(1..);
    each.map(|((own, ports), id)| Place {
        id,
        roles: (*own).to_owned(),
        port: ports[0],
        internal: ports[1],
        http: ports[2],
        directory: if roles.len() == 1 { directory.to_owned() } else { directory.join(format!("node-{id}")) },
    })
    .collect()
}

/// For the internal ports of the nodes 1 to `nodes`, which trust each other alone.
pub(super) fn make_certificates(binary: &Path, directory: &Path, nodes: usize) -> Result<(), BenchError> {
    let ids: Vec<String> = (1..=nodes).map(|id| id.to_string()).collect();
    let made = Command::new(binary)
        .args(["certs", "--nodes", &ids.join(","), "--dir"])
        .arg(directory.join(CERTIFICATES))
        .output()
        .map_err(BenchError::io("run aquifer certs"))?;
    if made.status.success() {
        return Ok(());
    }
    Err(BenchError::Wrong(format!("aquifer certs: {}", String::from_utf8_lossy(&made.stderr))))
}

impl Place {
    pub(super) fn is_broker(&self) -> bool {
        self.roles.contains("broker")
    }

    fn is_controller(&self) -> bool {
        self.roles.contains("controller")
    }

    pub(super) fn properties(&self) -> PathBuf {
        self.directory.join("node.properties")
    }

    /// What has no default, and ports of its own; all else is as it comes, but that deleted topics leave the disk
    /// after ten seconds, as Kafka's do here: a long benchmark has to fit on it.
    pub(super) fn configure(
        &self,
        all: &[Self],
        shared: &Path,
        wal_size: Option<&str>,
        minio: Option<&Minio>,
    ) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let under = |name: &str| self.directory.join(name).display().to_string();
        let store = match minio {
            None => format!("store.url=file://{}", shared.join("store").display()),
            Some(minio) => format!(
                "store.url=s3://{BUCKET}/bench\nstore.s3.endpoint={}\nstore.s3.access.key={key}\nstore.s3.secret.key={key}",
                minio.endpoint(),
                key = Minio::ACCESS_KEY
            ),
        };
        let wal_size = wal_size.map(|size| format!("wal.size={size}\nwal.mirror.size={size}\n"));
        let text = format!(
            "node.id={}\n\
             {}\
             http.listen=127.0.0.1:{}\n\
             metadata.dir={}\n\
             wal.dir={}\n\
             {}\
             {store}\n\
             store.delete.delay.ms=10000\n",
            self.id,
            if all.len() == 1 { format!("listeners={}\n", self.clients()) } else { self.member(all, shared) },
            self.http,
            under("metadata"),
            under("wal"),
            wal_size.unwrap_or_default(),
        );
        fs::write(self.properties(), text)
    }

    fn clients(&self) -> String {
        format!("PLAINTEXT://127.0.0.1:{}", self.port)
    }

    /// What makes it a member of a cluster whose acknowledgements mean what Kafka's mean with min.insync.replicas=2.
    fn member(&self, all: &[Self], shared: &Path) -> String {
        let controllers = all.iter().filter(|node| node.is_controller());
        let controllers: Vec<String> =
            controllers.map(|node| format!("127.0.0.1:{}", node.internal)).collect();
        let clients = if self.is_broker() { format!("{},", self.clients()) } else { String::new() };
        let own = shared.join(CERTIFICATES).join(format!("node-{}", self.id));
        format!(
            "process.roles={}\n\
             listeners={clients}CONTROLLER://127.0.0.1:{}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:SSL\n\
             listener.name.controller.ssl.keystore.location={}\n\
             listener.name.controller.ssl.truststore.location={}\n\
             controller.quorum.bootstrap.servers={}\n\
             wal.mode=mirror\n\
             min.insync.replicas=2\n",
            self.roles,
            self.internal,
            own.join("keystore.pem").display(),
            own.join("truststore.pem").display(),
            controllers.join(","),
        )
    }
}
