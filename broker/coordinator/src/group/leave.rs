//! Leaving: by the member itself, or by an administrator who names instance ids.

use tracing::info;

use super::{GroupState, Turn, refused};
use crate::{GroupError, LeavingMember, MemberLeft};

impl GroupState {
    /// LeaveGroup: one result per member; one rebalance for all.
    pub(crate) fn leave(&mut self, leaving: Vec<LeavingMember>, turn: &mut Turn<'_>) -> Vec<MemberLeft> {
        let mut left = Vec::with_capacity(leaving.len());
        for member in leaving {
            let result = self.leave_one(&member, turn);
            left.push(MemberLeft { member_id: member.member_id, instance_id: member.instance_id, result });
        }
        if left.iter().any(|member| member.result.is_ok()) && !self.is_empty() {
            self.rebalance_or_complete(turn, "members left");
        }
        left
    }

    fn leave_one(&mut self, leaving: &LeavingMember, turn: &mut Turn<'_>) -> Result<(), GroupError> {
        let member_id = if leaving.member_id.is_empty() {
            let instance_id = leaving.instance_id.as_ref().ok_or(GroupError::UnknownMemberId)?;
            self.static_members.get(instance_id).ok_or(GroupError::UnknownMemberId)?.clone()
        } else {
            if !self.pending_join.contains(&leaving.member_id) {
                self.validate_member(&leaving.member_id, leaving.instance_id.as_deref())?;
            }
            leaving.member_id.clone()
        };
        info!(group = self.group_id, member_id, reason = leaving.reason, "leaves");
        self.reply_join(&member_id, refused(GroupError::UnknownMemberId, ""), turn);
        self.remove(&member_id);
        Ok(())
    }
}
