//! The pure state of one partition of `__consumer_offsets`: its groups and their offsets.

mod checkpoint;
mod commits;
mod expiry;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    GroupConfig, GroupError, GroupPhase, JoinRefused, JoinRequest, LeaveRequest, MemberLeft,
    event::{After, Effect, Event, LogRecord, Now, Replayed, ReplyId, Request, Response, Verdict},
    group::{GroupState, Turn, group_key},
    offsets::{Offsets, offset_record},
    schema::{GroupMetadataValue, Key, OffsetCommitValue, SchemaError},
};

/// A group with its offsets.
#[derive(Debug)]
pub(crate) struct Group {
    state: GroupState,
    offsets: Offsets,
    /// Its entry in [`Shard::wakes`].
    wake_ms: Option<i64>,
}

/// All groups of one partition.
#[derive(Debug)]
pub(crate) struct Shard {
    config: Arc<GroupConfig>,
    groups: BTreeMap<String, Group>,
    /// When which group has something due, on the monotonic clock.
    wakes: BTreeSet<(i64, String)>,
}

impl Shard {
    pub(crate) fn new(config: Arc<GroupConfig>) -> Self {
        Self { config, groups: BTreeMap::new(), wakes: BTreeSet::new() }
    }

    pub(crate) fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Takes in one record of the log, in order.
    pub(crate) fn replay(&mut self, record: Replayed, now: Now) -> Result<(), SchemaError> {
        match (record.key, record.value) {
            (Key::OffsetCommit { group, partition }, value) => {
                let value = value.map(|value| OffsetCommitValue::decode(&value)).transpose()?;
                if value.is_some() || self.groups.contains_key(&group) {
                    self.group_or_new(&group, now).offsets.set(partition, value);
                }
            }
            (Key::GroupMetadata { group }, Some(value)) => {
                let decoded = GroupMetadataValue::decode(&value)?;
                self.group_or_new(&group, now).state = GroupState::replay(group.clone(), decoded, value, now);
            }
            (Key::GroupMetadata { group }, None) => {
                if let Some(entry) = self.groups.get_mut(&group) {
                    entry.state = GroupState::new(group.clone(), now);
                    if entry.offsets.is_empty() {
                        self.groups.remove(&group);
                    }
                }
            }
            (Key::Other { version }, _) => {
                tracing::debug!(version, "a record of a kind that is not kept here was left alone");
            }
        }
        Ok(())
    }

    /// The whole log was read.
    pub(crate) fn loaded(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let ids: Vec<_> = self.groups.keys().cloned().collect();
        for group_id in ids {
            self.turn(&group_id, now, &mut effects, |group, turn| group.state.loaded(turn));
        }
        effects
    }

    /// Decides on one request.
    pub(crate) fn apply(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Event { request, reply, uuid } = event;
        let response = match request {
            Request::Join(request) => {
                self.join(request, reply, uuid, now, &mut effects);
                None
            }
            Request::Sync(request) => {
                let group_id = request.group_id.clone();
                let known = self.turn(&group_id, now, &mut effects, |group, turn| {
                    group.state.sync(request, reply, turn);
                });
                known.is_none().then_some(Response::Sync(Err(GroupError::UnknownMemberId)))
            }
            Request::Heartbeat(request) => {
                let beat = self.turn(&request.group_id, now, &mut effects, |group, turn| {
                    group.state.heartbeat(&request, turn)
                });
                Some(Response::Heartbeat(beat.unwrap_or(Err(GroupError::UnknownMemberId))))
            }
            Request::Leave(request) => Some(Response::Leave(Ok(self.leave(request, now, &mut effects)))),
            Request::Commit(request) => self.commit(request, reply, now, &mut effects),
            Request::FetchOffsets(request) => Some(Response::FetchOffsets(Ok(self.fetch_offsets(request)))),
            Request::DeleteOffsets(request) => self.delete_offsets(request, reply, &mut effects),
            Request::Describe(group_id) => {
                let group = self.groups.get(&group_id).ok_or(GroupError::GroupIdNotFound);
                Some(Response::Describe(group.map(|group| group.state.describe())))
            }
            Request::Delete(group_id) => self.delete(&group_id, reply, &mut effects),
            Request::List => {
                Some(Response::List(self.groups.values().map(|group| group.state.listed()).collect()))
            }
        };
        if let Some(response) = response {
            effects.push(Effect::Reply { to: reply, response });
        }
        effects
    }

    /// The log took, or refused, the records of an earlier [`Effect::Write`].
    pub(crate) fn written(&mut self, after: After, taken: bool, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        match after {
            After::Generation { group_id, value } => {
                if let Some(group) = self.groups.get_mut(&group_id)
                    && taken
                {
                    group.state.written = Some(value);
                }
            }
            After::Assignment { group_id, generation_id, assignment, value } => {
                self.turn(&group_id, now, &mut effects, |group, turn| {
                    group.state.assignment_written(generation_id, &assignment, value, taken, turn);
                });
            }
            After::StaticMember(replaced) => {
                let group_id = replaced.group_id.clone();
                self.turn(&group_id, now, &mut effects, |group, turn| {
                    group.state.static_member_written(*replaced, taken, turn);
                });
            }
            After::Offsets { group_id, changes, reply } => {
                if taken {
                    let offsets = &mut self.group_or_new(&group_id, now).offsets;
                    for (partition, value) in changes {
                        offsets.set(partition, value);
                    }
                }
                if let Some(verdict) = reply {
                    let Verdict { to, accepted, refused } = *verdict;
                    effects.push(Effect::Reply { to, response: if taken { accepted } else { refused } });
                }
            }
            After::Deleted { group_id, reply } => {
                if taken {
                    self.forget(&group_id);
                }
                if let Some(to) = reply {
                    let result = if taken { Ok(()) } else { Err(GroupError::CoordinatorNotAvailable) };
                    effects.push(Effect::Reply { to, response: Response::Delete(result) });
                }
            }
        }
        effects
    }

    /// The earliest time at which a group has something due.
    pub(crate) fn next_ms(&self) -> Option<i64> {
        self.wakes.first().map(|(at_ms, _)| *at_ms)
    }

    /// Everything that is due. Call it again after its effects were performed, until it returns none.
    pub(crate) fn tick(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        while effects.is_empty() && self.next_ms().is_some_and(|at_ms| at_ms <= now.timer_ms) {
            let Some((_, group_id)) = self.wakes.first().cloned() else { break };
            self.turn(&group_id, now, &mut effects, |group, turn| group.state.tick(turn));
        }
        effects
    }

    /// The partition moves away: everybody who waits is told.
    pub(crate) fn unload(&mut self, error: GroupError, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        for group in self.groups.values_mut() {
            group.state.unload(error, &mut Turn { config: &self.config, now, effects: &mut effects });
        }
        self.groups.clear();
        self.wakes.clear();
        effects
    }

    fn join(
        &mut self,
        request: JoinRequest,
        reply: ReplyId,
        uuid: uuid::Uuid,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let group_id = request.group_id.clone();
        let is_new = !self.groups.contains_key(&group_id);
        if is_new && !request.member_id.is_empty() {
            let refused = JoinRefused { error: GroupError::UnknownMemberId, member_id: request.member_id };
            return effects.push(Effect::Reply { to: reply, response: Response::Join(Err(refused)) });
        }
        self.group_or_new(&group_id, now);
        self.turn(&group_id, now, effects, |group, turn| group.state.join(request, reply, uuid, turn));
        if !is_new {
            return;
        }
        let state = &self.groups[&group_id].state;
        if state.is_empty() && !state.has_pending_members() {
            // Refused: nothing is left of it.
            return self.forget(&group_id);
        }
        // Kafka writes a new group's first record before it has a generation, without a protocol type.
        let value = GroupMetadataValue {
            protocol_type: String::new(),
            generation: 0,
            protocol: None,
            leader: None,
            current_state_timestamp_ms: state.phase_since_ms.unwrap_or(-1),
            members: Vec::new(),
        };
        let value = value.encode();
        let record = LogRecord { key: group_key(&group_id), value: Some(value.clone()) };
        effects
            .insert(0, Effect::Write { records: vec![record], after: After::Generation { group_id, value } });
    }

    fn leave(&mut self, request: LeaveRequest, now: Now, effects: &mut Vec<Effect>) -> Vec<MemberLeft> {
        if !self.groups.contains_key(&request.group_id) {
            let unknown = Err(GroupError::UnknownMemberId);
            let members = request.members.into_iter();
            return members
                .map(|it| MemberLeft {
                    member_id: it.member_id,
                    instance_id: it.instance_id,
                    result: unknown,
                })
                .collect();
        }
        let left = self
            .turn(&request.group_id, now, effects, |group, turn| group.state.leave(request.members, turn));
        left.unwrap_or_default()
    }

    fn delete(&mut self, group_id: &str, reply: ReplyId, effects: &mut Vec<Effect>) -> Option<Response> {
        let Some(group) = self.groups.get(group_id) else {
            return Some(Response::Delete(Err(GroupError::GroupIdNotFound)));
        };
        if group.state.phase() != GroupPhase::Empty {
            return Some(Response::Delete(Err(GroupError::NonEmptyGroup)));
        }
        let mut records: Vec<_> =
            group.offsets.iter().map(|(partition, _)| offset_record(group_id, &partition, None)).collect();
        records.push(LogRecord { key: group_key(group_id), value: None });
        let after = After::Deleted { group_id: group_id.to_owned(), reply: Some(reply) };
        effects.push(Effect::Write { records, after });
        None
    }

    /// Runs one transition of a group and keeps its wake-up time.
    fn turn<T>(
        &mut self,
        group_id: &str,
        now: Now,
        effects: &mut Vec<Effect>,
        transition: impl FnOnce(&mut Group, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let group = self.groups.get_mut(group_id)?;
        let result = transition(group, &mut Turn { config: &self.config, now, effects });
        let wake_ms = group.state.timers.next_ms();
        if wake_ms != group.wake_ms {
            if let Some(before) = group.wake_ms {
                self.wakes.remove(&(before, group_id.to_owned()));
            }
            if let Some(at_ms) = wake_ms {
                self.wakes.insert((at_ms, group_id.to_owned()));
            }
            group.wake_ms = wake_ms;
        }
        Some(result)
    }

    fn group_or_new(&mut self, group_id: &str, now: Now) -> &mut Group {
        let new = || Group {
            state: GroupState::new(group_id.to_owned(), now),
            offsets: Offsets::default(),
            wake_ms: None,
        };
        self.groups.entry(group_id.to_owned()).or_insert_with(new)
    }

    fn forget(&mut self, group_id: &str) {
        if let Some(group) = self.groups.remove(group_id)
            && let Some(at_ms) = group.wake_ms
        {
            self.wakes.remove(&(at_ms, group_id.to_owned()));
        }
    }
}

/// A record of the log, its key understood.
pub(crate) fn replayed(key: &[u8], value: Option<Bytes>) -> Result<Replayed, SchemaError> {
    Ok(Replayed { key: Key::decode(key)?, value })
}

#[cfg(test)]
pub(crate) mod scene;
#[cfg(test)]
mod tests;
