//! Nodes on a network of any kind.

use std::sync::Arc;
use std::time::Duration;

use aquifer_peer::{
    Caller, Channel, Class, Declined, Gone, Listener, Peers, Security, Serve, SimulatedNetwork, TcpTransport,
    Transport,
};
use aquifer_runtime::{Random, TaskGroup};
use aquifer_types::NodeId;
use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::time::timeout;

use crate::certificates::Authority;

/// Longer than anything here takes: only a hanging test reaches it.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) const CONTROL: Channel = Channel {
    id: 1,
    name: "control",
    class: Class::Control,
    max_bytes: 64 << 10,
    in_flight_bytes: 256 << 10,
    in_flight_calls: 64,
};
pub(crate) const BULK: Channel = Channel {
    id: 2,
    name: "bulk",
    class: Class::Bulk,
    max_bytes: 16 << 20,
    in_flight_bytes: 32 << 20,
    in_flight_calls: 4,
};
pub(crate) const STREAM: Channel = Channel {
    id: 3,
    name: "stream",
    class: Class::Wal,
    max_bytes: 1 << 20,
    in_flight_bytes: 1 << 20,
    in_flight_calls: 4,
};

/// What connects the nodes of a test.
pub(crate) enum Net {
    Plain,
    Tls(Box<Authority>),
    Simulated(SimulatedNetwork),
}

impl Net {
    pub(crate) fn simulated() -> Self {
        Self::Simulated(SimulatedNetwork::new(Random::seeded(7)))
    }

    /// The transport of a node, and where it listens.
    async fn transport(&self, node: NodeId) -> (Arc<dyn Transport>, String) {
        let security = match self {
            Self::Plain => Security::Plain,
            Self::Tls(authority) => Security::Tls(authority.node(node.get())),
            Self::Simulated(network) => {
                let address = format!("host-{node}:1");
                return (network.transport(node, &address), address);
            }
        };
        let transport = TcpTransport::bind("127.0.0.1:0", node, &security).await.expect("bound");
        let address = transport.local_address().expect("bound").to_string();
        (Arc::new(transport), address)
    }

    pub(crate) async fn node(&self, node: u32) -> Node {
        let id = NodeId(node);
        let (transport, address) = self.transport(id).await;
        let tasks = TaskGroup::new();
        let peers = Peers::new(id, u64::from(node) + 100, &[CONTROL, BULK, STREAM], transport, &tasks);
        let listener = Listener::start(&peers);
        Node { peers, listener, tasks, address }
    }

    /// Two nodes that know each other; the second answers calls with what it was asked, and streams likewise.
    pub(crate) async fn pair(&self) -> (Node, Node) {
        let (one, two) = (self.node(1).await, self.node(2).await);
        one.peers.set_address(NodeId(2), &two.address);
        two.peers.set_address(NodeId(1), &one.address);
        two.listener.serve(&CONTROL, echo);
        two.listener.serve(&BULK, echo);
        two.listener.serve_streams(&STREAM, |_: Caller, _: Bytes| async { Ok(echo_stream()) });
        (one, two)
    }
}

pub(crate) struct Node {
    pub(crate) peers: Peers,
    pub(crate) listener: Listener,
    pub(crate) tasks: TaskGroup,
    pub(crate) address: String,
}

impl Node {
    pub(crate) async fn stop(self) {
        drop((self.peers, self.listener));
        self.tasks.shutdown(LONG).await.expect("all tasks end");
    }
}

pub(crate) async fn echo(_: Caller, request: Bytes) -> Result<Bytes, Declined> {
    Ok(request)
}

pub(crate) fn echo_stream() -> Serve {
    Box::new(|mut sender, mut receiver| {
        Box::pin(async move {
            while let Ok(Some(frame)) = receiver.receive().await {
                if sender.send(&[frame]).await.is_err() {
                    return;
                }
            }
            let _ = sender.end().await;
        })
    })
}

/// The next news of `node`.
pub(crate) async fn news(gone: &mut broadcast::Receiver<Gone>, node: u32) -> Gone {
    let found = async {
        loop {
            let gone = gone.recv().await.expect("the peers live");
            if gone.node == NodeId(node) {
                return gone;
            }
        }
    };
    timeout(LONG, found).await.expect("told of the end")
}
