use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::artifact::Artifact;
use crate::process::Process;
use crate::{ServiceError, free_port, ready};

const READY: Duration = Duration::from_secs(30);
const REALM: &str = "AQUIFER.TEST";
/// Hadoop's services, which share a keytab here.
const SERVICES: [&str; 4] = ["nn", "dn", "jn", "HTTP"];
/// Debian keeps the KDC's programs there, which is not on every user's path.
const PROGRAMS: &str = "/usr/sbin";

/// How Hadoop protects calls and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Who it is is proved, nothing more.
    Authentication,
    /// And nothing is changed on the way.
    Integrity,
    /// And nobody reads along.
    Privacy,
}

impl Protection {
    fn word(self) -> &'static str {
        match self {
            Protection::Authentication => "authentication",
            Protection::Integrity => "integrity",
            Protection::Privacy => "privacy",
        }
    }
}

/// A Kerberos KDC of its own on loopback, which knows Hadoop's services and one user.
#[derive(Debug)]
pub struct Kdc {
    _process: Process,
    directory: TempDir,
    config: PathBuf,
}

impl Kdc {
    /// The user's principal.
    pub const USER: &str = "alice@AQUIFER.TEST";

    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// [`ServiceError::Missing`] if it is not installed.
    pub async fn start() -> Result<Self, ServiceError> {
        Artifact::Kerberos.find()?;
        let directory = tempfile::tempdir().map_err(ServiceError::io("create a directory for the KDC"))?;
        let port = free_port();
        let config = directory.path().join("krb5.conf");
        configure(directory.path(), port).map_err(ServiceError::io("configure the KDC"))?;
        let run = |program: &str, arguments: &[&str]| run(directory.path(), program, arguments);
        run("kdb5_util", &["create", "-s", "-r", REALM, "-P", "throwaway"])?;
        let services = SERVICES.map(|service| format!("{service}/localhost"));
        let keytab = |name: &str| directory.path().join(name).display().to_string();
        for principal in services.iter().map(String::as_str).chain(["alice"]) {
            run("kadmin.local", &["-q", &format!("addprinc -randkey {principal}")])?;
        }
        let services = services.join(" ");
        run(
            "kadmin.local",
            &["-q", &format!("ktadd -norandkey -k {} {services}", keytab("services.keytab"))],
        )?;
        run("kadmin.local", &["-q", &format!("ktadd -norandkey -k {} alice", keytab("alice.keytab"))])?;
        let mut process = Process::start(
            "krb5kdc",
            &command(directory.path(), "krb5kdc", &["-n"]),
            &directory.path().join("log"),
        )?;
        let listens = async || TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        ready::wait(&mut process, READY, listens).await?;
        Ok(Self { _process: process, directory, config })
    }

    /// `krb5.conf`, for `KRB5_CONFIG`.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The user's keytab.
    pub fn keytab(&self) -> PathBuf {
        self.directory.path().join("alice.keytab")
    }

    /// Logs the user in for so many seconds; the ticket cache's name.
    ///
    /// # Errors
    /// If `kinit` fails.
    pub fn ticket_cache(&self, lifetime_s: u32) -> Result<String, ServiceError> {
        let cache = format!("FILE:{}", self.directory.path().join("cache").display());
        let (keytab, lifetime) = (self.keytab(), format!("{lifetime_s}s"));
        let keytab = keytab.display().to_string();
        run(
            self.directory.path(),
            "kinit",
            &["-k", "-t", &keytab, "-l", &lifetime, "-c", &cache, Self::USER],
        )?;
        Ok(cache)
    }

    /// Adds to a cluster's configuration what makes it ask for tickets of this KDC.
    pub(crate) fn secure(
        &self,
        protection: Protection,
        core: &mut Vec<(String, String)>,
        hdfs: &mut Vec<(String, String)>,
    ) {
        let keytab = self.directory.path().join("services.keytab").display().to_string();
        let principal = |service: &str| format!("{service}/localhost@{REALM}");
        let mut set = |name: &str, value: &str| core.push((name.to_owned(), value.to_owned()));
        set("hadoop.security.authentication", "kerberos");
        set("hadoop.security.authorization", "true");
        set("hadoop.rpc.protection", protection.word());
        let mut set = |name: &str, value: &str| hdfs.push((name.to_owned(), value.to_owned()));
        set("dfs.block.access.token.enable", "true");
        set("dfs.data.transfer.protection", protection.word());
        // A DataNode on a port above 1023 wants TLS for its web pages, which nobody looks at here.
        set("ignore.secure.ports.for.testing", "true");
        for (role, service) in [("namenode", "nn"), ("datanode", "dn"), ("journalnode", "jn")] {
            set(&format!("dfs.{role}.kerberos.principal"), &principal(service));
            set(&format!("dfs.{role}.keytab.file"), &keytab);
        }
        set("dfs.namenode.kerberos.internal.spnego.principal", &principal("HTTP"));
        set("dfs.web.authentication.kerberos.principal", &principal("HTTP"));
        set("dfs.web.authentication.kerberos.keytab", &keytab);
        if protection == Protection::Privacy {
            set("dfs.encrypt.data.transfer.cipher.suites", "AES/CTR/NoPadding");
        }
    }
}

fn configure(directory: &Path, port: u16) -> std::io::Result<()> {
    let here = directory.display();
    // The skew is how long an expired ticket is still taken: the tests do not wait five minutes.
    let client = format!(
        "[libdefaults]\n\
         default_realm = {REALM}\n\
         dns_lookup_kdc = false\n\
         dns_lookup_realm = false\n\
         dns_canonicalize_hostname = false\n\
         rdns = false\n\
         udp_preference_limit = 1\n\
         clockskew = 1\n\
         [realms]\n\
         {REALM} = {{\n kdc = 127.0.0.1:{port}\n}}\n\
         [domain_realm]\n\
         localhost = {REALM}\n"
    );
    let kdc = format!(
        "[kdcdefaults]\n\
         kdc_listen = 127.0.0.1:{port}\n\
         kdc_tcp_listen = 127.0.0.1:{port}\n\
         [realms]\n\
         {REALM} = {{\n\
         database_name = {here}/database\n\
         key_stash_file = {here}/stash\n\
         acl_file = {here}/acl\n\
         supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal\n\
         }}\n"
    );
    fs::write(directory.join("krb5.conf"), client)?;
    fs::write(directory.join("kdc.conf"), kdc)
}

fn command(directory: &Path, program: &str, arguments: &[&str]) -> Command {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(OsStr::new(":"));
    path.push(OsStr::new(PROGRAMS));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("PATH", path)
        .env("KRB5_CONFIG", directory.join("krb5.conf"))
        .env("KRB5_KDC_PROFILE", directory.join("kdc.conf"));
    command
}

/// Runs one of Kerberos' programs to its good end.
fn run(directory: &Path, program: &str, arguments: &[&str]) -> Result<(), ServiceError> {
    let output = command(directory, program, arguments).output();
    let output = output.map_err(ServiceError::io(format!("start {program}")))?;
    if output.status.success() {
        return Ok(());
    }
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(ServiceError::Ended { name: program.to_owned(), log })
}
