//! The quorum as a broker that is no member sees it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aquifer_image::{Command, Image, decode_snapshot};
use aquifer_peer::{CallError, Declined, Peers};
use aquifer_types::{LogIndex, NodeId};
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::feed::{FeedReply, FeedRequest, HOLD};
use super::formation::Standing;
use super::network::upgrade;
use super::{FEED, FORMATION, PROPOSE, decode, encode};
use crate::error::ProposeError;
use crate::machine::FeedChunk;
use crate::quorum::{Committed, WeakQuorum};
use crate::raft::Proposal;

/// How long it may take to find out who listens at an address.
const DISCOVER_LIMIT: Duration = Duration::from_secs(2);
/// Pause when no controller answers.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// What an image may take to arrive, beyond the time that a question is held.
const FEED_LIMIT: Duration = Duration::from_secs(60);

/// A way to the quorum through whichever controller answers. Cheap to clone.
#[derive(Clone)]
pub struct RemoteQuorum {
    inner: Arc<Inner>,
}

struct Inner {
    peers: Peers,
    servers: Vec<String>,
    propose_limit: Duration,
    controllers: Mutex<Controllers>,
}

/// Who can be asked.
#[derive(Default)]
struct Controllers {
    known: BTreeSet<NodeId>,
    /// The one that answered last.
    current: Option<NodeId>,
    /// The one that was given up last: others are asked before it.
    given_up: Option<NodeId>,
}

impl RemoteQuorum {
    /// `servers` are internal addresses of controllers: those that are found there name the others.
    pub fn new(peers: Peers, servers: Vec<String>, propose_limit: Duration) -> Self {
        let controllers = Mutex::default();
        Self { inner: Arc::new(Inner { peers, servers, propose_limit, controllers }) }
    }

    /// As [`crate::Quorum::pull`]. Waits while no controller answers.
    pub async fn pull(&self, after: LogIndex) -> FeedChunk {
        let request = encode(&FeedRequest { after }, &Bytes::new());
        loop {
            let Some(node) = self.controller().await else {
                sleep(ASK_AGAIN).await;
                continue;
            };
            let answer = self.inner.peers.call(node, &FEED, request.clone(), HOLD + FEED_LIMIT).await;
            let answer = answer.map_err(|error| error.to_string());
            match answer.and_then(decode) {
                Ok((FeedReply::Nothing, _)) => {}
                Ok((FeedReply::Entries { entries, through }, _)) => {
                    let entries =
                        entries.into_iter().map(|(index, proposal)| (index, proposal.command().clone()));
                    return FeedChunk::Entries { entries: entries.collect(), through };
                }
                Ok((FeedReply::Snapshot { index }, body)) => match self.decode_image(body).await {
                    Ok(image) => return FeedChunk::Snapshot { index, image: Box::new(image) },
                    Err(reason) => self.give_up(node, &reason).await,
                },
                Err(reason) => self.give_up(node, &reason).await,
            }
        }
    }

    /// As [`crate::Quorum::propose`]: once, or with an outcome that is told to be unknown.
    pub async fn propose(&self, command: Arc<Command>) -> Result<Committed, ProposeError> {
        let deadline = Instant::now() + self.inner.propose_limit;
        let proposal = Proposal::new(command);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(node) = self.controller().await.filter(|_| !left.is_zero()) else {
                return Err(ProposeError::NoLeader { leader: None });
            };
            let answer = self.inner.peers.call(node, &PROPOSE, proposal.encoded().clone(), left).await;
            match answer {
                Ok(answer) => {
                    let decoded: Result<Result<Committed, ProposeError>, String> =
                        decode(answer).map(|(result, _)| result);
                    let result = decoded.unwrap_or_else(|reason| Err(ProposeError::Unknown { reason }));
                    match result {
                        Err(error @ ProposeError::Stopped { .. }) => {
                            self.give_up(node, &error.to_string()).await;
                        }
                        // It may be cut off from the others, and this broker may not be.
                        Err(error @ (ProposeError::NoLeader { .. } | ProposeError::Unknown { .. })) => {
                            self.leave(node);
                            return Err(error);
                        }
                        result => return result,
                    }
                }
                Err(CallError::NoAnswer(reason)) => {
                    self.give_up(node, &reason).await;
                    return Err(ProposeError::Unknown { reason });
                }
                Err(CallError::NotDelivered(reason)) => self.give_up(node, &reason).await,
            }
        }
    }

    /// The controllers that are known, the one that answered last first.
    pub fn controllers(&self) -> Vec<NodeId> {
        let controllers = self.lock();
        let current = controllers.current;
        current
            .into_iter()
            .chain(controllers.known.iter().copied().filter(|node| Some(*node) != current))
            .collect()
    }

    async fn decode_image(&self, encoded: Bytes) -> Result<Image, String> {
        let decoded = aquifer_runtime::blocking(move || decode_snapshot(&encoded)).await;
        decoded.map_err(|panic| panic.to_string())?.map_err(|error| error.to_string())
    }

    /// The controller to ask: the one that answered last, or else the first that can be found.
    async fn controller(&self) -> Option<NodeId> {
        if let Some(current) = self.lock().current {
            return Some(current);
        }
        let (known, last) = {
            let controllers = self.lock();
            (controllers.known.clone(), controllers.given_up)
        };
        for node in known.into_iter().filter(|node| Some(*node) != last) {
            if self.introduce(node).await.is_some() {
                return Some(node);
            }
        }
        for server in &self.inner.servers {
            let Ok(node) = self.inner.peers.discover(server, DISCOVER_LIMIT).await else { continue };
            if Some(node) != last && self.introduce(node).await.is_some() {
                return Some(node);
            }
        }
        let last = last?;
        self.introduce(last).await.map(|()| last)
    }

    /// Asks a controller for the others, and stays with it if it answers.
    async fn introduce(&self, node: NodeId) -> Option<()> {
        let answer = self.inner.peers.call(node, &FORMATION, Bytes::new(), DISCOVER_LIMIT).await.ok()?;
        let (Standing::Member { cluster: Some(_), members }, _) = decode(answer).ok()? else { return None };
        for member in &members {
            self.inner.peers.set_address(member.node, &member.address);
        }
        let mut controllers = self.lock();
        controllers.known = members.iter().map(|member| member.node).collect();
        controllers.current = Some(node);
        Some(())
    }

    async fn give_up(&self, node: NodeId, reason: &str) {
        tracing::info!(controller = %node, reason, "another controller is asked");
        self.leave(node);
        sleep(ASK_AGAIN).await;
    }

    fn leave(&self, node: NodeId) {
        let mut controllers = self.lock();
        // Another task may have found a better one already.
        if controllers.current == Some(node) {
            controllers.current = None;
            controllers.given_up = Some(node);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Controllers> {
        // Only names that are whole between two statements.
        self.inner.controllers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RemoteQuorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteQuorum").field("servers", &self.inner.servers).finish_non_exhaustive()
    }
}

/// A controller's side of [`RemoteQuorum::propose`].
pub(super) async fn propose(quorum: WeakQuorum, encoded: Bytes) -> Result<Bytes, Declined> {
    let quorum = upgrade(&quorum)?;
    let proposal = Proposal::decode(encoded).map_err(|error| Declined(error.to_string()))?;
    let result = quorum.propose(proposal.command().clone()).await;
    Ok(encode(&result, &Bytes::new()))
}
