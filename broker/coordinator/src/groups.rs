//! [`Groups`]: the way in, which routes each request to the owner of the group's partition.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock, atomic::Ordering},
};

use aquifer_client::MetadataClient;
use aquifer_partition::Partitions;
use aquifer_runtime::{Clock, OnEnd, Random, TaskGroup};
use aquifer_types::NodeId;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{
    CommitRequest, CommitResponse, DeleteOffsetsRequest, DeleteOffsetsResponse, DescribeResponse,
    FetchOffsetsRequest, FetchOffsetsResponse, GroupConfig, GroupError, HeartbeatRequest, JoinRefused,
    JoinRequest, JoinResponse, LeaveRequest, LeaveResponse, ListedGroup, OFFSETS_TOPIC, SyncRequest,
    SyncResponse,
    event::{Request, Response},
    owner::{Message, Parts},
    supervisor::{Running, Supervisor},
};

/// The partition of `__consumer_offsets` that keeps a group: the absolute value of Java's `String.hashCode`, modulo the
/// number of partitions.
pub fn partition_for(group_id: &str, partitions: u32) -> i32 {
    let hash =
        group_id.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // As Kafka's Utils.abs: the one number without an absolute value becomes 0.
    (hash.checked_abs().unwrap_or(0) as u32 % partitions.max(1)) as i32
}

/// The groups that this node coordinates. Cheap to clone.
#[derive(Clone)]
pub struct Groups(Arc<Inner>);

struct Inner {
    node: NodeId,
    config: Arc<GroupConfig>,
    metadata: MetadataClient,
    running: Running,
}

impl Groups {
    /// Coordinates the groups of every partition of `__consumer_offsets` that `node` leads, until `tasks` stops. Whoever
    /// answers FindCoordinator creates that topic on first use.
    pub fn start(
        config: GroupConfig,
        node: NodeId,
        partitions: Partitions,
        metadata: MetadataClient,
        clock: Clock,
        random: Random,
        tasks: &TaskGroup,
    ) -> Self {
        let config = Arc::new(config);
        let running: Running = Arc::new(RwLock::default());
        let supervisor = Supervisor {
            parts: Parts { config: Arc::clone(&config), clock, random },
            metadata: metadata.clone(),
            partitions,
            running: Arc::clone(&running),
            tasks: tasks.clone(),
            owned: BTreeMap::new(),
            ended: Arc::new(Notify::new()),
        };
        tasks.spawn("group-coordinator", OnEnd::StopGroup, supervisor.run());
        Self(Arc::new(Inner { node, config, metadata, running }))
    }

    /// JoinGroup. Waits until the generation is formed, so up to the longest rebalance timeout of the members.
    pub async fn join(&self, request: JoinRequest) -> JoinResponse {
        let member_id = request.member_id.clone();
        let refused = |error| Err(JoinRefused { error, member_id });
        if request.group_id.is_empty() {
            return refused(GroupError::InvalidGroupId);
        }
        let names = request.protocols.iter().map(|protocol| &protocol.name);
        if !names.chain([&request.protocol_type, &request.client_id]).chain(&request.instance_id).all(fits) {
            return refused(GroupError::InvalidRequest);
        }
        let limits = self.0.config.min_session_timeout_ms..=self.0.config.max_session_timeout_ms;
        if !limits.contains(&request.session_timeout_ms) {
            return refused(GroupError::InvalidSessionTimeout);
        }
        let group_id = request.group_id.clone();
        match self.ask(&group_id, Request::Join(request)).await {
            Ok(Response::Join(response)) => response,
            other => refused(unexpected(other)),
        }
    }

    /// SyncGroup. Waits for the leader's assignment.
    pub async fn sync(&self, request: SyncRequest) -> SyncResponse {
        let group_id = named(&request.group_id)?;
        match self.ask(&group_id, Request::Sync(request)).await {
            Ok(Response::Sync(response)) => response,
            other => Err(unexpected(other)),
        }
    }

    /// Heartbeat. A coordinator that is still loading says yes: it does not know better, and the member should stay.
    pub async fn heartbeat(&self, request: HeartbeatRequest) -> Result<(), GroupError> {
        let group_id = named(&request.group_id)?;
        match self.ask(&group_id, Request::Heartbeat(request)).await {
            Ok(Response::Heartbeat(response)) => response,
            Err(GroupError::CoordinatorLoadInProgress) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// LeaveGroup.
    pub async fn leave(&self, request: LeaveRequest) -> LeaveResponse {
        let group_id = named(&request.group_id)?;
        match self.ask(&group_id, Request::Leave(request)).await {
            Ok(Response::Leave(response)) => response,
            other => Err(unexpected(other)),
        }
    }

    /// OffsetCommit. Answers once the offsets are durable.
    pub async fn commit_offsets(&self, request: CommitRequest) -> CommitResponse {
        let group_id = request.group_id.clone();
        match self.ask(&group_id, Request::Commit(request)).await {
            Ok(Response::Commit(response)) => response,
            other => Err(unexpected(other)),
        }
    }

    /// OffsetFetch for one group. What it returns is durable.
    pub async fn fetch_offsets(&self, request: FetchOffsetsRequest) -> FetchOffsetsResponse {
        let group_id = request.group_id.clone();
        match self.ask(&group_id, Request::FetchOffsets(request)).await {
            Ok(Response::FetchOffsets(response)) => response,
            other => Err(unexpected(other)),
        }
    }

    /// OffsetDelete.
    pub async fn delete_offsets(&self, request: DeleteOffsetsRequest) -> DeleteOffsetsResponse {
        let group_id = named(&request.group_id)?;
        match self.ask(&group_id, Request::DeleteOffsets(request)).await {
            Ok(Response::DeleteOffsets(response)) => response,
            other => Err(unexpected(other)),
        }
    }

    /// DescribeGroups, one group.
    pub async fn describe(&self, group_id: &str) -> DescribeResponse {
        match self.ask(group_id, Request::Describe(group_id.to_owned())).await {
            Ok(Response::Describe(response)) => response,
            other => Err(unexpected(other)),
        }
    }

    /// DeleteGroups, one group: the group and its offsets.
    pub async fn delete(&self, group_id: &str) -> Result<(), GroupError> {
        match self.ask(group_id, Request::Delete(group_id.to_owned())).await {
            Ok(Response::Delete(response)) => response,
            other => Err(unexpected(other)),
        }
    }

    /// ListGroups: every group that this node coordinates. Refused as a whole while one partition is loading, as in Kafka.
    pub async fn list(&self) -> Result<Vec<ListedGroup>, GroupError> {
        let mailboxes: Vec<_> = {
            let running = self.0.running.read().unwrap_or_else(PoisonError::into_inner);
            running.values().map(|route| route.mailbox.clone()).collect()
        };
        let mut groups = Vec::new();
        for mailbox in mailboxes {
            match post(&mailbox, Request::List).await {
                Ok(Response::List(some)) => groups.extend(some),
                Err(GroupError::NotCoordinator) => {}
                other => return Err(unexpected(other)),
            }
        }
        Ok(groups)
    }

    /// How many partitions of `__consumer_offsets` this node leads whose groups it has not read yet.
    pub fn still_loading(&self) -> usize {
        let image = self.0.metadata.image();
        let Some(topic) = image.topic_by_name(OFFSETS_TOPIC) else { return 0 };
        let running = self.0.running.read().unwrap_or_else(PoisonError::into_inner);
        let loaded = |index| running.get(&index).is_some_and(|route| route.loaded.load(Ordering::Acquire));
        let led = |index| {
            image.partition(topic.id, index).and_then(|partition| partition.leader) == Some(self.0.node)
        };
        (0..topic.partition_count).filter(|index| led(*index) && !loaded(*index)).count()
    }

    async fn ask(&self, group_id: &str, request: Request) -> Result<Response, GroupError> {
        if !fits(group_id) {
            return Err(GroupError::InvalidRequest);
        }
        let image = self.0.metadata.image();
        let topic = image.topic_by_name(OFFSETS_TOPIC).ok_or(GroupError::NotCoordinator)?;
        let index = partition_for(group_id, topic.partition_count.unsigned_abs());
        if image.partition(topic.id, index).and_then(|partition| partition.leader) != Some(self.0.node) {
            return Err(GroupError::NotCoordinator);
        }
        let mailbox = {
            let running = self.0.running.read().unwrap_or_else(PoisonError::into_inner);
            running.get(&index).map(|route| route.mailbox.clone())
        };
        // Ours, but the partition is still being opened.
        post(&mailbox.ok_or(GroupError::CoordinatorLoadInProgress)?, request).await
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("node", &self.0.node).finish_non_exhaustive()
    }
}

/// A full mailbox makes the caller wait: each connection has few requests in flight, so callers are bounded.
async fn post(mailbox: &mpsc::Sender<Message>, request: Request) -> Result<Response, GroupError> {
    let (reply, answer) = oneshot::channel();
    mailbox.send(Message::Ask { request, reply }).await.map_err(|_| GroupError::NotCoordinator)?;
    match answer.await {
        Ok(Response::Refused(error)) => Err(error),
        Ok(response) => Ok(response),
        // The owner stopped: the partition moved away or the node is going down.
        Err(_) => Err(GroupError::NotCoordinator),
    }
}

/// Newer wire versions have no limit of their own, the records of the offsets topic have 32 KiB, and a member id is a
/// name and a UUID.
fn fits(name: impl AsRef<str>) -> bool {
    name.as_ref().len() <= 16 * 1024
}

fn named(group_id: &str) -> Result<String, GroupError> {
    if group_id.is_empty() { Err(GroupError::InvalidGroupId) } else { Ok(group_id.to_owned()) }
}

/// The refusal of a request; an answer of another kind than asked would be our own bug.
fn unexpected(response: Result<Response, GroupError>) -> GroupError {
    match response {
        Err(error) => error,
        Ok(response) => unreachable!("an owner answers in kind, got {response:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hash_as_in_java() {
        // Utils.abs(name.hashCode()) % 50, printed by a JVM. "polygenelubricants" hashes to Integer.MIN_VALUE.
        let printed = [
            ("", 0),
            ("a", 47),
            ("consumer-group-1", 20),
            ("polygenelubricants", 0),
            ("grüße", 23),
            ("my-group", 12),
            ("connect-cluster", 13),
            ("😀", 49),
        ];
        for (group_id, partition) in printed {
            assert_eq!(partition_for(group_id, 50), partition, "{group_id}");
        }
    }
}
