use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aquifer_coordinator::{
    CommitRequest, FetchOffsetsRequest, GroupError, Groups, HeartbeatRequest, JoinRefused, JoinRequest,
    Joined, LeaveRequest, LeavingMember, OFFSETS_TOPIC, OffsetToCommit, Protocol, SyncRequest,
    TopicPartition, partition_for,
};
use aquifer_image::{CreateTopic, Image};
use aquifer_types::{NodeId, TopicId};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{Guess, REQUEST_LIMIT, TOPIC, back_off, call, call_within};
use crate::checkers::Observation;
use crate::event;
use crate::planted::Planted;
use crate::process::Process;
use crate::world::World;

/// The group that all members are in.
const GROUP: &str = "billing";
/// Partitions of `__consumer_offsets`.
const OFFSETS_PARTITIONS: usize = 2;
/// `session.timeout.ms`
const SESSION: Duration = Duration::from_millis(2_500);
/// `max.poll.interval.ms`: how long a rebalance waits for a member.
const REBALANCE: Duration = Duration::from_millis(3_000);
/// How long a join may take: all of a rebalance.
const JOIN_LIMIT: Duration = Duration::from_secs(8);
/// `heartbeat.interval.ms`, and how often what was read is committed.
const HEARTBEAT_MS: u64 = 500;
/// A subscription to [`TOPIC`], as clients encode it.
const SUBSCRIPTION: &[u8] = b"\0\0\0\0\0\x01\0\x06orders\xff\xff\xff\xff";

/// A member of the group: joins, is given partitions, commits offsets in them, is thrown out, dies, and comes again.
pub(crate) struct Member {
    world: Arc<World>,
    number: u64,
    /// `group.instance.id`
    instance: Option<String>,
    coordinator: Guess,
    /// The highest leader epoch of a coordinator that answered: no earlier one is asked again.
    known_epoch: i32,
    member_id: String,
    generation: i32,
    /// What it owns, and the offset that it commits next.
    owned: BTreeMap<i32, i64>,
}

/// What a member does after a step.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    On,
    /// It knows no better than to ask again.
    Again,
    /// It must join again.
    Join,
}

impl Member {
    pub(crate) fn new(world: &Arc<World>, number: u64) -> Self {
        Self {
            world: world.clone(),
            number,
            instance: world.scenario.static_members.then(|| format!("instance-{number}")),
            coordinator: Guess(world.any_node()),
            known_epoch: 0,
            member_id: String::new(),
            generation: -1,
            owned: BTreeMap::new(),
        }
    }

    /// Takes part until `enough`, and ends when the coordinator has taken its last word.
    pub(crate) async fn run(mut self, enough: watch::Receiver<bool>) {
        loop {
            while self.take_part().await != Then::On {
                back_off(&self.world).await;
            }
            if self.consume(&enough).await {
                return;
            }
        }
    }

    /// Joins, and finds out what it owns and where it goes on.
    async fn take_part(&mut self) -> Then {
        self.owned.clear();
        let joined = match self.join().await {
            Ok(joined) => joined,
            Err(then) => return then,
        };
        (self.member_id, self.generation) = (joined.member_id.clone(), joined.generation_id);
        match self.sync(&joined).await {
            Then::On => {}
            then => return then,
        }
        while self.fetch().await != Then::On {
            back_off(&self.world).await;
        }
        Then::On
    }

    async fn join(&mut self) -> Result<Joined, Then> {
        let request = JoinRequest {
            group_id: GROUP.to_owned(),
            member_id: self.member_id.clone(),
            instance_id: self.instance.clone(),
            client_id: format!("client-{}", self.number),
            client_host: "/10.0.0.1".to_owned(),
            protocol_type: "consumer".to_owned(),
            protocols: vec![Protocol {
                name: "range".to_owned(),
                metadata: Bytes::from_static(SUBSCRIPTION),
            }],
            session_timeout_ms: millis(SESSION),
            rebalance_timeout_ms: millis(REBALANCE),
            reason: None,
            requires_known_member_id: true,
            supports_skipping_assignment: true,
        };
        match self.ask(JOIN_LIMIT, |groups| async move { groups.join(request).await }).await {
            Some((_, Ok(joined))) => Ok(joined),
            Some((_, Err(JoinRefused { error: GroupError::MemberIdRequired, member_id }))) => {
                self.member_id = member_id;
                Err(Then::Again)
            }
            Some((_, Err(refused))) => Err(self.refused("joins", refused.error)),
            None => Err(Then::Again),
        }
    }

    async fn sync(&mut self, joined: &Joined) -> Then {
        let assignments = if joined.skip_assignment { Vec::new() } else { self.assign(joined) };
        let request = SyncRequest {
            group_id: GROUP.to_owned(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            instance_id: self.instance.clone(),
            protocol_type: joined.protocol_type.clone(),
            protocol_name: joined.protocol_name.clone(),
            assignments,
        };
        let answer = self.ask(JOIN_LIMIT, |groups| async move { groups.sync(request).await }).await;
        let synced = match answer {
            Some((_, Ok(synced))) => synced,
            Some((_, Err(error))) => return self.refused("syncs", error),
            None => return Then::Again,
        };
        let partitions: Vec<i32> = synced.assignment.iter().map(|partition| i32::from(*partition)).collect();
        event!(self.world.trace, "{self}: owns {partitions:?}");
        let (at, generation, owner) = (self.world.trace.elapsed(), self.generation, self.identity());
        self.world.observe(&Observation::Assigned { at, generation, owner, partitions: &partitions });
        self.owned = partitions.into_iter().map(|partition| (partition, 0)).collect();
        Then::On
    }

    /// Of the group's leader: deals the partitions out, a byte each.
    fn assign(&self, joined: &Joined) -> Vec<(String, Bytes)> {
        let careless = self.world.scenario.planted == Some(Planted::CarelessAssignor);
        let count = joined.members.len();
        let share = |at: usize| {
            let partitions = 0..u8::try_from(self.world.scenario.partitions).expect("a few");
            let mine = |partition: &u8| usize::from(*partition) % count == at || careless && *partition == 0;
            partitions.filter(mine).collect::<Vec<u8>>()
        };
        let members = joined.members.iter().enumerate();
        members.map(|(at, member)| (member.member_id.clone(), Bytes::from(share(at)))).collect()
    }

    /// Learns where those before it left off.
    async fn fetch(&mut self) -> Then {
        let partitions: Vec<i32> = self.owned.keys().copied().collect();
        let began = self.world.trace.elapsed();
        let request = fetch_request(&partitions);
        let answer =
            self.ask(REQUEST_LIMIT, |groups| async move { groups.fetch_offsets(request).await }).await;
        let fetched = match answer {
            Some((epoch, Ok(fetched))) => (epoch, offsets(fetched)),
            Some((_, Err(error))) => return self.refused("fetches", error),
            None => return Then::Again,
        };
        let (epoch, offsets) = fetched;
        event!(self.world.trace, "{self}: goes on at {offsets:?}");
        self.world.observe(&Observation::Fetched { began, epoch, offsets: &offsets });
        self.owned = offsets.into_iter().map(|(partition, offset)| (partition, offset.max(0))).collect();
        Then::On
    }

    /// Heartbeats and commits until it must join again, dies or leaves; whether it was the last time.
    async fn consume(&mut self, enough: &watch::Receiver<bool>) -> bool {
        loop {
            sleep(Duration::from_millis(HEARTBEAT_MS / 2 + self.world.random.below(HEARTBEAT_MS))).await;
            // Before the answers: they count.
            let last = *enough.borrow();
            match self.world.random.below(60) {
                0 if !last => {
                    event!(self.world.trace, "{self}: dies");
                    self.forget();
                    sleep(Duration::from_millis(self.world.random.below(4_000))).await;
                    return false;
                }
                1 if !last => {
                    self.leave().await;
                    return false;
                }
                _ => {}
            }
            let then = match self.heartbeat().await {
                Then::On => self.commit().await,
                then => then,
            };
            match then {
                Then::On if last => {
                    self.leave().await;
                    return true;
                }
                Then::On | Then::Again => {}
                Then::Join => return false,
            }
        }
    }

    async fn heartbeat(&mut self) -> Then {
        let request = HeartbeatRequest {
            group_id: GROUP.to_owned(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            instance_id: self.instance.clone(),
        };
        match self.ask(REQUEST_LIMIT, |groups| async move { groups.heartbeat(request).await }).await {
            Some((_, Ok(()))) => Then::On,
            Some((_, Err(error))) => self.refused("is alive", error),
            None => Then::Again,
        }
    }

    async fn commit(&mut self) -> Then {
        for offset in self.owned.values_mut() {
            *offset += 1 + i64::try_from(self.world.random.below(5)).expect("small");
        }
        let offsets: Vec<(i32, i64)> = self.owned.iter().map(|(at, offset)| (*at, *offset)).collect();
        if offsets.is_empty() {
            return Then::On;
        }
        let to_commit =
            |&(index, offset)| (named(index), OffsetToCommit { offset, leader_epoch: -1, metadata: None });
        let request = CommitRequest {
            group_id: GROUP.to_owned(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            instance_id: self.instance.clone(),
            retention_ms: None,
            understands_group_id_not_found: true,
            offsets: offsets.iter().map(to_commit).collect(),
        };
        let began = self.world.trace.elapsed();
        let answer =
            self.ask(REQUEST_LIMIT, |groups| async move { groups.commit_offsets(request).await }).await;
        let (epoch, results) = match answer {
            Some((epoch, Ok(results))) => (epoch, results),
            Some((_, Err(error))) => return self.refused("commits", error),
            None => return Then::Again,
        };
        if let Some(error) = results.into_iter().find_map(|result| result.result.err()) {
            return self.refused("commits", error);
        }
        let (ended, generation) = (self.world.trace.elapsed(), self.generation);
        event!(self.world.trace, "{self}: committed {offsets:?}");
        let offsets = &offsets;
        self.world.observe(&Observation::Committed { generation, began, ended, epoch, offsets });
        Then::On
    }

    /// Says that it leaves; whether that is heard does not matter.
    async fn leave(&mut self) {
        event!(self.world.trace, "{self}: leaves");
        let member = LeavingMember {
            member_id: self.member_id.clone(),
            instance_id: self.instance.clone(),
            reason: None,
        };
        let request = LeaveRequest { group_id: GROUP.to_owned(), members: vec![member] };
        let _ = self.ask(REQUEST_LIMIT, |groups| async move { groups.leave(request).await }).await;
        self.forget();
    }

    fn forget(&mut self) {
        (self.member_id, self.generation) = (String::new(), -1);
        self.owned.clear();
    }

    /// Who owns what it owns: a static member is the same whatever its member id is.
    fn identity(&self) -> &str {
        self.instance.as_ref().unwrap_or(&self.member_id)
    }

    /// What a refusal means to a client.
    fn refused(&mut self, what: &str, error: GroupError) -> Then {
        event!(self.world.trace, "{self}: {what}, and is refused: {error}");
        match error {
            GroupError::NotCoordinator | GroupError::CoordinatorNotAvailable => {
                self.coordinator.after(&self.world, None);
                Then::Again
            }
            GroupError::CoordinatorLoadInProgress => Then::Again,
            GroupError::RebalanceInProgress => Then::Join,
            GroupError::UnknownMemberId
            | GroupError::IllegalGeneration
            | GroupError::GroupIdNotFound
            | GroupError::FencedInstanceId => {
                self.forget();
                Then::Join
            }
            error => {
                self.world.trace.violation("a retriable refusal", format_args!("{self}: {what}: {error}"));
                Then::Join
            }
        }
    }

    /// Asks the coordinator, as far as known, and looks for another one if it does not answer; the leader epoch of the offsets
    /// topic's partition there.
    async fn ask<T, F: Future<Output = T>>(
        &mut self,
        limit: Duration,
        request: impl FnOnce(Groups) -> F,
    ) -> Option<(i32, T)> {
        let known = self.known_epoch;
        let answer = call_within(&self.world, limit, self.coordinator.0, move |process| async move {
            let epoch = coordinator_epoch(&process).filter(|epoch| *epoch >= known)?;
            Some((epoch, request(process.groups.clone()).await))
        });
        if let Ok(Some((epoch, answer))) = answer.await {
            self.known_epoch = epoch;
            return Some((epoch, answer));
        }
        let node = self.world.any_node();
        let found =
            call(
                &self.world,
                node,
                |process: Arc<Process>| async move { coordinator(&process.metadata.image()) },
            );
        self.coordinator = Guess(found.await.ok().flatten().unwrap_or(node));
        None
    }
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "member {} in generation {}", self.number, self.generation)
    }
}

/// Reads what is committed from a coordinator that no other one follows; whether that can be done within `limit`.
pub(crate) async fn read_offsets(world: &Arc<World>, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    let mut reader = Member::new(world, u64::MAX);
    while Instant::now() < deadline {
        reader.owned = (0..world.scenario.partitions).map(|partition| (partition, 0)).collect();
        reader.known_epoch = world.newest_image().and_then(|image| epoch(&image)).unwrap_or(0);
        if reader.fetch().await == Then::On {
            return true;
        }
        back_off(world).await;
    }
    false
}

/// The topic that keeps groups and what they committed.
pub(crate) fn offsets_topic(world: &World) -> CreateTopic {
    let configs: &[(&str, &str)] = match world.scenario.planted {
        Some(Planted::ExpiringOffsets) => &[("retention.ms", "2000")],
        _ => &[("cleanup.policy", "compact")],
    };
    CreateTopic {
        name: OFFSETS_TOPIC.to_owned(),
        id: TopicId(Uuid::from_u128(u128::from(world.scenario.seed) | 1 << 64)),
        replication_factor: 1,
        configs: configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        leaders: (0..OFFSETS_PARTITIONS).map(|_| world.first_node()).collect(),
    }
}

/// The partition of the offsets topic that keeps the group.
fn index() -> i32 {
    partition_for(GROUP, OFFSETS_PARTITIONS as u32)
}

/// What FindCoordinator answers.
fn coordinator(image: &Image) -> Option<NodeId> {
    let topic = image.topic_by_name(OFFSETS_TOPIC)?;
    image.partition(topic.id, index())?.leader
}

fn epoch(image: &Image) -> Option<i32> {
    let topic = image.topic_by_name(OFFSETS_TOPIC)?;
    Some(image.partition(topic.id, index())?.leader_epoch.0)
}

/// Under which leader epoch a process coordinates the group, if it does.
fn coordinator_epoch(process: &Process) -> Option<i32> {
    Some(process.partitions.get_by_name(OFFSETS_TOPIC, index()).ok()?.leader_epoch())
}

fn fetch_request(partitions: &[i32]) -> FetchOffsetsRequest {
    let partitions = partitions.iter().copied().map(named).collect();
    FetchOffsetsRequest { group_id: GROUP.to_owned(), partitions: Some(partitions) }
}

fn offsets(fetched: Vec<aquifer_coordinator::FetchedOffset>) -> Vec<(i32, i64)> {
    fetched.into_iter().map(|found| (found.partition.partition, found.offset)).collect()
}

fn named(partition: i32) -> TopicPartition {
    TopicPartition { topic: TOPIC.to_owned(), partition }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).expect("seconds")
}
