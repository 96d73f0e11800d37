//! Committing, fetching and deleting offsets.

use super::Shard;
use crate::{
    CommitRequest, CommitResult, DeleteOffsetsRequest, FetchOffsetsRequest, FetchedOffset, GroupError,
    GroupPhase, TopicPartition,
    event::{After, Effect, Now, ReplyId, Response, Verdict},
    offsets::{fetched, offset_record},
    schema::OffsetCommitValue,
};

/// Kafka's strings have 16-bit lengths, so no metadata can be longer, whatever `offset.metadata.max.bytes` says.
const METADATA_LIMIT_BYTES: usize = i16::MAX as usize;

impl Shard {
    /// `None` if the answer follows the write.
    pub(super) fn commit(
        &mut self,
        request: CommitRequest,
        reply: ReplyId,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Response> {
        if let Err(error) = self.accept_commit(&request, now, effects) {
            return Some(Response::Commit(Err(error)));
        }
        let expire_timestamp_ms =
            request.retention_ms.map(|retention_ms| now.wall_ms.saturating_add(retention_ms));
        let (mut records, mut changes) = (Vec::new(), Vec::new());
        let mut results = Vec::with_capacity(request.offsets.len());
        for (partition, given) in request.offsets {
            let metadata = given.metadata.unwrap_or_default();
            let result = if self.is_too_large(&metadata) {
                Err(GroupError::OffsetMetadataTooLarge)
            } else {
                let value = OffsetCommitValue {
                    offset: given.offset,
                    leader_epoch: given.leader_epoch,
                    metadata,
                    commit_timestamp_ms: now.wall_ms,
                    expire_timestamp_ms,
                };
                records.push(offset_record(&request.group_id, &partition, Some(&value)));
                changes.push((partition.clone(), Some(value)));
                Ok(())
            };
            results.push(CommitResult { partition, result });
        }
        let accepted = Response::Commit(Ok(results));
        if records.is_empty() {
            return Some(accepted);
        }
        let refused = Response::Commit(Err(GroupError::CoordinatorNotAvailable));
        let reply = Some(Box::new(Verdict { to: reply, accepted, refused }));
        effects.push(Effect::Write {
            records,
            after: After::Offsets { group_id: request.group_id, changes, reply },
        });
        None
    }

    fn accept_commit(
        &mut self,
        request: &CommitRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        let known = self.turn(&request.group_id, now, effects, |group, _| {
            let instance_id = request.instance_id.as_deref();
            group.state.validate_commit(&request.member_id, instance_id, request.generation_id)?;
            group.state.committed_by(&request.member_id, now);
            Ok(())
        });
        match known {
            Some(result) => result,
            // An administrator, or a consumer that assigns partitions itself: a simple group comes into being.
            None if request.generation_id < 0 => Ok(()),
            None if request.understands_group_id_not_found => Err(GroupError::GroupIdNotFound),
            None => Err(GroupError::IllegalGeneration),
        }
    }

    /// Kafka counts UTF-16 units.
    fn is_too_large(&self, metadata: &str) -> bool {
        metadata.len() > METADATA_LIMIT_BYTES
            || metadata.encode_utf16().count() > self.config.offset_metadata_max_bytes
    }

    /// An unknown group has no offsets, which is no error: that is how a consumer starts.
    pub(super) fn fetch_offsets(&self, request: FetchOffsetsRequest) -> Vec<FetchedOffset> {
        let offsets = self.groups.get(&request.group_id).map(|group| &group.offsets);
        match (request.partitions, offsets) {
            (Some(partitions), Some(offsets)) => partitions.into_iter().map(|it| offsets.fetch(it)).collect(),
            (Some(partitions), None) => partitions.into_iter().map(|it| fetched(None, it)).collect(),
            (None, Some(offsets)) => offsets.iter().map(|(it, value)| fetched(Some(value), it)).collect(),
            (None, None) => Vec::new(),
        }
    }

    /// `None` if the answer follows the write.
    pub(super) fn delete_offsets(
        &mut self,
        request: DeleteOffsetsRequest,
        reply: ReplyId,
        effects: &mut Vec<Effect>,
    ) -> Option<Response> {
        let Some(group) = self.groups.get(&request.group_id) else {
            return Some(Response::DeleteOffsets(Err(GroupError::GroupIdNotFound)));
        };
        if group.state.phase() != GroupPhase::Empty && !group.state.is_consumer_group() {
            return Some(Response::DeleteOffsets(Err(GroupError::NonEmptyGroup)));
        }
        let mut deleted = Vec::new();
        let mut one = |partition: TopicPartition| {
            if group.state.is_subscribed_to(&partition.topic) {
                return (partition, Err(GroupError::GroupSubscribedToTopic));
            }
            if group.offsets.get(&partition).is_some() {
                deleted.push(partition.clone());
            }
            (partition, Ok(()))
        };
        let results = request.partitions.into_iter().map(&mut one).collect();
        let accepted = Response::DeleteOffsets(Ok(results));
        if deleted.is_empty() {
            return Some(accepted);
        }
        let refused = Response::DeleteOffsets(Err(GroupError::CoordinatorNotAvailable));
        let verdict = Verdict { to: reply, accepted, refused };
        effects.push(forget_offsets(&request.group_id, deleted, Some(Box::new(verdict))));
        None
    }
}

/// Writes tombstones and forgets the offsets.
pub(super) fn forget_offsets(
    group_id: &str,
    partitions: Vec<TopicPartition>,
    reply: Option<Box<Verdict>>,
) -> Effect {
    let records = partitions.iter().map(|partition| offset_record(group_id, partition, None)).collect();
    let changes = partitions.into_iter().map(|partition| (partition, None)).collect();
    Effect::Write { records, after: After::Offsets { group_id: group_id.to_owned(), changes, reply } }
}
