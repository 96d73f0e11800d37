//! The invariants of an image, checked in full. For tests, the simulator and images that come from outside.

use std::collections::BTreeMap;

use aquifer_types::{NodeId, ObjectId};

use crate::entities::{ObjectState, SegmentState, Stream, StreamKind};
use crate::image::Image;
use crate::names::check_topic_name;
use crate::snapshot::derive;

/// A broken invariant: a bug of ours, or a damaged snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metadata invariant broken: {0}")]
pub struct Violation(String);

/// Returns the violation unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(Violation(format!($($text)+)));
        }
    };
}

impl Image {
    /// Checks every invariant. Looks at everything: not for a path that runs per commit.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_topics()?;
        self.check_streams()?;
        self.check_objects()?;
        self.check_brokers_and_segments()?;
        self.check_derived()
    }

    /// Topics have legal names, exactly the partitions below their count, and each partition its two streams.
    fn check_topics(&self) -> Result<(), Violation> {
        let mut partitions = 0;
        for (id, topic) in &self.topics {
            ensure!(topic.id == *id, "topic {id} is kept under the id of {}", topic.id);
            ensure!(check_topic_name(&topic.name).is_ok(), "topic {id} is named `{}`", topic.name);
            let indexes = self.partitions_of(*id).map(|(index, _)| index);
            ensure!(indexes.eq(0..topic.partition_count), "topic {id} lacks a partition or has too many");
            partitions += self.partitions_of(*id).count();
        }
        ensure!(partitions == self.partitions.len(), "a partition belongs to no topic");
        for (&(topic, index), partition) in &self.partitions {
            for (id, kind) in [(partition.data, StreamKind::Data), (partition.meta, StreamKind::Meta)] {
                let fits = self.stream(id).is_some_and(|stream| {
                    (stream.id, stream.kind, stream.topic, stream.partition) == (id, kind, topic, index)
                });
                ensure!(fits, "partition {topic}-{index}: its {kind:?} stream {id} is missing or another's");
            }
            ensure!(partition.leader_epoch.0 >= 0, "partition {topic}-{index} has a negative leader epoch");
            if let Some(leader) = partition.leader {
                ensure!(
                    self.broker(leader).is_some(),
                    "partition {topic}-{index} is led by unknown {leader}"
                );
            }
            if let Some(to) = partition.moving.map(|moving| moving.to) {
                let takes = self.broker(to).is_some_and(|next| next.leaving.is_none());
                ensure!(takes, "partition {topic}-{index} moves to {to}, which is unknown or leaves");
            }
        }
        ensure!(self.streams.len() == 2 * self.partitions.len(), "a stream belongs to no partition");
        Ok(())
    }

    /// Ranges touch each other, end at the committed end, are all wanted at least in part, and sum up.
    fn check_streams(&self) -> Result<(), Violation> {
        let mut ranges_seen = 0;
        for (&id, stream) in &self.streams {
            ensure!(id.0 < self.next_stream, "stream {id} was never given out");
            let Stream { start, end, .. } = *stream;
            let (mut next, mut bytes, mut records, mut ranges) = (None, 0, 0, 0);
            for range in self.ranges(id, 0) {
                ensure!(range.first < range.end, "stream {id}: empty range at {}", range.first);
                ensure!(
                    next.is_none_or(|next| next == range.first),
                    "stream {id}: gap before {}",
                    range.first
                );
                ensure!(
                    next.is_some() || range.first <= start,
                    "stream {id}: its start {start} is in no range"
                );
                ensure!(range.end > start, "stream {id}: range at {} is below {start}", range.first);
                next = Some(range.end);
                (bytes, records, ranges) = (bytes + range.bytes, records + range.records, ranges + 1);
            }
            ensure!(next.unwrap_or(end) == end, "stream {id}: ranges end at {next:?}, not at {end}");
            ensure!(ranges > 0 || start >= end, "stream {id}: no range holds {start} to {end}");
            let totals = (stream.bytes, stream.records, stream.ranges);
            ensure!(totals == (bytes, records, ranges), "stream {id}: totals {totals:?} are wrong");
            ranges_seen += ranges;
        }
        ensure!(ranges_seen == self.ranges.len() as u64, "a range belongs to no stream");
        Ok(())
    }

    /// An object is committed exactly while a live range is in it, and its counts are those of the ranges.
    fn check_objects(&self) -> Result<(), Violation> {
        let mut live: BTreeMap<ObjectId, (u64, u64)> = BTreeMap::new();
        for range in self.ranges.values() {
            let (ranges, bytes) = live.entry(range.object).or_default();
            (*ranges, *bytes) = (*ranges + 1, *bytes + range.bytes);
        }
        for (&id, state) in &self.objects {
            ensure!(id.0 < self.next_object, "object {id} was never given out");
            let counted = live.remove(&id);
            match *state {
                ObjectState::Committed { live_ranges, live_bytes, .. } => {
                    let kept = (live_ranges, live_bytes);
                    ensure!(counted == Some(kept), "object {id} counts {kept:?}, its ranges say {counted:?}");
                }
                ObjectState::Prepared { .. } | ObjectState::Marked { .. } => {
                    ensure!(counted.is_none(), "object {id} is {state:?} but has live ranges");
                }
            }
        }
        ensure!(live.is_empty(), "ranges lie in objects that do not exist: {:?}", live.keys());
        Ok(())
    }

    /// Epochs and segment ids are indexes of entries that were applied.
    fn check_brokers_and_segments(&self) -> Result<(), Violation> {
        for (&node, broker) in &self.brokers {
            ensure!(broker.node == node, "broker {node} is kept under another's id");
            ensure!(broker.epoch.0 <= self.applied.0, "broker {node} registered in the future");
            ensure!(!self.is_decommissioned(node), "broker {node} is registered though it was forgotten");
        }
        for (&id, segment) in &self.segments {
            ensure!(segment.id == id, "WAL segment {id} is kept under another's id");
            ensure!(id.0 <= self.applied.0, "WAL segment {id} opened in the future");
            ensure!(self.broker(segment.owner).is_some(), "WAL segment {id} has no owner");
            ensure!(segment.needed_copies() <= segment.copies(), "WAL segment {id} has too few copies");
            let Some((before, base)) = segment.continues else { continue };
            if let Some(before) = self.segment(before) {
                let end = SegmentState::Closed { end_lsn: base };
                ensure!(before.state == end, "WAL segment {id} does not begin where {} ends", before.id);
            }
        }
        Ok(())
    }

    /// The derived indexes are what the facts say.
    fn check_derived(&self) -> Result<(), Violation> {
        let mut rebuilt = self.clone();
        derive(&mut rebuilt);
        ensure!(self.topic_names == rebuilt.topic_names, "the index of topic names is wrong");
        ensure!(self.topic_names.len() == self.topics.len(), "two topics share a name");
        ensure!(self.canonical_names == rebuilt.canonical_names, "the index of canonical names is wrong");
        ensure!(self.canonical_names.len() == self.topics.len(), "two topic names collide");
        ensure!(self.led == rebuilt.led, "the index of leaders is wrong");
        ensure!(self.prepared == rebuilt.prepared, "the index of prepared objects is wrong");
        ensure!(self.marked == rebuilt.marked, "the index of marked objects is wrong");
        Ok(())
    }

    /// What only grows from one image to a later one: stream ends and starts, ids, epochs.
    pub fn check_follows(&self, older: &Image) -> Result<(), Violation> {
        ensure!(self.applied >= older.applied, "applied index went back to {}", self.applied);
        ensure!(self.next_stream >= older.next_stream, "stream ids went back");
        ensure!(self.next_object >= older.next_object, "object ids went back");
        ensure!(self.next_producer >= older.next_producer, "producer ids went back");
        for (id, old) in &older.streams {
            if let Some(new) = self.stream(*id) {
                ensure!(new.start >= old.start, "stream {id}: start went back to {}", new.start);
                ensure!(new.end >= old.end, "stream {id}: committed end went back to {}", new.end);
            }
        }
        for (&(topic, index), old) in &older.partitions {
            if let Some(new) = self.partition(topic, index) {
                let epoch = new.leader_epoch;
                ensure!(epoch >= old.leader_epoch, "{topic}-{index}: leader epoch went back to {epoch}");
                let broker_epoch = |image: &Image, leader: Option<NodeId>| image.broker_epoch(leader?);
                let same_leader = new.leader == old.leader
                    && broker_epoch(self, new.leader) == broker_epoch(older, old.leader);
                ensure!(
                    same_leader || epoch > old.leader_epoch,
                    "{topic}-{index}: another leader process, but still leader epoch {epoch}"
                );
            }
        }
        for (node, old) in &older.brokers {
            // Who was forgotten registers under a later entry, if at all.
            let epoch = self.broker_epoch(*node);
            ensure!(
                epoch.is_none_or(|epoch| epoch >= old.epoch),
                "broker {node}: epoch went back to {epoch:?}"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aquifer_types::{LogIndex, StreamId, TopicId};

    use super::*;
    use crate::entities::{Commit, RangeMeta};

    /// One stream without a partition would already be wrong, so each case names the first violation.
    fn violation(spoil: impl FnOnce(&mut Image)) -> String {
        let mut image = Image::new();
        assert_eq!(image.check(), Ok(()));
        spoil(&mut image);
        image.check().expect_err("the checker must notice").to_string()
    }

    #[test]
    fn facts_that_belong_to_nothing_are_found() {
        let (stream, object) = (StreamId(1), ObjectId(1));
        let range = RangeMeta { end: 5, object, records: 5, bytes: 5, max_timestamp_ms: 0 };
        let text = violation(|image| _ = image.ranges.insert((stream, 0), range));
        assert!(text.ends_with("a range belongs to no stream"), "{text}");

        let commit = Commit { at_ms: 0, size_bytes: 0, fingerprint: 0 };
        let state = ObjectState::Committed { commit, live_ranges: 1, live_bytes: 5 };
        let text = violation(|image| _ = image.objects.insert(object, state));
        assert!(text.ends_with("object 1 was never given out"), "{text}");
        let text = violation(|image| {
            image.next_object = 2;
            image.objects.insert(object, state);
        });
        assert!(text.ends_with("object 1 counts (1, 5), its ranges say None"), "{text}");
    }

    #[test]
    fn an_index_that_lies_is_found() {
        let text = violation(|image| _ = image.topic_names.insert("ghost".into(), TopicId::ZERO));
        assert!(text.ends_with("the index of topic names is wrong"), "{text}");
        let text = violation(|image| _ = image.marked.insert((0, ObjectId(1))));
        assert!(text.ends_with("the index of marked objects is wrong"), "{text}");
    }

    #[test]
    fn an_image_that_went_back_is_found() {
        let (mut older, newer) = (Image::new(), Image::new());
        older.advance(LogIndex(3));
        assert_eq!(older.check_follows(&newer), Ok(()));
        assert!(newer.check_follows(&older).is_err());
    }
}
