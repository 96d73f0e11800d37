//! Joining: new, pending, known and static members.

use bytes::Bytes;
use tracing::info;
use uuid::Uuid;

use super::{GroupState, Member, Subscription, Timer, Turn, refused};
use crate::{
    GroupError, GroupPhase, JoinRequest, Protocol,
    config::NEW_MEMBER_JOIN_TIMEOUT_MS,
    event::{After, Effect, ReplyId, Response, StaticMemberReplaced},
};

impl GroupState {
    /// JoinGroup. `uuid` makes the id of a new member.
    pub(crate) fn join(&mut self, request: JoinRequest, reply: ReplyId, uuid: Uuid, turn: &mut Turn<'_>) {
        if !self.accepts(&request.member_id, turn.config.max_size) {
            self.remove(&request.member_id);
            return turn.reply(reply, Response::Join(refused(GroupError::GroupMaxSizeReached, "")));
        }
        if !self.supports(&request.protocol_type, &request.protocols) {
            let refused = refused(GroupError::InconsistentGroupProtocol, &request.member_id);
            return turn.reply(reply, Response::Join(refused));
        }
        if request.member_id.is_empty() {
            self.join_new(request, reply, uuid, turn);
        } else {
            self.join_known(request, reply, turn);
        }
    }

    fn join_new(&mut self, request: JoinRequest, reply: ReplyId, uuid: Uuid, turn: &mut Turn<'_>) {
        let prefix = request.instance_id.as_deref().unwrap_or(&request.client_id);
        let member_id = format!("{prefix}-{uuid}");
        if let Some(instance_id) = request.instance_id.clone() {
            match self.static_members.get(&instance_id).cloned() {
                Some(old_id) => self.rejoin_static(request, reply, &instance_id, old_id, member_id, turn),
                None => self.add_and_rebalance(request, reply, member_id, turn),
            }
        } else if request.requires_known_member_id {
            // KIP-394: only a client that comes back with its id becomes a member, so that one whose answer was lost
            // does not leave a ghost behind.
            self.pending_join.insert(member_id.clone());
            let at_ms = turn.now.timer_ms + i64::from(request.session_timeout_ms);
            self.timers.set(Timer::Session(member_id.clone()), at_ms);
            turn.reply(reply, Response::Join(refused(GroupError::MemberIdRequired, &member_id)));
        } else {
            self.add_and_rebalance(request, reply, member_id, turn);
        }
    }

    fn join_known(&mut self, request: JoinRequest, reply: ReplyId, turn: &mut Turn<'_>) {
        let member_id = request.member_id.clone();
        if request.instance_id.is_none() && self.pending_join.contains(&member_id) {
            return self.add_and_rebalance(request, reply, member_id, turn);
        }
        if let Err(error) = self.validate_member(&member_id, request.instance_id.as_deref()) {
            return turn.reply(reply, Response::Join(refused(error, &member_id)));
        }
        let changed = self.members[&member_id].subscription.protocols != request.protocols;
        let rebalances = match self.phase {
            GroupPhase::PreparingRebalance => true,
            // The answer to its join was lost: it gets the same one again.
            GroupPhase::CompletingRebalance => changed,
            // The leader joins again to assign anew, for example when a topic got partitions.
            GroupPhase::Stable => changed || self.is_leader(&member_id),
            GroupPhase::Empty | GroupPhase::Dead => {
                return turn.reply(reply, Response::Join(refused(GroupError::UnknownMemberId, &member_id)));
            }
        };
        if rebalances {
            self.update_member(&member_id, request_subscription(&request), Some(reply), turn);
            let reason = request.reason.as_deref().unwrap_or("a member joins again");
            self.rebalance_or_complete(turn, reason);
        } else {
            // Kafka tells the members only to the leader of a completing rebalance, which `joined` does; a stable
            // group's leader never comes here.
            turn.reply(reply, Response::Join(Ok(self.joined(&member_id))));
        }
    }

    fn add_and_rebalance(
        &mut self,
        request: JoinRequest,
        reply: ReplyId,
        member_id: String,
        turn: &mut Turn<'_>,
    ) {
        if self.phase == GroupPhase::PreparingRebalance && self.previous_phase == GroupPhase::Empty {
            self.new_member_added = true;
        }
        let subscription = request_subscription(&request);
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type);
        }
        if let Some(instance_id) = &request.instance_id {
            self.static_members.insert(instance_id.clone(), member_id.clone());
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        self.pending_join.remove(&member_id);
        let member = Member {
            member_id: member_id.clone(),
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            subscription,
            assignment: Bytes::new(),
            awaiting_join: Some(reply),
            awaiting_sync: None,
            is_new: true,
        };
        self.members.insert(member_id.clone(), member);
        self.timers.set(Timer::Session(member_id), turn.now.timer_ms + NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.rebalance_or_complete(turn, request.reason.as_deref().unwrap_or("a new member joins"));
    }

    /// A static member came back without its member id: a restart. It takes over its assignment, and a stable group
    /// does not rebalance if the protocol stays.
    fn rejoin_static(
        &mut self,
        request: JoinRequest,
        reply: ReplyId,
        instance_id: &str,
        old_id: String,
        new_id: String,
        turn: &mut Turn<'_>,
    ) {
        info!(
            group = self.group_id,
            instance_id, old_id, new_id, "static member joins under a new member id"
        );
        let old_leader = self.leader.clone().unwrap_or_default();
        self.replace_static_member(instance_id, &old_id, &new_id, turn);
        self.restart_session(&new_id, turn.now);
        let old = self.members[&new_id].subscription.clone();
        self.update_member(&new_id, request_subscription(&request), Some(reply), turn);
        match self.phase {
            GroupPhase::Stable if self.protocol_name == self.select_protocol() => {
                let (record, value) = self.record(|member| member.assignment.clone());
                let replaced = StaticMemberReplaced {
                    group_id: self.group_id.clone(),
                    instance_id: instance_id.to_owned(),
                    new_member_id: new_id,
                    old_member_id: old_id,
                    old_leader,
                    old,
                    supports_skipping_assignment: request.supports_skipping_assignment,
                    value,
                };
                let after = After::StaticMember(Box::new(replaced));
                turn.effects.push(Effect::Write { records: vec![record], after });
            }
            GroupPhase::Stable => {
                self.rebalance_or_complete(turn, "a static member changed the selected protocol");
            }
            GroupPhase::CompletingRebalance => self.prepare_rebalance(turn, "a static member joins again"),
            GroupPhase::PreparingRebalance => self.maybe_complete_join(turn),
            GroupPhase::Empty | GroupPhase::Dead => {
                unreachable!("a group with a static member is neither empty nor dead")
            }
        }
    }

    /// The record of a static member's replacement was taken or refused by the log.
    pub(crate) fn static_member_written(
        &mut self,
        replaced: StaticMemberReplaced,
        taken: bool,
        turn: &mut Turn<'_>,
    ) {
        let StaticMemberReplaced { instance_id, new_member_id: new_id, old_member_id: old_id, .. } = replaced;
        if !taken {
            self.reply_join(&new_id, refused(GroupError::CoordinatorNotAvailable, ""), turn);
            self.update_member(&new_id, replaced.old, None, turn);
            self.replace_static_member(&instance_id, &new_id, &old_id, turn);
            self.restart_session(&old_id, turn.now);
            return;
        }
        self.written = Some(replaced.value);
        let mut joined = self.joined(&new_id);
        if replaced.supports_skipping_assignment {
            joined.skip_assignment = self.is_leader(&new_id);
        } else {
            // An old client that reads its own id as the leader's would assign anew: it is told the old leader's id,
            // and no members.
            joined.leader = replaced.old_leader;
            joined.members.clear();
        }
        self.reply_join(&new_id, Ok(joined), turn);
    }

    /// The old member id is fenced: whoever waits under it is told so.
    fn replace_static_member(&mut self, instance_id: &str, old_id: &str, new_id: &str, turn: &mut Turn<'_>) {
        let mut member = self.members.remove(old_id).expect("static members are members");
        if let Some(to) = member.awaiting_join.take() {
            turn.reply(to, Response::Join(refused(GroupError::FencedInstanceId, old_id)));
        }
        if let Some(to) = member.awaiting_sync.take() {
            turn.reply(to, Response::Sync(Err(GroupError::FencedInstanceId)));
        }
        self.timers.cancel_session(old_id);
        if self.pending_sync.remove(old_id) {
            self.pending_sync.insert(new_id.to_owned());
        }
        member.member_id = new_id.to_owned();
        member.is_new = false;
        self.members.insert(new_id.to_owned(), member);
        if self.is_leader(old_id) {
            self.leader = Some(new_id.to_owned());
        }
        self.static_members.insert(instance_id.to_owned(), new_id.to_owned());
    }

    fn update_member(
        &mut self,
        member_id: &str,
        subscription: Subscription,
        reply: Option<ReplyId>,
        turn: &mut Turn<'_>,
    ) {
        let member = self.members.get_mut(member_id).expect("the caller has found the member");
        member.subscription = subscription;
        // Only one join of a member can wait. Kafka forgets the earlier one; we end it, so that its connection goes on.
        if let Some(to) = std::mem::replace(&mut member.awaiting_join, reply) {
            turn.reply(to, Response::Join(refused(GroupError::RebalanceInProgress, member_id)));
        }
    }

    /// `group.max.size`: a rebalancing group takes the first that come, a formed one keeps those it has.
    fn accepts(&self, member_id: &str, max_size: usize) -> bool {
        match self.phase {
            GroupPhase::Empty | GroupPhase::Dead => true,
            GroupPhase::PreparingRebalance => {
                let waits = self.members.get(member_id).is_some_and(|member| member.awaiting_join.is_some());
                waits || self.awaiting_join() < max_size
            }
            GroupPhase::CompletingRebalance | GroupPhase::Stable => {
                self.members.contains_key(member_id) || self.members.len() < max_size
            }
        }
    }

    /// A protocol that every member speaks must remain.
    fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.phase == GroupPhase::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let spoken_by_all =
            |protocol: &Protocol| self.members.values().all(|member| member.speaks(&protocol.name));
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(spoken_by_all)
    }
}

fn request_subscription(request: &JoinRequest) -> Subscription {
    Subscription {
        protocols: request.protocols.clone(),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        session_timeout_ms: request.session_timeout_ms,
    }
}
