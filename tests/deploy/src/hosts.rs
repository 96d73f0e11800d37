use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aquifer_services::{Artifact, Process};

/// From the start of a host to its first answer by ssh.
const BOOT_LIMIT: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(100);
/// In the test's own network namespace, so that it meets no other.
const NETWORK: &str = "10.77.0";
const BRIDGE: &str = "hosts";
/// This mount namespace sees only the second version: a guest's systemd wants a tree of its own, and the first version
/// gives all of them the same.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Units that would only cost time.
const MASKED: &[&str] = &[
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "console-getty.service",
];

/// Hosts on one bridge, with a directory that all of them see as `/srv/store`.
#[derive(Debug)]
pub struct Hosts {
    dir: PathBuf,
    hosts: Vec<Host>,
}

/// One Debian host.
#[derive(Debug)]
pub struct Host {
    number: usize,
    dir: PathBuf,
    key: PathBuf,
    process: Option<Process>,
}

impl Hosts {
    /// Boots `count` hosts whose files lie under `dir`, and waits until they answer by ssh.
    ///
    /// # Panics
    /// If one does not come up; the text has its console.
    pub async fn boot(dir: &Path, count: usize) -> Self {
        let key = dir.join("key");
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
        fs::create_dir(dir.join("store")).expect("a new directory");
        for line in [
            "ip link set lo up".to_owned(),
            format!("ip link add {BRIDGE} type bridge"),
            format!("ip address add {NETWORK}.1/24 dev {BRIDGE}"),
            format!("ip link set {BRIDGE} up"),
            format!("umount --lazy {CGROUPS}"),
            format!("mount -t cgroup2 aquifer-deploy {CGROUPS}"),
        ] {
            let mut words = line.split(' ');
            run(Command::new(words.next().expect("a command")).args(words));
        }
        let mut hosts = Vec::new();
        for number in 1..=count {
            let mut host =
                Host { number, dir: dir.join(format!("h{number}")), key: key.clone(), process: None };
            host.start();
            hosts.push(host);
        }
        for host in &mut hosts {
            host.until_up().await;
        }
        Self { dir: dir.to_owned(), hosts }
    }

    /// The host `h{number}`.
    pub fn host(&mut self, number: usize) -> &mut Host {
        &mut self.hosts[number - 1]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter()
    }

    /// `address:port` of all hosts, for Kafka clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.hosts.iter().map(Host::kafka).collect::<Vec<_>>().join(",")
    }

    /// An inventory of the hosts as an operator would write it.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn inventory(&self, variables: &str) -> PathBuf {
        let mut text = "aquifer:\n  hosts:\n".to_owned();
        for host in &self.hosts {
            let (number, address) = (host.number, host.address());
            text += &format!("    h{number}: {{ ansible_host: {address}, aquifer_node_id: {number} }}\n");
        }
        text += "  vars:\n    ansible_user: root\n    ansible_become: false\n    ansible_python_interpreter: /usr/bin/python3\n";
        text += &format!("    ansible_ssh_private_key_file: {}\n", self.dir.join("key").display());
        text += &format!("    ansible_ssh_common_args: {}\n", SSH_OPTIONS.join(" "));
        for line in variables.lines() {
            text += &format!("    {line}\n");
        }
        let path = self.dir.join("inventory.yml");
        fs::write(&path, text).expect("the inventory is written");
        path
    }
}

const SSH_OPTIONS: &[&str] = &[
    "-oStrictHostKeyChecking=no",
    "-oUserKnownHostsFile=/dev/null",
    "-oLogLevel=ERROR",
    "-oConnectTimeout=2",
];

impl Host {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{NETWORK}.1{}", self.number)
    }

    /// Where Kafka clients connect.
    #[must_use]
    pub fn kafka(&self) -> String {
        format!("{}:9092", self.address())
    }

    /// Runs a shell command as root on the host and gives what it printed.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn shell(&self, command: &str) -> String {
        let output = self.ssh(command).output().expect("ssh starts");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "h{}: {command}: {}: {text}\n{error}", self.number, output.status);
        text
    }

    /// Cuts its power, takes its disks away and boots an empty host at its place.
    ///
    /// # Panics
    /// If that does not come up.
    pub async fn wipe(&mut self) {
        self.process = None;
        let deadline = tokio::time::Instant::now() + BOOT_LIMIT;
        let link = format!("vb-h{}", self.number);
        // The kernel takes the old host's network down behind the process.
        while Command::new("ip").args(["link", "show", &link]).output().expect("ip starts").status.success() {
            assert!(tokio::time::Instant::now() < deadline, "h{}: {link} does not go away", self.number);
            tokio::time::sleep(ASK_EVERY).await;
        }
        run(Command::new("umount").arg("--lazy").arg(self.dir.join("root")));
        fs::remove_dir_all(&self.dir).expect("its disk is removed");
        self.start();
        self.until_up().await;
    }

    fn ssh(&self, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-i").arg(&self.key).args(SSH_OPTIONS).arg(format!("root@{}", self.address())).arg(command);
        ssh
    }

    fn start(&mut self) {
        let root = self.lay_disk();
        let group = Path::new(CGROUPS).join(format!("aquifer-deploy-h{}", self.number));
        fs::create_dir_all(&group).expect("a cgroup");
        // In a cgroup, a process and a mount namespace of its own, where nspawn takes this group for the root of all.
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                r#"echo $$ >"$1/cgroup.procs" && shift && exec unshare --cgroup --mount --pid --fork --kill-child --mount-proc \
                   sh -c 'umount --lazy "$1" && mount -t cgroup2 aquifer-deploy "$1" && shift && exec "$@"' sh "$@""#,
                "sh",
            ])
            .arg(&group)
            .arg(CGROUPS)
            .args(["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe"])
            .args(["--resolv-conf=off", "--timezone=off", "--link-journal=no"])
            .arg(format!("--network-bridge={BRIDGE}"))
            .arg(format!("--machine=h{}", self.number))
            .arg(format!("--directory={}", root.display()))
            .arg(format!("--bind={}:/srv/store", self.dir.with_file_name("store").display()));
        let console = self.console();
        self.process = Some(Process::start("systemd-nspawn", &command, &console).expect("nspawn starts"));
    }

    /// An overlay over the Debian root, with what tells this host from the others.
    fn lay_disk(&self) -> PathBuf {
        let debian = Artifact::Hosts.find().expect("found before");
        let [root, upper, work] = ["root", "upper", "work"].map(|name| self.dir.join(name));
        for dir in [&root, &upper, &work] {
            fs::create_dir_all(dir).expect("a directory of the overlay");
        }
        let options =
            format!("lowerdir={},upperdir={},workdir={}", debian.display(), upper.display(), work.display());
        run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&root));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("its directory");
            fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        };
        write("etc/hostname", &format!("h{}\n", self.number));
        write("etc/machine-id", "");
        write(
            "etc/systemd/network/10-host0.network",
            &format!(
                "[Match]\nName=host0\n[Network]\nAddress={}/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n",
                self.address()
            ),
        );
        write(
            "root/.ssh/authorized_keys",
            &fs::read_to_string(self.key.with_extension("pub")).expect("the public key"),
        );
        let units = root.join("etc/systemd/system");
        for unit in MASKED {
            run(Command::new("ln").args(["-sf", "/dev/null"]).arg(units.join(unit)));
        }
        run(Command::new("ln")
            .args(["-sf", "/lib/systemd/system/systemd-networkd.service"])
            .arg(units.join("multi-user.target.wants/systemd-networkd.service")));
        root
    }

    async fn until_up(&mut self) {
        let deadline = tokio::time::Instant::now() + BOOT_LIMIT;
        while !self.ssh("true").output().expect("ssh starts").status.success() {
            let process = self.process.as_mut().expect("it was started");
            assert!(
                process.ended().is_none(),
                "h{} ended while booting:\n{}",
                self.number,
                self.last_words()
            );
            assert!(
                tokio::time::Instant::now() < deadline,
                "h{} does not answer:\n{}",
                self.number,
                self.last_words()
            );
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    fn console(&self) -> PathBuf {
        self.dir.join("console")
    }

    fn last_words(&self) -> String {
        let text = fs::read(self.console()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Hosts {
    /// The kernel ends everything else with the namespaces; a cgroup stays until it is removed.
    fn drop(&mut self) {
        for host in &mut self.hosts {
            host.process = None;
        }
        // Children before parents; those whose processes are still being reaped stay behind, empty.
        let _ = Command::new("find")
            .args([CGROUPS, "-depth", "-type", "d", "-path", "*/aquifer-deploy-h*", "-delete"])
            .output();
    }
}

/// Runs a command of the test's own that must succeed.
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {error}", output.status);
}
