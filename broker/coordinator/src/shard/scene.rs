//! A shard on simulated time, with a log that can refuse: what tests play on.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use uuid::Uuid;

use super::{Shard, replayed};
use crate::{
    CommitRequest, GroupConfig, GroupDescription, GroupError, GroupPhase, HeartbeatRequest, JoinRequest,
    JoinResponse, Joined, LeaveRequest, LeavingMember, OffsetToCommit, Protocol, SyncRequest, SyncResponse,
    TopicPartition,
    event::{After, Effect, Event, LogRecord, Now, ReplyId, Request, Response},
};

pub(crate) const GROUP: &str = "g";
const START_MS: i64 = 1_700_000_000_000;

pub(crate) struct Scene {
    pub(crate) shard: Shard,
    config: Arc<GroupConfig>,
    now_ms: i64,
    next: u64,
    answers: BTreeMap<ReplyId, Response>,
    pub(crate) log: Vec<LogRecord>,
    pub(crate) refuse_writes: bool,
}

impl Scene {
    pub(crate) fn new(config: GroupConfig) -> Self {
        let config = Arc::new(config);
        Self {
            shard: Shard::new(Arc::clone(&config)),
            config,
            now_ms: 0,
            next: 0,
            answers: BTreeMap::new(),
            log: Vec::new(),
            refuse_writes: false,
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now { wall_ms: START_MS + self.now_ms, timer_ms: self.now_ms }
    }

    /// Posts a request; the answer may come later.
    pub(crate) fn ask(&mut self, request: Request) -> ReplyId {
        self.next += 1;
        let reply = ReplyId(self.next);
        let uuid = Uuid::from_u128(u128::from(self.next));
        let effects = self.shard.apply(Event { request, reply, uuid }, self.now());
        self.perform(effects);
        reply
    }

    /// Posts a request that must be answered at once.
    pub(crate) fn call(&mut self, request: Request) -> Response {
        let reply = self.ask(request);
        self.take(reply).expect("an answer at once")
    }

    pub(crate) fn take(&mut self, reply: ReplyId) -> Option<Response> {
        self.answers.remove(&reply)
    }

    pub(crate) fn perform(&mut self, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Write { records, after } => {
                    if !self.refuse_writes {
                        self.log.extend(records);
                    }
                    let then = self.written(after);
                    then.into_iter().rev().for_each(|effect| effects.push_front(effect));
                }
                Effect::Reply { to, response } => {
                    assert!(self.answers.insert(to, response).is_none(), "one answer per request");
                }
            }
        }
    }

    fn written(&mut self, after: After) -> Vec<Effect> {
        let now = self.now();
        self.shard.written(after, !self.refuse_writes, now)
    }

    /// Lets time pass, step by step through everything that becomes due.
    pub(crate) fn advance(&mut self, ms: i64) {
        let end_ms = self.now_ms + ms;
        while let Some(at_ms) = self.shard.next_ms().filter(|at_ms| *at_ms <= end_ms) {
            self.now_ms = self.now_ms.max(at_ms);
            let effects = self.shard.tick(self.now());
            self.perform(effects);
        }
        self.now_ms = end_ms;
    }

    /// A new coordinator that reads the log from its start.
    pub(crate) fn restart(&mut self) {
        let now = self.now();
        self.shard = Shard::new(Arc::clone(&self.config));
        for record in self.log.clone() {
            let record = replayed(&record.key, record.value).expect("a key of ours");
            self.shard.replay(record, now).expect("a value of ours");
        }
        let effects = self.shard.loaded(now);
        self.perform(effects);
        self.answers.clear();
    }

    pub(crate) fn join(&mut self, request: JoinRequest) -> ReplyId {
        self.ask(Request::Join(request))
    }

    pub(crate) fn joined(&mut self, reply: ReplyId) -> Option<JoinResponse> {
        self.take(reply).map(|response| match response {
            Response::Join(response) => response,
            other => panic!("not a join: {other:?}"),
        })
    }

    /// Joins as Java does since KIP-394: once for an id, once with it. Returns the id and the waiting second join.
    pub(crate) fn join_twice(&mut self, client: &str) -> (String, ReplyId) {
        let first = self.join(join(client));
        let refused = self.joined(first).expect("at once").expect_err("an id first");
        assert_eq!(refused.error, GroupError::MemberIdRequired);
        let second = self.join(JoinRequest { member_id: refused.member_id.clone(), ..join(client) });
        (refused.member_id, second)
    }

    /// A stable group of these clients; returns their view of the generation, the leader's first.
    pub(crate) fn stable(&mut self, clients: &[&str]) -> Vec<Joined> {
        let waiting: Vec<_> = clients.iter().map(|client| self.join_twice(client).1).collect();
        self.advance(self.config.initial_rebalance_delay_ms * 2);
        let joined =
            waiting.into_iter().map(|reply| self.joined(reply).expect("formed").expect("joined")).collect();
        self.finish(joined)
    }

    /// Syncs a formed generation: everybody is assigned their own id.
    pub(crate) fn finish(&mut self, mut joined: Vec<Joined>) -> Vec<Joined> {
        joined.sort_by_key(|joined| joined.leader != joined.member_id);
        let assignments: Vec<_> =
            joined.iter().map(|it| (it.member_id.clone(), Bytes::from(it.member_id.clone()))).collect();
        for member in &joined {
            let mut request = sync(member);
            if member.leader == member.member_id {
                request.assignments.clone_from(&assignments);
            }
            let synced = self.sync(request).expect("at once");
            assert_eq!(synced.expect("synced").assignment, member.member_id);
        }
        assert_eq!(self.phase(), GroupPhase::Stable);
        joined
    }

    pub(crate) fn sync(&mut self, request: SyncRequest) -> Option<SyncResponse> {
        let reply = self.ask(Request::Sync(request));
        self.synced(reply)
    }

    pub(crate) fn synced(&mut self, reply: ReplyId) -> Option<SyncResponse> {
        self.take(reply).map(|response| match response {
            Response::Sync(response) => response,
            other => panic!("not a sync: {other:?}"),
        })
    }

    pub(crate) fn heartbeat(&mut self, member: &Joined) -> Result<(), GroupError> {
        let request = HeartbeatRequest {
            group_id: GROUP.into(),
            generation_id: member.generation_id,
            member_id: member.member_id.clone(),
            instance_id: None,
        };
        match self.call(Request::Heartbeat(request)) {
            Response::Heartbeat(response) => response,
            other => panic!("not a heartbeat: {other:?}"),
        }
    }

    pub(crate) fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<Result<(), GroupError>> {
        let members = members
            .iter()
            .map(|(member_id, instance_id)| LeavingMember {
                member_id: (*member_id).to_owned(),
                instance_id: instance_id.map(str::to_owned),
                reason: None,
            })
            .collect();
        match self.call(Request::Leave(LeaveRequest { group_id: GROUP.into(), members })) {
            Response::Leave(Ok(left)) => left.into_iter().map(|member| member.result).collect(),
            other => panic!("not a leave: {other:?}"),
        }
    }

    pub(crate) fn commit(
        &mut self,
        request: CommitRequest,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        match self.call(Request::Commit(request)) {
            Response::Commit(response) => response.map(|all| all.into_iter().map(|one| one.result).collect()),
            other => panic!("not a commit: {other:?}"),
        }
    }

    pub(crate) fn describe(&mut self) -> Result<GroupDescription, GroupError> {
        match self.call(Request::Describe(GROUP.into())) {
            Response::Describe(response) => response,
            other => panic!("not a description: {other:?}"),
        }
    }

    pub(crate) fn phase(&mut self) -> GroupPhase {
        self.describe().map_or(GroupPhase::Dead, |group| group.state)
    }
}

/// A join of a new client of the `consumer` protocol that subscribes to the topic `t`.
pub(crate) fn join(client: &str) -> JoinRequest {
    JoinRequest {
        group_id: GROUP.into(),
        member_id: String::new(),
        instance_id: None,
        client_id: client.into(),
        client_host: "/127.0.0.1".into(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range")],
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        reason: None,
        requires_known_member_id: true,
        supports_skipping_assignment: true,
    }
}

pub(crate) fn static_join(instance_id: &str) -> JoinRequest {
    JoinRequest { instance_id: Some(instance_id.into()), ..join(instance_id) }
}

pub(crate) fn rejoin(member: &Joined, client: &str) -> JoinRequest {
    JoinRequest { member_id: member.member_id.clone(), ..join(client) }
}

pub(crate) fn protocol(name: &str) -> Protocol {
    Protocol { name: name.into(), metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff") }
}

pub(crate) fn sync(member: &Joined) -> SyncRequest {
    SyncRequest {
        group_id: GROUP.into(),
        generation_id: member.generation_id,
        member_id: member.member_id.clone(),
        instance_id: None,
        protocol_type: Some("consumer".into()),
        protocol_name: member.protocol_name.clone(),
        assignments: Vec::new(),
    }
}

/// A commit without membership.
pub(crate) fn commit(topic: &str, partition: i32, offset: i64) -> CommitRequest {
    CommitRequest {
        group_id: GROUP.into(),
        generation_id: -1,
        member_id: String::new(),
        instance_id: None,
        retention_ms: None,
        understands_group_id_not_found: true,
        offsets: vec![(
            at(topic, partition),
            OffsetToCommit { offset, leader_epoch: 3, metadata: Some("note".into()) },
        )],
    }
}

pub(crate) fn commit_as(member: &Joined, topic: &str, offset: i64) -> CommitRequest {
    CommitRequest {
        generation_id: member.generation_id,
        member_id: member.member_id.clone(),
        ..commit(topic, 0, offset)
    }
}

pub(crate) fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition }
}
