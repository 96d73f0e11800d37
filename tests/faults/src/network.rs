use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

/// Hosts on one bridge: a network namespace each, with one link. Clients and the store are outside, on the bridge itself.
///
/// ```text
///   10.78.0.1      10.78.0.2      10.78.0.3
///     eth0           eth0           eth0          cut: the link is down
///   ───┴──────────────┴──────────────┴───── bridge 10.78.0.254: clients, MinIO
/// ```
///
/// Only for the namespaces of [`aquifer_harness::in_own_namespaces`]: names and addresses are always the same, and the kernel
/// takes all of it down with the test.
#[derive(Debug)]
pub struct Network {
    hosts: u16,
}

/// An end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A host, numbered from 1.
    Host(u16),
    /// Where clients and the store are.
    Outside,
}

impl Place {
    /// Its address.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        let last = match self {
            Self::Host(host) => u8::try_from(host).expect("some hosts"),
            Self::Outside => 254,
        };
        Ipv4Addr::new(10, 78, 0, last)
    }

    fn device(self) -> &'static str {
        match self {
            Self::Host(_) => "eth0",
            Self::Outside => BRIDGE,
        }
    }
}

const BRIDGE: &str = "br-hosts";
/// No link has it.
const NOBODY: &str = "02:00:00:00:00:ff";
/// Where `ip netns` has its names.
const NAMES: &str = "/run/netns";

impl Network {
    /// Sets it up.
    ///
    /// # Panics
    /// If that is not possible.
    #[must_use]
    pub fn build(hosts: u16) -> Self {
        fs::create_dir_all(NAMES).expect("a directory for names of namespaces");
        // Names for this test alone: the directory is everybody's.
        run(Command::new("mount").args(["-t", "tmpfs", "none", NAMES]));
        ip("link set lo up");
        ip(&format!("link add {BRIDGE} type bridge"));
        ip(&format!("addr add {}/24 dev {BRIDGE}", Place::Outside.address()));
        ip(&format!("link set {BRIDGE} up"));
        for host in 1..=hosts {
            let (name, link) = (name(host), link(host));
            ip(&format!("netns add {name}"));
            ip(&format!("link add {link} type veth peer name eth0 netns {name}"));
            ip(&format!("link set {link} master {BRIDGE} up"));
            ip(&format!("-n {name} addr add {}/24 dev eth0", Place::Host(host).address()));
            ip(&format!("-n {name} link set eth0 up"));
            ip(&format!("-n {name} link set lo up"));
        }
        Self { hosts }
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = u16> + use<> {
        1..=self.hosts
    }

    /// A command that becomes this one on a host.
    #[must_use]
    pub fn on(&self, host: u16, command: &Command) -> Command {
        let mut there = Command::new("nsenter");
        there.arg(format!("--net={}", Path::new(NAMES).join(name(host)).display())).arg("--");
        there.arg(command.get_program()).args(command.get_args());
        there
    }

    /// Takes a host's link down: nothing comes or goes, and nobody is told.
    pub fn cut(&self, host: u16) {
        ip(&format!("link set {} down", link(host)));
    }

    /// Takes it up again.
    pub fn join(&self, host: u16) {
        ip(&format!("link set {} up", link(host)));
    }

    /// From now on what one sends to the other is lost; the way back is open. The sender has a false idea of where the other
    /// is, so that its frames reach nobody.
    pub fn mute(&self, from: Place, to: Place) {
        let (at, device) = (at(from), from.device());
        ip(&format!("{at} neigh replace {} lladdr {NOBODY} dev {device} nud permanent", to.address()));
    }

    /// Ends [`Self::mute`].
    pub fn unmute(&self, from: Place, to: Place) {
        ip(&format!("{} neigh del {} dev {}", at(from), to.address(), from.device()));
    }
}

fn name(host: u16) -> String {
    format!("host-{host}")
}

/// The bridge's end of a host's link.
fn link(host: u16) -> String {
    format!("to-host-{host}")
}

/// Options of `ip` that act there.
fn at(place: Place) -> String {
    match place {
        Place::Host(host) => format!("-n {}", name(host)),
        Place::Outside => String::new(),
    }
}

fn ip(words: &str) {
    run(Command::new("ip").args(words.split_whitespace()));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
