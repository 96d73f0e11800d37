//! The pure state machine of a classic group: (state, event, now) -> effects.
//!
//! ```text
//!            first join              all joined, or time is up          leader's assignment written
//!   Empty ─────────────> Preparing ───────────────────────> Completing ────────────────> Stable
//!     ^                  Rebalance <─────────────────────── Rebalance                      │
//!     └── nobody left ──────┘ ^      join, leave, expiry                                   │
//!                             └────────────────────────────────────────────────────────────┘
//! ```
//!
//! Its behaviour is that of `ClassicGroup` and `GroupMetadataManager` of Apache Kafka.

mod join;
mod leave;
mod member;
mod rebalance;
mod subscription;
mod sync;
mod timers;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

pub(crate) use member::{Member, Subscription};
pub(crate) use timers::{Timer, Timers};

use crate::{
    GroupConfig, GroupDescription, GroupError, GroupPhase, JoinRefused, Joined, JoinedMember, ListedGroup,
    Protocol,
    event::{Effect, LogRecord, Now, ReplyId, Response},
    schema::{GroupMetadataValue, Key, MemberMetadata},
};

/// The protocol type of consumers, the only one whose subscriptions the coordinator reads.
const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// What every transition is given: settings, time, and where its effects go.
pub(crate) struct Turn<'a> {
    pub(crate) config: &'a GroupConfig,
    pub(crate) now: Now,
    pub(crate) effects: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    pub(crate) fn reply(&mut self, to: ReplyId, response: Response) {
        self.effects.push(Effect::Reply { to, response });
    }
}

/// What the join timer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinWait {
    /// The first rebalance of an empty group: more members may come, for `remaining_ms` more at most.
    Initial { delay_ms: i64, remaining_ms: i64 },
    /// The known members must join again.
    Members,
}

/// A classic group.
#[derive(Debug)]
pub(crate) struct GroupState {
    pub(crate) group_id: String,
    phase: GroupPhase,
    previous_phase: GroupPhase,
    /// When it came into its phase, wall time.
    pub(crate) phase_since_ms: Option<i64>,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol_name: Option<String>,
    pub(crate) generation_id: i32,
    leader: Option<String>,
    pub(crate) members: BTreeMap<String, Member>,
    /// Instance id to member id.
    static_members: BTreeMap<String, String>,
    /// Given a member id (MEMBER_ID_REQUIRED) and expected back.
    pending_join: BTreeSet<String>,
    /// In the generation, but not synced yet.
    pending_sync: BTreeSet<String>,
    new_member_added: bool,
    join_wait: JoinWait,
    /// Topics of the members' subscriptions; `None` if the protocol is opaque.
    pub(crate) subscribed_topics: Option<BTreeSet<String>>,
    pub(crate) timers: Timers,
    /// The group's value as last written, which a checkpoint repeats. `None` for a simple group.
    pub(crate) written: Option<Bytes>,
}

impl GroupState {
    pub(crate) fn new(group_id: String, now: Now) -> Self {
        Self {
            group_id,
            phase: GroupPhase::Empty,
            previous_phase: GroupPhase::Dead,
            phase_since_ms: Some(now.wall_ms),
            protocol_type: None,
            protocol_name: None,
            generation_id: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            new_member_added: false,
            join_wait: JoinWait::Members,
            subscribed_topics: None,
            timers: Timers::default(),
            written: None,
        }
    }

    /// The group as it was last written. Sessions start to count with [`Self::loaded`].
    pub(crate) fn replay(group_id: String, value: GroupMetadataValue, written: Bytes, now: Now) -> Self {
        let mut group = Self::new(group_id, now);
        group.phase = if value.members.is_empty() { GroupPhase::Empty } else { GroupPhase::Stable };
        group.generation_id = value.generation;
        group.protocol_type = Some(value.protocol_type).filter(|protocol_type| !protocol_type.is_empty());
        group.protocol_name = value.protocol;
        group.leader = value.leader;
        group.phase_since_ms = Some(value.current_state_timestamp_ms).filter(|since| *since != -1);
        for member in value.members {
            group.replay_member(member);
        }
        group.subscribed_topics = group.compute_subscribed_topics();
        group.written = Some(written);
        group
    }

    fn replay_member(&mut self, member: MemberMetadata) {
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.member_id.clone());
        }
        let rebalance_timeout_ms = match member.rebalance_timeout_ms {
            -1 => member.session_timeout_ms,
            timeout_ms => timeout_ms,
        };
        let protocol =
            Protocol { name: self.protocol_name.clone().unwrap_or_default(), metadata: member.subscription };
        let session_timeout_ms = member.session_timeout_ms;
        let subscription =
            Subscription { protocols: vec![protocol], rebalance_timeout_ms, session_timeout_ms };
        let member = Member {
            member_id: member.member_id,
            instance_id: member.instance_id,
            client_id: member.client_id,
            client_host: member.client_host,
            subscription,
            assignment: member.assignment,
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        };
        self.members.insert(member.member_id.clone(), member);
    }

    /// The whole log is read: members have their session timeout from now to be heard of.
    pub(crate) fn loaded(&mut self, turn: &mut Turn<'_>) {
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in &ids {
            self.restart_session(id, turn.now);
        }
        if ids.len() > turn.config.max_size {
            self.prepare_rebalance(turn, "the loaded group is larger than group.max.size");
        }
    }

    /// The coordinator moves away: whoever waits is told to look for the new one.
    pub(crate) fn unload(&mut self, error: GroupError, turn: &mut Turn<'_>) {
        for member in self.members.values_mut() {
            if let Some(to) = member.awaiting_join.take() {
                turn.reply(to, Response::Join(refused(error, &member.member_id)));
            }
            if let Some(to) = member.awaiting_sync.take() {
                turn.reply(to, Response::Sync(Err(error)));
            }
        }
        self.previous_phase = self.phase;
        self.phase = GroupPhase::Dead;
        self.timers = Timers::default();
    }

    pub(crate) fn phase(&self) -> GroupPhase {
        self.phase
    }

    /// Without members; members that were only given an id may still come.
    pub(crate) fn is_empty(&self) -> bool {
        self.phase == GroupPhase::Empty
    }

    pub(crate) fn has_pending_members(&self) -> bool {
        !self.pending_join.is_empty()
    }

    pub(crate) fn is_consumer_group(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// A consumer group whose subscriptions cannot be read counts as subscribed to everything.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.is_consumer_group(),
        }
    }

    pub(crate) fn listed(&self) -> ListedGroup {
        ListedGroup {
            group_id: self.group_id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.phase,
        }
    }

    pub(crate) fn describe(&self) -> GroupDescription {
        let protocol = self.protocol_name.as_deref().filter(|_| self.phase == GroupPhase::Stable);
        GroupDescription {
            group_id: self.group_id.clone(),
            state: self.phase,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_name: protocol.unwrap_or_default().to_owned(),
            members: self.members.values().map(|member| member.describe(protocol)).collect(),
        }
    }

    /// Fences a static member that was replaced, and refuses who is not in the group.
    fn validate_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(GroupError::UnknownMemberId),
                Some(owner) if owner != member_id => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(GroupError::UnknownMemberId) }
    }

    /// May offsets be committed? Also proves the member alive.
    pub(crate) fn validate_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation_id: i32,
    ) -> Result<(), GroupError> {
        if generation_id < 0 && self.phase == GroupPhase::Empty {
            return Ok(());
        }
        if generation_id >= 0 || !member_id.is_empty() || instance_id.is_some() {
            self.validate_member(member_id, instance_id)?;
            if generation_id != self.generation_id {
                return Err(GroupError::IllegalGeneration);
            }
        } else if self.phase != GroupPhase::Empty {
            return Err(GroupError::UnknownMemberId);
        }
        if self.phase == GroupPhase::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// A commit of a member counts as its heartbeat.
    pub(crate) fn committed_by(&mut self, member_id: &str, now: Now) {
        if matches!(self.phase, GroupPhase::Stable | GroupPhase::PreparingRebalance) {
            self.restart_session(member_id, now);
        }
    }

    fn restart_session(&mut self, member_id: &str, now: Now) {
        if let Some(member) = self.members.get(member_id) {
            let at_ms = now.timer_ms + i64::from(member.subscription.session_timeout_ms);
            self.timers.set(Timer::Session(member_id.to_owned()), at_ms);
        }
    }

    fn transition(&mut self, to: GroupPhase, now: Now) {
        use GroupPhase::{CompletingRebalance, Empty, PreparingRebalance, Stable};
        let valid = matches!(
            (self.phase, to),
            (Empty | Stable | CompletingRebalance, PreparingRebalance)
                | (PreparingRebalance, CompletingRebalance | Empty)
                | (CompletingRebalance, Stable)
        );
        assert!(valid, "group {} cannot go from {:?} to {to:?}", self.group_id, self.phase);
        self.previous_phase = self.phase;
        self.phase = to;
        self.phase_since_ms = Some(now.wall_ms);
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// The member's view of the current generation; the leader's includes the members.
    fn joined(&self, member_id: &str) -> Joined {
        Joined {
            member_id: member_id.to_owned(),
            generation_id: self.generation_id,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            members: if self.is_leader(member_id) { self.joined_members() } else { Vec::new() },
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let joined = |member: &Member| JoinedMember {
            member_id: member.member_id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.values().map(joined).collect()
    }

    fn reply_join(&mut self, member_id: &str, response: Result<Joined, JoinRefused>, turn: &mut Turn<'_>) {
        if let Some(to) = self.members.get_mut(member_id).and_then(|member| member.awaiting_join.take()) {
            turn.reply(to, Response::Join(response));
        }
    }

    /// The group's record; members get their assignment from `assignment_of`.
    fn record(&self, assignment_of: impl Fn(&Member) -> Bytes) -> (LogRecord, Bytes) {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let members = self.members.values().map(|member| MemberMetadata {
            member_id: member.member_id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.subscription.rebalance_timeout_ms,
            session_timeout_ms: member.subscription.session_timeout_ms,
            subscription: member.metadata(protocol),
            assignment: assignment_of(member),
        });
        let value = GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation_id,
            protocol: self.protocol_name.clone(),
            leader: self.leader.clone(),
            current_state_timestamp_ms: self.phase_since_ms.unwrap_or(-1),
            members: members.collect(),
        };
        let value = value.encode();
        (LogRecord { key: group_key(&self.group_id), value: Some(value.clone()) }, value)
    }
}

/// The key of a group's own record.
pub(crate) fn group_key(group_id: &str) -> Bytes {
    Key::GroupMetadata { group: group_id.to_owned() }.encode()
}

fn refused(error: GroupError, member_id: &str) -> Result<Joined, JoinRefused> {
    Err(JoinRefused { error, member_id: member_id.to_owned() })
}

#[cfg(test)]
mod tests;
