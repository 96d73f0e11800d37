use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use aquifer_peer::{Security, TlsFiles};

use super::given::Given;
use super::problems::{OptionError, Problems};
use super::settings::{endpoints, flag, invalid, list, millis, protocol, text};

/// What the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Serves clients.
    pub(crate) broker: bool,
    /// Votes in the metadata quorum.
    pub(crate) controller: bool,
}

/// The node among others.
#[derive(Clone, Debug)]
pub(crate) struct ClusterSettings {
    /// The node names no other: it is a cluster of its own, at least at first.
    pub(crate) alone: bool,
    /// The internal addresses of the controllers, as configured.
    pub(crate) servers: Vec<String>,
    /// Absent for a node that is a cluster of its own.
    pub(crate) internal: Option<InternalPort>,
    /// `broker.heartbeat.interval.ms`
    pub(crate) heartbeat: Duration,
    /// `broker.session.timeout.ms`
    pub(crate) session: Duration,
    /// `auto.leader.rebalance.enable`
    pub(crate) rebalance: bool,
}

/// The internal port.
#[derive(Clone, Debug)]
pub(crate) struct InternalPort {
    /// Its listener name.
    pub(crate) name: String,
    /// `host:port` to listen on.
    pub(crate) listen: String,
    /// Where the others reach it; `None`: where it listens.
    pub(crate) advertised: Option<(String, u16)>,
    /// How connections are protected.
    pub(crate) security: Security,
}

pub(super) fn roles(given: &Given) -> Result<Roles, OptionError> {
    let names = list(given, "process.roles")?;
    let has = |name: &str| names.iter().any(|role| role == name);
    let roles = Roles { broker: has("broker"), controller: has("controller") };
    let known = names.iter().all(|role| role == "broker" || role == "controller");
    if names.is_empty() || !known {
        return Err(invalid(
            given,
            "process.roles",
            "'broker', 'controller' or 'broker,controller'".to_owned(),
        ));
    }
    Ok(roles)
}

pub(super) fn cluster(given: &Given, roles: Roles, problems: &mut Problems) -> Option<ClusterSettings> {
    let servers = problems.keep(servers(given))?;
    let alone = servers.len() <= 1 && roles.broker && roles.controller;
    if !roles.controller && servers.is_empty() {
        problems.add(OptionError::Missing {
            name: "controller.quorum.bootstrap.servers",
            remedy: "a broker must know where the controllers are, such as controller.quorum.bootstrap.servers=192.0.2.10:9093",
        });
    }
    let beats = problems.keep(beats(given));
    let internal = internal(given, alone, problems);
    let rebalance = problems.keep(flag(given, "auto.leader.rebalance.enable"));
    let (heartbeat, session) = beats?;
    Some(ClusterSettings { alone, servers, internal: internal?, heartbeat, session, rebalance: rebalance? })
}

/// Interval of heartbeats, and how long a session lasts without.
fn beats(given: &Given) -> Result<(Duration, Duration), OptionError> {
    let (heartbeat, session) =
        (millis(given, "broker.heartbeat.interval.ms")?, millis(given, "broker.session.timeout.ms")?);
    if session < heartbeat * 4 {
        let expected =
            format!("at least four times 'broker.heartbeat.interval.ms', {}", 4 * heartbeat.as_millis());
        return Err(invalid(given, "broker.session.timeout.ms", expected));
    }
    Ok((heartbeat, session))
}

fn servers(given: &Given) -> Result<Vec<String>, OptionError> {
    let mut found = Vec::new();
    for name in ["controller.quorum.bootstrap.servers", "controller.quorum.voters"] {
        for entry in list(given, name)? {
            let address = entry.split_once('@').map_or(entry.as_str(), |(_, address)| address);
            let valid = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            if !valid {
                return Err(invalid(given, name, "host:port or id@host:port in each entry".to_owned()));
            }
            if !found.iter().any(|known| known == address) {
                found.push(address.to_owned());
            }
        }
    }
    Ok(found)
}

/// The internal port. A node that is alone opens it only where that is safe as configured: a stock Kafka file has a
/// plain one on all interfaces, which nobody needs then. `None` if something is wrong with it.
fn internal(given: &Given, alone: bool, problems: &mut Problems) -> Option<Option<InternalPort>> {
    let names = problems.keep(list(given, "controller.listener.names"))?;
    let name = names.first().cloned().unwrap_or_default();
    let endpoint_of = |option: &'static str| -> Result<_, OptionError> {
        let found = endpoints(given, option)?.into_iter().find(|(listener, ..)| *listener == name);
        Ok(found.map(|(_, host, port)| (host, port)))
    };
    let Some((host, port)) = problems.keep(endpoint_of("listeners"))? else {
        if alone {
            return Some(None);
        }
        problems.add(OptionError::Missing {
            name: "listeners",
            remedy: "a node of a cluster needs an internal port, named in 'controller.listener.names', such as listeners=PLAINTEXT://192.0.2.10:9092,CONTROLLER://192.0.2.10:9093",
        });
        return None;
    };
    let advertised = problems.keep(endpoint_of("advertised.listeners"));
    let security = match problems.keep(protocol(given, &name))?.as_str() {
        "PLAINTEXT" => Some(Security::Plain),
        "SSL" => tls(given, problems).map(Security::Tls),
        _ => {
            let expected = format!("SSL for '{name}', or PLAINTEXT on a loopback address");
            problems.add(invalid(given, "listener.security.protocol.map", expected));
            None
        }
    };
    let (advertised, security) = (advertised?, security?);
    let address = host.parse::<IpAddr>().ok();
    let loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    if alone && security == Security::Plain && !loopback {
        return Some(None);
    }
    let everywhere = host.is_empty() || address.is_some_and(|address| address.is_unspecified());
    if everywhere && advertised.as_ref().is_none_or(|(host, _)| host.is_empty()) {
        problems.add(OptionError::Missing {
            name: "advertised.listeners",
            remedy: "an internal port on all interfaces must say where the other nodes reach it, such as advertised.listeners=CONTROLLER://192.0.2.10:9093",
        });
        return None;
    }
    let listen = match host.as_str() {
        "" => format!("[::]:{port}"),
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    };
    Some(Some(InternalPort { name, listen, advertised, security }))
}

fn tls(given: &Given, problems: &mut Problems) -> Option<TlsFiles> {
    let file = |name: &'static str| {
        text(given, name)?.map(PathBuf::from).ok_or(OptionError::Missing {
            name,
            remedy: "the internal port speaks mutual TLS; `aquifer certs` makes the files and says what to set",
        })
    };
    let keystore = problems.keep(file("listener.name.controller.ssl.keystore.location"));
    let ca = problems.keep(file("listener.name.controller.ssl.truststore.location"));
    let (keystore, ca) = (keystore?, ca?);
    Some(TlsFiles { certificate: keystore.clone(), key: keystore, ca })
}
