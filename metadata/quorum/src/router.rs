//! Members in one process: the network whose links a test cuts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aquifer_runtime::Random;
use aquifer_types::NodeId;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::network::{CallError, Network, Peer, Request, Response};
use crate::quorum::{Quorum, WeakQuorum};

/// Connects the members of one process. Cheap to clone.
///
/// A link that is cut swallows what is sent: the caller learns nothing until its limit, as with a real partition.
#[derive(Clone)]
pub struct Router {
    wires: Arc<Mutex<Wires>>,
    random: Random,
}

#[derive(Default)]
struct Wires {
    members: BTreeMap<NodeId, WeakQuorum>,
    /// Directed links that swallow everything.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// One of so many requests and one of so many answers is lost; 0 means none.
    lose_one_in: u64,
}

impl Router {
    /// No members yet, all links whole.
    pub fn new(random: Random) -> Self {
        Self { wires: Arc::default(), random }
    }

    /// The network as `node` sees it, to be given to its [`Quorum::start`].
    pub fn endpoint(&self, node: NodeId) -> Arc<dyn Network> {
        Arc::new(Endpoint { router: self.clone(), node })
    }

    /// Lets the others reach `member`, until it is dropped or another one takes its node id.
    pub fn attach(&self, member: &Quorum) {
        self.wires().members.insert(member.node(), member.downgrade());
    }

    /// Cuts or mends the link from one node to another, in this direction only.
    pub fn set_cut(&self, from: NodeId, to: NodeId, cut: bool) {
        let mut wires = self.wires();
        if cut {
            wires.cut.insert((from, to))
        } else {
            wires.cut.remove(&(from, to))
        };
    }

    /// Cuts `node` off from all others, both ways.
    pub fn isolate(&self, node: NodeId) {
        let mut wires = self.wires();
        let others: Vec<NodeId> = wires.members.keys().copied().filter(|other| *other != node).collect();
        for other in others {
            wires.cut.extend([(node, other), (other, node)]);
        }
    }

    /// Loses one of `n` messages in each direction, at random; 0 loses none.
    pub fn lose_one_in(&self, n: u64) {
        self.wires().lose_one_in = n;
    }

    /// Mends every link and loses nothing any more.
    pub fn heal(&self) {
        let mut wires = self.wires();
        wires.cut.clear();
        wires.lose_one_in = 0;
    }

    fn wires(&self) -> MutexGuard<'_, Wires> {
        // Only collections that are whole between two statements.
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The receiver of a message from one node to another, or what becomes of it instead.
    fn deliver(&self, from: NodeId, to: NodeId) -> Delivery {
        let wires = self.wires();
        if wires.cut.contains(&(from, to)) || self.loses(wires.lose_one_in) {
            return Delivery::Lost;
        }
        wires.members.get(&to).and_then(WeakQuorum::upgrade).map_or(Delivery::Refused, Delivery::To)
    }

    fn answer_lost(&self, from: NodeId, to: NodeId) -> bool {
        let wires = self.wires();
        wires.cut.contains(&(from, to)) || self.loses(wires.lose_one_in)
    }

    fn loses(&self, one_in: u64) -> bool {
        one_in > 0 && self.random.below(one_in) == 0
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wires = self.wires();
        f.debug_struct("Router").field("members", &wires.members.keys()).field("cut", &wires.cut).finish()
    }
}

enum Delivery {
    To(Quorum),
    /// Nobody listens there.
    Refused,
    Lost,
}

struct Endpoint {
    router: Router,
    node: NodeId,
}

impl Network for Endpoint {
    fn call<'a>(
        &'a self,
        peer: &'a Peer,
        request: Request,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Response, CallError>> {
        let exchange = async move {
            match self.router.deliver(self.node, peer.node) {
                Delivery::Refused => {
                    return Err(CallError::NotDelivered(format!("node {} is not there", peer.node)));
                }
                Delivery::Lost => {}
                Delivery::To(member) => {
                    let response = member.handle(request).await;
                    if !self.router.answer_lost(peer.node, self.node) {
                        return response;
                    }
                }
            }
            std::future::pending().await
        };
        async move {
            let answer = tokio::time::timeout(limit, exchange).await;
            answer.unwrap_or_else(|_| {
                Err(CallError::NoAnswer(format!("node {} is silent for {limit:?}", peer.node)))
            })
        }
        .boxed()
    }
}
