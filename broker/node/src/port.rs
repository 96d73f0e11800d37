//! The node among others: its internal port, and its way to the metadata quorum.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aquifer_client::Source;
use aquifer_heartbeat::{HEARTBEAT, Port, instance};
use aquifer_image::{Endpoint, SecurityProtocol};
use aquifer_peer::{Channel, Listener, Peers, Security, TcpTransport};
use aquifer_quorum::{
    Formation, PeerNetwork, Quorum, QuorumConfig, RemoteQuorum, Router, Storage, agree_on_formation,
    stay_joined, succeed_dead_leaders,
};
use aquifer_runtime::{OnEnd, Random, TaskGroup};
use aquifer_types::{ClusterId, NodeId};
use uuid::Uuid;

use crate::admin;
use crate::options::Settings;

/// How long a proposal of a node that is no controller may take.
const PROPOSE_LIMIT: Duration = Duration::from_secs(10);

/// Opens the internal port, if the node has one. `incarnation` tells this process from the node's others.
pub(crate) async fn open(
    settings: &Settings,
    incarnation: Uuid,
    tasks: &TaskGroup,
) -> Result<Option<Port>, Box<dyn Error>> {
    let Some(internal) = &settings.cluster.internal else { return Ok(None) };
    let node = NodeId(settings.node_id);
    let transport = TcpTransport::bind(&internal.listen, node, &internal.security).await?;
    let bound = transport.local_address()?;
    let (host, port) = internal.advertised.clone().unwrap_or_else(|| (bound.ip().to_string(), bound.port()));
    let channels: Vec<Channel> = aquifer_quorum::CHANNELS
        .into_iter()
        .chain([HEARTBEAT, admin::ADMIN])
        .chain(aquifer_mirror::CHANNELS)
        .collect();
    let peers = Peers::new(node, instance(incarnation), &channels, Arc::new(transport), tasks);
    let listener = Listener::start(&peers);
    let security = match internal.security {
        Security::Plain => SecurityProtocol::Plaintext,
        Security::Tls(_) => SecurityProtocol::Ssl,
    };
    let endpoint = Endpoint { listener: internal.name.clone(), host, port, security };
    Ok(Some(Port { peers, listener, endpoint }))
}

/// Starts the node's part of the quorum, or its way to it.
pub(crate) async fn start_quorum(
    settings: &Settings,
    cluster_id: Option<ClusterId>,
    random: &Random,
    port: Option<&Port>,
    tasks: &TaskGroup,
) -> Result<Source, Box<dyn Error>> {
    let node = NodeId(settings.node_id);
    let Some(port) = port else {
        let config = QuorumConfig { cluster_id, ..QuorumConfig::single(node, &settings.metadata_dir) };
        let network = Router::new(random.clone()).endpoint(node);
        return Ok(Quorum::start(config, network, random, tasks).await?.into());
    };
    let mut servers = settings.cluster.servers.clone();
    if !settings.roles.controller {
        return Ok(RemoteQuorum::new(port.peers.clone(), servers, PROPOSE_LIMIT).into());
    }
    if servers.is_empty() {
        servers.push(port.address());
    }
    let formation = match settings.metadata_dir.join("log").exists() {
        // It goes on from its log, and joins again if it was on its way to.
        true => Formation::Join,
        false => agree_on_formation(&port.peers, &port.listener, &port.address(), &servers).await,
    };
    let storage = Storage::Directory(settings.metadata_dir.clone());
    let config = QuorumConfig { cluster_id, ..QuorumConfig::new(node, storage, formation) };
    let quorum = Quorum::start(config, PeerNetwork::new(port.peers.clone()), random, tasks).await?;
    aquifer_quorum::serve(&quorum, &port.listener);
    let joined =
        stay_joined(quorum.clone(), port.peers.clone(), port.address(), servers, tasks.stopping().clone());
    tasks.spawn("metadata-join", OnEnd::Continue, joined);
    let succession = succeed_dead_leaders(quorum.clone(), port.peers.clone(), tasks.stopping().clone());
    tasks.spawn("metadata-succession", OnEnd::Continue, succession);
    Ok(quorum.into())
}

/// What is known of the way to the quorum, for a log that says what is waited for.
pub(crate) fn standing(source: &Source) -> String {
    match source {
        Source::Member(quorum) => {
            let status = quorum.status();
            let leader = status.leader.map_or_else(|| "nobody".to_owned(), |node| format!("node {node}"));
            format!(
                "this member of the quorum is {:?} in term {}, the last leader that it knows is {leader}, heard {} s ago, {} vote; \
                 its log ends at {}, its image at {}",
                status.role,
                status.term,
                quorum.silence().as_secs(),
                named(&status.voters),
                status.last_log,
                status.applied
            )
        }
        Source::Remote(remote) => format!("known controllers: {}", named(&remote.controllers())),
    }
}

fn named(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
