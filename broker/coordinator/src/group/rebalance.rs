//! The rebalance itself: who is waited for, who leads, which protocol, and what time decides.

use std::collections::BTreeMap;

use tracing::info;

use super::{GroupState, JoinWait, Timer, Turn, refused};
use crate::{
    GroupError, GroupPhase,
    event::{After, Effect, Response},
};

impl GroupState {
    /// Everything that is due at `turn.now`.
    pub(crate) fn tick(&mut self, turn: &mut Turn<'_>) {
        while let Some(timer) = self.timers.pop_due(turn.now.timer_ms) {
            match timer {
                Timer::Session(member_id) => self.session_expired(&member_id, turn),
                Timer::Join => self.join_time_is_up(turn),
                Timer::Sync => self.sync_time_is_up(turn),
            }
        }
    }

    pub(super) fn rebalance_or_complete(&mut self, turn: &mut Turn<'_>, reason: &str) {
        match self.phase {
            GroupPhase::Empty | GroupPhase::CompletingRebalance | GroupPhase::Stable => {
                self.prepare_rebalance(turn, reason);
            }
            GroupPhase::PreparingRebalance => self.maybe_complete_join(turn),
            GroupPhase::Dead => {}
        }
    }

    pub(super) fn prepare_rebalance(&mut self, turn: &mut Turn<'_>, reason: &str) {
        if self.phase == GroupPhase::CompletingRebalance {
            self.end_syncs(GroupError::RebalanceInProgress, turn);
        }
        self.pending_sync.clear();
        self.timers.cancel(&Timer::Sync);
        let initial = self.phase == GroupPhase::Empty;
        self.transition(GroupPhase::PreparingRebalance, turn.now);
        info!(group = self.group_id, generation = self.generation_id, reason, "preparing to rebalance");
        if initial {
            let delay_ms = turn.config.initial_rebalance_delay_ms;
            let remaining_ms = (self.rebalance_timeout_ms() - delay_ms).max(0);
            self.wait_for_joins(JoinWait::Initial { delay_ms, remaining_ms }, delay_ms, turn);
        } else if self.all_joined() {
            self.complete_join(turn);
        } else {
            self.wait_for_joins(JoinWait::Members, self.rebalance_timeout_ms(), turn);
        }
    }

    /// Ends the join phase if nobody is missing and the initial delay has passed.
    pub(super) fn maybe_complete_join(&mut self, turn: &mut Turn<'_>) {
        let delayed = matches!(self.join_wait, JoinWait::Initial { .. });
        if self.phase == GroupPhase::PreparingRebalance && self.all_joined() && !delayed {
            self.complete_join(turn);
        }
    }

    fn wait_for_joins(&mut self, wait: JoinWait, delay_ms: i64, turn: &Turn<'_>) {
        self.join_wait = wait;
        self.timers.set(Timer::Join, turn.now.timer_ms + delay_ms);
    }

    fn join_time_is_up(&mut self, turn: &mut Turn<'_>) {
        if let JoinWait::Initial { delay_ms, remaining_ms } = self.join_wait
            && self.new_member_added
            && remaining_ms != 0
        {
            // Somebody came during the last delay: wait one more, up to the rebalance timeout in all.
            self.new_member_added = false;
            let next_ms = turn.config.initial_rebalance_delay_ms.min(remaining_ms);
            let remaining_ms = (remaining_ms - delay_ms).max(0);
            return self.wait_for_joins(JoinWait::Initial { delay_ms: next_ms, remaining_ms }, next_ms, turn);
        }
        self.complete_join(turn);
    }

    /// Forms the next generation of those who joined; dynamic members who did not are removed, static ones stay.
    fn complete_join(&mut self, turn: &mut Turn<'_>) {
        self.timers.cancel(&Timer::Join);
        self.join_wait = JoinWait::Members;
        self.new_member_added = false;
        let missing: Vec<_> = self
            .members
            .values()
            .filter(|member| member.awaiting_join.is_none() && member.instance_id.is_none())
            .map(|member| member.member_id.clone())
            .collect();
        for member_id in &missing {
            info!(group = self.group_id, member_id, "did not join in time: removed");
            self.remove(member_id);
        }
        if !self.members.is_empty() && !self.elect_leader() {
            // Only static members are left, and none joined: the group waits for one.
            return self.wait_for_joins(JoinWait::Members, self.rebalance_timeout_ms(), turn);
        }
        self.generation_id += 1;
        self.pending_sync.clear();
        if self.members.is_empty() {
            self.become_empty(turn);
        } else {
            self.form_generation(turn);
        }
    }

    fn become_empty(&mut self, turn: &mut Turn<'_>) {
        self.protocol_name = None;
        self.subscribed_topics = self.compute_subscribed_topics();
        self.transition(GroupPhase::Empty, turn.now);
        info!(group = self.group_id, generation = self.generation_id, "the group is now empty");
        let (record, value) = self.record(|member| member.assignment.clone());
        let after = After::Generation { group_id: self.group_id.clone(), value };
        turn.effects.push(Effect::Write { records: vec![record], after });
    }

    fn form_generation(&mut self, turn: &mut Turn<'_>) {
        self.protocol_name = self.select_protocol();
        self.subscribed_topics = self.compute_subscribed_topics();
        self.transition(GroupPhase::CompletingRebalance, turn.now);
        info!(
            group = self.group_id,
            generation = self.generation_id,
            members = self.members.len(),
            protocol = self.protocol_name,
            "all joined"
        );
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for member_id in ids {
            let joined = self.joined(&member_id);
            self.reply_join(&member_id, Ok(joined), turn);
            self.restart_session(&member_id, turn.now);
            if let Some(member) = self.members.get_mut(&member_id) {
                member.is_new = false;
            }
            self.pending_sync.insert(member_id);
        }
        self.timers.set(Timer::Sync, turn.now.timer_ms + self.rebalance_timeout_ms());
    }

    /// Members that joined but never asked for their assignment hold up nobody else.
    fn sync_time_is_up(&mut self, turn: &mut Turn<'_>) {
        let forming = matches!(self.phase, GroupPhase::CompletingRebalance | GroupPhase::Stable);
        if !forming || self.pending_sync.is_empty() {
            return;
        }
        for member_id in std::mem::take(&mut self.pending_sync) {
            info!(group = self.group_id, member_id, "did not sync in time: removed");
            self.remove(&member_id);
        }
        self.prepare_rebalance(turn, "members did not sync in time");
    }

    fn session_expired(&mut self, member_id: &str, turn: &mut Turn<'_>) {
        if self.pending_join.contains(member_id) {
            self.remove(member_id);
            return self.maybe_complete_join(turn);
        }
        let Some(member) = self.members.get(member_id) else { return };
        if member.has_satisfied_heartbeat() {
            return;
        }
        info!(group = self.group_id, member_id, "session expired: removed");
        self.reply_join(member_id, refused(GroupError::UnknownMemberId, ""), turn);
        self.remove(member_id);
        self.rebalance_or_complete(turn, "a member's session expired");
    }

    /// Forgets a member; the caller has answered what it waited for, or answers do not matter any more.
    pub(super) fn remove(&mut self, member_id: &str) {
        if let Some(member) = self.members.remove(member_id)
            && let Some(instance_id) = &member.instance_id
        {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_join.remove(member_id);
        self.pending_sync.remove(member_id);
        self.timers.cancel_session(member_id);
    }

    /// The leader must be one who joined. `false` if none did.
    fn elect_leader(&mut self) -> bool {
        let joined =
            |member_id: &String| self.members.get(member_id).is_some_and(|m| m.awaiting_join.is_some());
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let next = self.members.values().find(|member| member.awaiting_join.is_some());
        let Some(next) = next else { return false };
        self.leader = Some(next.member_id.clone());
        true
    }

    /// The protocol that all speak and most prefer. Between equals, the first by name: any will do, but a rejoin must
    /// find the same one again.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let spoken_by_all = |name: &str| self.members.values().all(|member| member.speaks(name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.subscription.protocols.iter().find(|protocol| spoken_by_all(&protocol.name));
            if let Some(protocol) = vote {
                *votes.entry(&protocol.name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.to_owned())
    }

    pub(super) fn awaiting_join(&self) -> usize {
        self.members.values().filter(|member| member.awaiting_join.is_some()).count()
    }

    fn all_joined(&self) -> bool {
        self.pending_join.is_empty() && self.members.values().all(|member| member.awaiting_join.is_some())
    }

    /// The most patient member's.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        let timeouts =
            self.members.values().map(|member| i64::from(member.subscription.rebalance_timeout_ms));
        timeouts.max().unwrap_or(0).max(0)
    }

    /// Answers every waiting sync with an error, and takes the assignments back.
    pub(super) fn end_syncs(&mut self, error: GroupError, turn: &mut Turn<'_>) {
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for member_id in ids {
            let member = self.members.get_mut(&member_id).expect("ids are the members'");
            member.assignment.clear();
            if let Some(to) = member.awaiting_sync.take() {
                turn.reply(to, Response::Sync(Err(error)));
                self.restart_session(&member_id, turn.now);
            }
        }
    }
}
