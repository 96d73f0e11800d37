//! The operator's way in: an HTTP API on a socket in `metadata.dir`, for who may read that directory's secrets anyway.
//!
//! ```text
//!   aquifer node … ──> admin.sock ──> Router ──> Relay ──ADMIN──> Desk, on the active controller
//!                      (mode 0600)                  (any node)     image, quorum ──> propose
//! ```
//!
//! `/metrics` is open to whoever may scrape it; what changes the cluster is not. Every node answers about every node: it
//! asks the active controller, which knows best who is there. A new question is an [`Action`], a new route a line in
//! [`routes`].

mod client;
mod desk;
mod recovery;
mod relay;
mod request;
mod router;
mod socket;

use std::path::Path;
use std::sync::Arc;

use aquifer_client::Source;
use aquifer_runtime::TaskGroup;
use hyper::Method;

pub(crate) use client::AdminClient;
pub(crate) use desk::Desk;
pub(crate) use recovery::{GivenUp, GoesOn, Looks, Recovery};
pub(crate) use relay::{ADMIN, Relay};
pub(crate) use request::{Action, NodeReport, Request, State, Verdict};
pub(crate) use router::{Call, Reply, Router};
pub(crate) use socket::{SOCKET, SocketError};

use aquifer_heartbeat::Port;

/// Answers about nodes from now on: other nodes over the internal port, and operators on the socket in `dir`.
///
/// # Errors
/// The socket cannot be made.
pub(crate) fn start(
    dir: &Path,
    source: &Source,
    port: Option<&Port>,
    min_copies: usize,
    looks: Looks,
    tasks: &TaskGroup,
) -> Result<(), SocketError> {
    let desk = match source {
        Source::Member(quorum) => Some(Arc::new(Desk { quorum: quorum.clone(), min_copies })),
        Source::Remote(_) => None,
    };
    if let (Some(port), Some(desk)) = (port, &desk) {
        relay::serve(port, desk);
    }
    let relay = Relay::new(source.clone(), port.cloned(), desk);
    socket::serve(&dir.join(SOCKET), routes(relay, looks), tasks)
}

/// All that the socket answers.
fn routes(relay: Relay, looks: Looks) -> Router {
    let relay = Arc::new(relay);
    let ask = |action: Action| {
        let relay = relay.clone();
        move |call: Call| {
            let relay = relay.clone();
            async move {
                match call.node() {
                    Ok(node) => Reply::from(relay.ask(Request { node, action }).await),
                    Err(reply) => reply,
                }
            }
        }
    };
    let accepting = looks.clone();
    let describe = move |call: Call| {
        let reply = call.node().map(|node| Reply::from(recovery::describe(&looks, node)));
        async move { reply.unwrap_or_else(|bad| bad) }
    };
    let accept_loss = move |call: Call| {
        let looks = accepting.clone();
        async move {
            match call.node() {
                Ok(node) => Reply::from(recovery::accept_loss(&looks, node).await),
                Err(bad) => bad,
            }
        }
    };
    Router::default()
        .route(Method::GET, "/v1/nodes/{node}/recovery", describe)
        .route(Method::POST, "/v1/nodes/{node}/accept-loss", accept_loss)
        .route(Method::GET, "/v1/nodes/{node}", ask(Action::Describe))
        .route(Method::GET, "/v1/nodes/{node}/safe-to-stop", ask(Action::SafeToStop))
        .route(Method::POST, "/v1/nodes/{node}/drain", ask(Action::Drain))
        .route(Method::POST, "/v1/nodes/{node}/resume", ask(Action::Resume))
        .route(Method::POST, "/v1/nodes/{node}/decommission", ask(Action::Decommission))
}
