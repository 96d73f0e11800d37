use aquifer_image::Endpoint;
use aquifer_peer::{Listener, Peers};
use uuid::Uuid;

/// The internal port, open.
#[derive(Clone, Debug)]
pub struct Port {
    /// The way to the other nodes.
    pub peers: Peers,
    /// What is served to them.
    pub listener: Listener,
    /// Its listener's name, and where the others reach it.
    pub endpoint: Endpoint,
}

impl Port {
    /// `host:port`, as the others reach it.
    pub fn address(&self) -> String {
        address(&self.endpoint)
    }
}

/// `host:port` of an endpoint.
pub fn address(endpoint: &Endpoint) -> String {
    match endpoint.host.contains(':') {
        true => format!("[{}]:{}", endpoint.host, endpoint.port),
        false => format!("{}:{}", endpoint.host, endpoint.port),
    }
}

/// What the internal port says of a process: the low half of its incarnation, by which the metadata know it too.
pub fn instance(incarnation: Uuid) -> u64 {
    incarnation.as_u64_pair().1
}
