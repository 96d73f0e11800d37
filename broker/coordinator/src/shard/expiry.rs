//! Offsets that nobody needs any more: `offsets.retention.minutes`, and topics that were deleted.

use std::collections::BTreeSet;

use super::{Group, Shard, commits::forget_offsets};
use crate::{
    GroupPhase, TopicPartition,
    event::{After, Effect, LogRecord, Now},
    group::group_key,
    offsets::offset_record,
    schema::OffsetCommitValue,
};

impl Shard {
    /// Forgets expired offsets, and empty groups that have none left.
    pub(crate) fn expire(&mut self, now: Now) -> Vec<Effect> {
        let retention_ms = self.config.offsets_retention_ms;
        let mut effects = Vec::new();
        for (group_id, group) in &self.groups {
            let expired: Vec<_> = group.expired(now.wall_ms, retention_ms).collect();
            let nothing_left = expired.len() == group.offsets.len();
            if nothing_left && group.state.is_empty() && !group.state.has_pending_members() {
                tracing::info!(group = group_id, "the empty group has no offsets left: removed");
                let tombstones = expired.iter().map(|partition| offset_record(group_id, partition, None));
                let group_tombstone = LogRecord { key: group_key(group_id), value: None };
                let records = tombstones.chain([group_tombstone]).collect();
                let after = After::Deleted { group_id: group_id.clone(), reply: None };
                effects.push(Effect::Write { records, after });
            } else if !expired.is_empty() {
                tracing::debug!(group = group_id, offsets = expired.len(), "offsets expired");
                effects.push(forget_offsets(group_id, expired, None));
            }
        }
        effects
    }

    /// Forgets the offsets of topics that were deleted.
    pub(crate) fn topics_deleted(&mut self, topics: &BTreeSet<String>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (group_id, group) in &self.groups {
            let gone: Vec<_> = topics.iter().flat_map(|topic| group.offsets.of_topic(topic)).collect();
            if !gone.is_empty() {
                effects.push(forget_offsets(group_id, gone, None));
            }
        }
        effects
    }
}

impl Group {
    fn expired(&self, now_ms: i64, retention_ms: i64) -> impl Iterator<Item = TopicPartition> {
        self.offsets.iter().filter_map(move |(partition, value)| {
            let since_ms = self.unused_since_ms(value)?;
            let expired = match value.expire_timestamp_ms {
                Some(at_ms) => now_ms >= at_ms,
                None => now_ms.saturating_sub(since_ms) >= retention_ms,
            };
            (expired && !self.state.is_subscribed_to(&partition.topic)).then_some(partition)
        })
    }

    /// From when on the retention counts (KIP-211). A group with members keeps the offsets of what it may still
    /// consume: all of them unless its subscriptions are known; a simple group's count from their commit.
    fn unused_since_ms(&self, value: &OffsetCommitValue) -> Option<i64> {
        let state = &self.state;
        if state.protocol_type.is_none() {
            return Some(value.commit_timestamp_ms);
        }
        match state.phase() {
            GroupPhase::Empty => Some(state.phase_since_ms.unwrap_or(value.commit_timestamp_ms)),
            GroupPhase::Stable if state.is_consumer_group() && state.subscribed_topics.is_some() => {
                Some(value.commit_timestamp_ms)
            }
            _ => None,
        }
    }
}
