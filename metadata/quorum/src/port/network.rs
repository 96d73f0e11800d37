//! Calls between members, and the answers.

use std::sync::Arc;
use std::time::Duration;

use aquifer_peer::{Caller, Declined, Listener, Peers};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::{FORMATION, PROPOSE, RAFT, RAFT_BULK, SMALL_BYTES, decode, encode, feed, formation, remote};
use crate::network::{CallError, Network, Peer, Request, Response};
use crate::quorum::{Quorum, WeakQuorum};

/// A request, and which storage of the node it is for.
#[derive(Serialize, Deserialize)]
struct Envelope {
    /// `None`: whichever the node has now.
    directory: Option<u32>,
    request: Request,
}

/// The [`Network`] of real processes.
#[derive(Clone, Debug)]
pub struct PeerNetwork {
    peers: Peers,
}

impl PeerNetwork {
    /// Calls go over `peers`, which learn the members' addresses from the calls.
    pub fn new(peers: Peers) -> Arc<Self> {
        Arc::new(Self { peers })
    }
}

impl Network for PeerNetwork {
    fn call<'a>(
        &'a self,
        peer: &'a Peer,
        mut request: Request,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Response, CallError>> {
        async move {
            if !peer.address.is_empty() {
                self.peers.set_address(peer.node, &peer.address);
            }
            let anybody = matches!(request, Request::Join(_) | Request::Propose(_));
            let image = match &mut request {
                Request::Snapshot { image, .. } => std::mem::take(image),
                _ => Bytes::new(),
            };
            let directory = (!anybody).then_some(peer.directory);
            let message = encode(&Envelope { directory, request }, &image);
            let channel = if message.len() <= SMALL_BYTES { &RAFT } else { &RAFT_BULK };
            let answer = self.peers.call(peer.node, channel, message, limit).await?;
            let (answer, _): (Result<Response, String>, _) = decode(answer).map_err(CallError::NoAnswer)?;
            answer.map_err(CallError::NoAnswer)
        }
        .boxed()
    }
}

impl From<aquifer_peer::CallError> for CallError {
    fn from(error: aquifer_peer::CallError) -> Self {
        match error {
            aquifer_peer::CallError::NotDelivered(reason) => Self::NotDelivered(reason),
            aquifer_peer::CallError::NoAnswer(reason) => Self::NoAnswer(reason),
        }
    }
}

/// Serves the other members, and brokers that are none, until `quorum` is dropped or stops.
pub fn serve(quorum: &Quorum, listener: &Listener) {
    for channel in [&RAFT, &RAFT_BULK] {
        let quorum = quorum.downgrade();
        listener.serve(channel, move |_: Caller, request: Bytes| answer(quorum.clone(), request));
    }
    let member = quorum.downgrade();
    listener.serve(&FORMATION, move |_: Caller, _: Bytes| formation::standing(member.clone()));
    let member = quorum.downgrade();
    listener.serve(&PROPOSE, move |_: Caller, command: Bytes| remote::propose(member.clone(), command));
    feed::serve(quorum, listener);
}

async fn answer(quorum: WeakQuorum, request: Bytes) -> Result<Bytes, Declined> {
    let quorum = upgrade(&quorum)?;
    let (Envelope { directory, mut request }, body) = decode(request).map_err(Declined)?;
    if let Some(wanted) = directory.filter(|wanted| *wanted != quorum.directory()) {
        let (node, found) = (quorum.node(), quorum.directory());
        return Err(Declined(format!("node {node} has directory {found:08x} now, not {wanted:08x}")));
    }
    if let Request::Snapshot { image, .. } = &mut request {
        *image = body;
    }
    let answer = match quorum.handle(request).await {
        Ok(response) => Ok(response),
        Err(CallError::NotDelivered(reason)) => return Err(Declined(reason)),
        Err(CallError::NoAnswer(reason)) => Err(reason),
    };
    Ok(encode(&answer, &Bytes::new()))
}

pub(super) fn upgrade(quorum: &WeakQuorum) -> Result<Quorum, Declined> {
    quorum.upgrade().ok_or_else(|| Declined("the member has stopped".to_owned()))
}
