//! Syncing and heartbeats: the members of a generation get their assignment and show that they live.

use std::collections::BTreeMap;

use bytes::Bytes;
use tracing::info;

use super::{GroupState, Timer, Turn};
use crate::{
    GroupError, GroupPhase, HeartbeatRequest, SyncRequest, Synced,
    event::{After, Effect, ReplyId, Response},
};

impl GroupState {
    /// SyncGroup.
    pub(crate) fn sync(&mut self, request: SyncRequest, reply: ReplyId, turn: &mut Turn<'_>) {
        if let Err(error) = self.validate_sync(&request) {
            return turn.reply(reply, Response::Sync(Err(error)));
        }
        let member_id = request.member_id.as_str();
        match self.phase {
            GroupPhase::PreparingRebalance => {
                turn.reply(reply, Response::Sync(Err(GroupError::RebalanceInProgress)));
            }
            GroupPhase::CompletingRebalance => {
                let member = self.members.get_mut(member_id).expect("validated above");
                // As with joins: an earlier sync that still waits is ended, so that its connection goes on.
                if let Some(to) = member.awaiting_sync.replace(reply) {
                    turn.reply(to, Response::Sync(Err(GroupError::RebalanceInProgress)));
                }
                self.has_synced(member_id);
                if self.is_leader(member_id) {
                    self.write_assignment(request.assignments, turn);
                }
            }
            GroupPhase::Stable => {
                self.has_synced(member_id);
                let synced = self.synced(self.members[member_id].assignment.clone());
                turn.reply(reply, Response::Sync(Ok(synced)));
            }
            GroupPhase::Empty | GroupPhase::Dead => {
                unreachable!("a validated member is in no empty or dead group")
            }
        }
    }

    /// The leader's assignment was taken by the log, or refused.
    pub(crate) fn assignment_written(
        &mut self,
        generation_id: i32,
        assignment: &BTreeMap<String, Bytes>,
        value: Bytes,
        taken: bool,
        turn: &mut Turn<'_>,
    ) {
        assert!(
            self.phase == GroupPhase::CompletingRebalance && self.generation_id == generation_id,
            "the owner reports a write before it takes the next event"
        );
        if !taken {
            self.end_syncs(GroupError::CoordinatorNotAvailable, turn);
            return self.prepare_rebalance(turn, "the assignment could not be written");
        }
        self.written = Some(value);
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for member_id in ids {
            let assigned = assignment.get(&member_id).cloned().unwrap_or_default();
            let member = self.members.get_mut(&member_id).expect("ids are the members'");
            member.assignment = assigned.clone();
            if let Some(to) = member.awaiting_sync.take() {
                turn.reply(to, Response::Sync(Ok(self.synced(assigned))));
                self.restart_session(&member_id, turn.now);
            }
        }
        self.transition(GroupPhase::Stable, turn.now);
        info!(group = self.group_id, generation = self.generation_id, "the group is stable");
    }

    /// Heartbeat: says whether the member is still in the current generation, and keeps its session.
    pub(crate) fn heartbeat(
        &mut self,
        request: &HeartbeatRequest,
        turn: &Turn<'_>,
    ) -> Result<(), GroupError> {
        self.validate_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(GroupError::IllegalGeneration);
        }
        self.restart_session(&request.member_id, turn.now);
        match self.phase {
            GroupPhase::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupPhase::CompletingRebalance | GroupPhase::Stable => Ok(()),
            GroupPhase::Empty | GroupPhase::Dead => Err(GroupError::UnknownMemberId),
        }
    }

    fn validate_sync(&self, request: &SyncRequest) -> Result<(), GroupError> {
        self.validate_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(GroupError::IllegalGeneration);
        }
        // Given by clients since KIP-559; what either side does not know fits.
        let fits = |given: &Option<String>, ours: &Option<String>| match (given, ours) {
            (Some(given), Some(ours)) => given == ours,
            _ => true,
        };
        if fits(&request.protocol_type, &self.protocol_type)
            && fits(&request.protocol_name, &self.protocol_name)
        {
            Ok(())
        } else {
            Err(GroupError::InconsistentGroupProtocol)
        }
    }

    fn write_assignment(&mut self, assignments: Vec<(String, Bytes)>, turn: &mut Turn<'_>) {
        let assignment: BTreeMap<_, _> = assignments.into_iter().collect();
        info!(
            group = self.group_id,
            generation = self.generation_id,
            members = self.members.len(),
            "assignment received from the leader"
        );
        let (record, value) =
            self.record(|member| assignment.get(&member.member_id).cloned().unwrap_or_default());
        let group_id = self.group_id.clone();
        let after = After::Assignment { group_id, generation_id: self.generation_id, assignment, value };
        turn.effects.push(Effect::Write { records: vec![record], after });
    }

    fn synced(&self, assignment: Bytes) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment,
        }
    }

    fn has_synced(&mut self, member_id: &str) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            self.timers.cancel(&Timer::Sync);
        }
    }
}
