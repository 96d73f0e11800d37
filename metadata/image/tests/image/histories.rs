//! Random histories: whatever is asked for in whatever order, the invariants hold, and a naive model
//! agrees about what is alive.

use std::collections::{BTreeMap, BTreeSet};

use aquifer_image::*;
use aquifer_types::{BrokerEpoch, ClusterId, LogIndex, NodeId, ObjectId, StreamId, TopicId};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use uuid::Uuid;

use crate::fixture::{create_topic, range, register};

/// Names of which some collide and one is illegal.
const NAMES: [&str; 5] = ["a", "b.c", "b_c", "d", "no good"];
const NODES: u32 = 3;

/// A wish, made into a command when its turn comes: most are valid then, some are not.
#[derive(Debug, Clone)]
enum Wish {
    Register { node: u32, incarnation: u128 },
    Create { name: usize, leaders: Vec<u32> },
    Delete { topic: Index },
    Grow { topic: Index, by: usize, off: i32 },
    Alter { topic: Index, value: Option<String> },
    ProducerIds { node: u32, stale: bool },
    Prepare { node: u32, count: u32, limit_ms: i64 },
    Commit { object: Index, parts: Vec<Part>, foreign: bool },
    Repeat { entry: Index },
    Trim { node: u32, streams: Vec<(Index, i64)> },
    Expire { ahead_ms: i64 },
    Remove { objects: Vec<Index>, all_marked: bool },
    Open { node: u32 },
    Close { segment: Index, end_lsn: u64 },
    Release { segment: Index },
    OpenMirrored { node: u32, needed: u32 },
    Roll { segment: Index, end_lsn: u64 },
    Fence { node: u32 },
    Stop { node: u32 },
    Drain { node: u32, for_good: bool },
    Resume { node: u32 },
    Unregister { node: u32 },
    Move { topic: Index, to: u32 },
    HandOver { node: u32, off: u64 },
    TakeOver { owner: u32, object: Index, parts: Vec<Part>, off: u64, leader: u32 },
}

/// A range: of which stream, how long, how far from where it has to begin, whether it is a checkpoint.
#[derive(Debug, Clone)]
struct Part {
    stream: Index,
    length: u64,
    off: i64,
    checkpoint: bool,
}

fn a_part() -> impl Strategy<Value = Part> {
    let off = prop_oneof![38 => Just(0_i64), 1 => Just(1), 1 => Just(-1)];
    (any::<Index>(), 1..20_u64, off, any::<bool>()).prop_map(|(stream, length, off, checkpoint)| Part {
        stream,
        length,
        off,
        checkpoint,
    })
}

fn wish() -> impl Strategy<Value = Wish> {
    let node = || 1..=NODES;
    let rarely = || prop::bool::weighted(0.05);
    prop_oneof![
        1 => (node(), 0..3_u128).prop_map(|(node, incarnation)| Wish::Register { node, incarnation }),
        2 => (0..NAMES.len(), vec(1..=NODES + 1, 0..4)).prop_map(|(name, leaders)| Wish::Create { name, leaders }),
        1 => any::<Index>().prop_map(|topic| Wish::Delete { topic }),
        1 => (any::<Index>(), 0..3_usize, rarely())
            .prop_map(|(topic, by, off)| Wish::Grow { topic, by, off: off.into() }),
        1 => (any::<Index>(), prop::option::of("[a-z]{1,3}"))
            .prop_map(|(topic, value)| Wish::Alter { topic, value }),
        1 => (node(), rarely()).prop_map(|(node, stale)| Wish::ProducerIds { node, stale }),
        4 => (node(), 0..3_u32, 0..50_i64)
            .prop_map(|(node, count, limit_ms)| Wish::Prepare { node, count, limit_ms }),
        12 => (any::<Index>(), vec(a_part(), 0..5), rarely())
            .prop_map(|(object, parts, foreign)| Wish::Commit { object, parts, foreign }),
        2 => any::<Index>().prop_map(|entry| Wish::Repeat { entry }),
        4 => (node(), vec((any::<Index>(), -5..30_i64), 0..4))
            .prop_map(|(node, streams)| Wish::Trim { node, streams }),
        1 => (0..100_i64).prop_map(|ahead_ms| Wish::Expire { ahead_ms }),
        2 => (vec(any::<Index>(), 0..4), any::<bool>())
            .prop_map(|(objects, all_marked)| Wish::Remove { objects, all_marked }),
        1 => node().prop_map(|node| Wish::Open { node }),
        1 => (any::<Index>(), 0..3_u64).prop_map(|(segment, end_lsn)| Wish::Close { segment, end_lsn }),
        1 => any::<Index>().prop_map(|segment| Wish::Release { segment }),
        1 => (node(), 0..3_u32).prop_map(|(node, needed)| Wish::OpenMirrored { node, needed }),
        2 => (any::<Index>(), 0..9_u64).prop_map(|(segment, end_lsn)| Wish::Roll { segment, end_lsn }),
        1 => node().prop_map(|node| Wish::Fence { node }),
        1 => node().prop_map(|node| Wish::Stop { node }),
        1 => (node(), any::<bool>()).prop_map(|(node, for_good)| Wish::Drain { node, for_good }),
        2 => node().prop_map(|node| Wish::Resume { node }),
        2 => node().prop_map(|node| Wish::Unregister { node }),
        2 => (any::<Index>(), node()).prop_map(|(topic, to)| Wish::Move { topic, to }),
        3 => (node(), (0..20_u64).prop_map(|off| off / 19))
            .prop_map(|(node, off)| Wish::HandOver { node, off }),
        4 => (node(), any::<Index>(), vec(a_part(), 0..3), 0..2_u64, node())
            .prop_map(|(owner, object, parts, off, leader)| Wish::TakeOver { owner, object, parts, off, leader }),
    ]
}

/// What the history has led to, and all that was asked.
struct Run {
    image: Image,
    log: Vec<(LogIndex, Command)>,
    now_ms: i64,
    /// Streams that exist or once did.
    streams: BTreeSet<StreamId>,
    model: Model,
}

/// The object life cycle told again, naively: every range that was ever committed is kept for ever.
#[derive(Default)]
struct Model {
    /// Start and end of each stream that exists.
    streams: BTreeMap<StreamId, (u64, u64)>,
    ranges: Vec<(ObjectId, StreamId, u64)>,
}

impl Model {
    fn applied(&mut self, command: &Command, first_time: bool, image: &Image) {
        match command {
            Command::CommitObject(commit) if first_time => {
                self.committed(commit.object, &commit.ranges);
            }
            Command::TakeOver(taken) if first_time => {
                for object in &taken.objects {
                    self.committed(object.object, &object.ranges);
                }
            }
            Command::TrimStreams(trim) => {
                for (stream, new_start) in &trim.trims {
                    if let Some((start, _)) = self.streams.get_mut(stream) {
                        *start = (*new_start).max(*start);
                    }
                }
            }
            _ => {
                self.streams.retain(|id, _| image.stream(*id).is_some());
                for stream in image.streams() {
                    self.streams.entry(stream.id).or_default();
                }
            }
        }
    }

    fn committed(&mut self, object: ObjectId, ranges: &[StreamRange]) {
        for range in ranges {
            let Some((start, end)) = self.streams.get_mut(&range.stream) else { continue };
            *end = range.end;
            if range.replaces_older {
                *start = range.first.max(*start);
            }
            self.ranges.push((object, range.stream, range.end));
        }
    }

    /// The objects that somebody needs.
    fn live(&self) -> BTreeSet<ObjectId> {
        let needed = |(_, stream, end): &&(ObjectId, StreamId, u64)| {
            self.streams.get(stream).is_some_and(|(start, _)| end > start)
        };
        self.ranges.iter().filter(needed).map(|(object, ..)| *object).collect()
    }
}

fn pick<T: Copy>(index: &Index, from: impl Iterator<Item = T>) -> Option<T> {
    let all: Vec<T> = from.collect();
    (!all.is_empty()).then(|| all[index.index(all.len())])
}

impl Run {
    fn new() -> Self {
        let (streams, model) = (BTreeSet::new(), Model::default());
        let mut run = Self { image: Image::new(), log: Vec::new(), now_ms: 0, streams, model };
        run.enter(Bootstrap { cluster_id: ClusterId(Uuid::from_u128(1)) }.into());
        for node in 1..=NODES {
            run.enter(register(NodeId(node), 0).into());
        }
        run.enter(create_topic("start", &[NodeId(1), NodeId(1), NodeId(2)]).into());
        run
    }

    fn epoch(&self, node: NodeId) -> BrokerEpoch {
        // All nodes registered first; some were forgotten since.
        self.image.broker_epoch(node).unwrap_or(BrokerEpoch(1))
    }

    /// The command that fulfils a wish now; `None` if there is nothing that it could be about.
    fn command(&self, wish: &Wish) -> Option<Command> {
        let now_ms = self.now_ms;
        let topic = |index: &Index| pick(index, self.image.topics().map(|topic| topic.id));
        let segment = |index: &Index| pick(index, self.image.segments().map(|s| (s.id, s.owner)));
        Some(match wish {
            Wish::Register { node, incarnation } => register(NodeId(*node), *incarnation).into(),
            Wish::Create { name, leaders } => {
                let leaders: Vec<NodeId> = leaders.iter().copied().map(NodeId).collect();
                create_topic(NAMES[*name], &leaders).into()
            }
            Wish::Delete { topic: index } => DeleteTopic { id: topic(index)?, now_ms }.into(),
            Wish::Grow { topic: index, by, off } => {
                let id = topic(index)?;
                let present = self.image.topic(id)?.partition_count;
                let total = present + i32::try_from(*by).ok()? + off;
                CreatePartitions { id, total, leaders: vec![NodeId(1); *by] }.into()
            }
            Wish::Alter { topic: index, value } => {
                let name = self.image.topic(topic(index)?)?.name.to_string();
                let changes = vec![("x".to_owned(), value.clone())];
                AlterConfigs { resource: ConfigResource::Topic(name), changes }.into()
            }
            Wish::ProducerIds { node, stale } => {
                let node = NodeId(*node);
                let broker_epoch = BrokerEpoch(self.epoch(node).0 - u64::from(*stale));
                AllocateProducerIds { node, broker_epoch, count: 3 }.into()
            }
            Wish::Prepare { node, count, limit_ms } => {
                let (node, count, time_limit_ms) = (NodeId(*node), *count, *limit_ms);
                let broker_epoch = self.epoch(node);
                PrepareObjects { node, broker_epoch, count, now_ms, time_limit_ms }.into()
            }
            Wish::Commit { object, parts, foreign } => self.commit(object, parts, *foreign)?.into(),
            Wish::Repeat { entry } => self.log[entry.index(self.log.len())].1.clone(),
            Wish::Trim { node, streams } => {
                let node = NodeId(*node);
                let new_start = |(index, off): &(Index, i64)| {
                    let id = pick(index, self.streams_for(node))?;
                    let start = self.image.stream(id).map_or(0, |stream| stream.start);
                    Some((id, start.saturating_add_signed(*off)))
                };
                let trims = streams.iter().filter_map(new_start).collect();
                TrimStreams { node, broker_epoch: self.epoch(node), now_ms, trims }.into()
            }
            Wish::Expire { ahead_ms } => ExpirePrepared { now_ms: now_ms + ahead_ms }.into(),
            Wish::Remove { objects, all_marked: false } => {
                let objects =
                    objects.iter().filter_map(|index| pick(index, self.image.objects().map(|o| o.0)));
                RemoveObjects { objects: objects.collect() }.into()
            }
            Wish::Remove { all_marked: true, .. } => {
                RemoveObjects { objects: self.image.marked_until(now_ms).collect() }.into()
            }
            Wish::Open { node } => {
                let (node, disk) = (NodeId(*node), aquifer_types::DiskId::ZERO);
                OpenSegment { node, broker_epoch: self.epoch(node), disk, members: Vec::new(), needed: 0 }
                    .into()
            }
            Wish::Close { segment: index, end_lsn } => {
                let (segment, node) = segment(index)?;
                CloseSegment { segment, node, broker_epoch: self.epoch(node), end_lsn: *end_lsn }.into()
            }
            Wish::OpenMirrored { node, needed } => {
                let (node, disk) = (NodeId(*node), aquifer_types::DiskId::ZERO);
                let members = self.others(node).map(|node| SegmentMember { node, disk }).collect();
                OpenSegment { node, broker_epoch: self.epoch(node), disk, members, needed: *needed }.into()
            }
            Wish::Roll { segment: index, end_lsn } => {
                let ((segment, node), disk) = (segment(index)?, aquifer_types::DiskId::ZERO);
                let members = self.others(node).map(|node| SegmentMember { node, disk }).collect();
                let (broker_epoch, end_lsn) = (self.epoch(node), *end_lsn);
                RollSegment { segment, end_lsn, node, broker_epoch, disk, members, needed: 0 }.into()
            }
            Wish::Fence { node } => {
                let node = NodeId(*node);
                FenceBroker { node, broker_epoch: self.epoch(node) }.into()
            }
            Wish::Stop { node } => {
                let node = NodeId(*node);
                StopBroker { node, broker_epoch: self.epoch(node) }.into()
            }
            Wish::Drain { node, for_good } => DrainBroker { node: NodeId(*node), for_good: *for_good }.into(),
            Wish::Resume { node } => ResumeBroker { node: NodeId(*node) }.into(),
            Wish::Unregister { node } => UnregisterBroker { node: NodeId(*node) }.into(),
            Wish::Move { topic: index, to } => {
                let topic = topic(index)?;
                let to = Some(NodeId(*to));
                let one = |(index, _): (i32, &Partition)| MovePartition { topic, index, to, replicas: None };
                MovePartitions { moves: self.image.partitions_of(topic).map(one).collect() }.into()
            }
            Wish::HandOver { node, off } => {
                let node = NodeId(*node);
                let one = |(topic, index): (TopicId, i32)| {
                    let partition = self.image.partition(topic, index)?;
                    let asked_at = partition.moving?.asked_at;
                    let end = self.image.stream(partition.data)?.end + off;
                    Some(HandedOver { topic, index, asked_at, end })
                };
                let partitions = self.image.led_by(node).filter_map(one).collect();
                HandOver { node, broker_epoch: self.epoch(node), partitions }.into()
            }
            Wish::TakeOver { owner, object, parts, off, leader } => {
                self.take_over(NodeId(*owner), object, parts, *off, NodeId(*leader))?.into()
            }
            Wish::Release { segment: index } => {
                let (segment, node) = segment(index)?;
                ReleaseSegment { segment, node, broker_epoch: self.epoch(node) }.into()
            }
        })
    }

    fn others(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        (1..=NODES).map(NodeId).filter(move |other| *other != node)
    }

    /// What the preparer of an object finds in the WAL of `owner`, in part.
    fn take_over(
        &self,
        owner: NodeId,
        object: &Index,
        parts: &[Part],
        off: u64,
        leader: NodeId,
    ) -> Option<TakeOver> {
        let commit = self.commit_for(object, parts, Some(owner))?;
        let end = |segment: &Segment| {
            let base = segment.continues.map_or(0, |(_, base)| base);
            let (sealed_at, end_lsn) = match segment.state {
                SegmentState::Sealing { at } => (Some(at), base + 5 - off),
                SegmentState::Closed { end_lsn } => (None, end_lsn),
                SegmentState::Open => (None, 0),
            };
            SegmentEnd { segment: segment.id, sealed_at, end_lsn }
        };
        let CommitObject { node, broker_epoch, object, size_bytes, now_ms, ranges } = commit;
        Some(TakeOver {
            node,
            broker_epoch,
            owner,
            segments: self.image.segments_left_by(owner).map(end).collect(),
            objects: vec![RecoveredObject { object, size_bytes, ranges }],
            leaders: self.image.led_by(owner).map(|(topic, index)| (topic, index, leader)).collect(),
            now_ms,
        })
    }

    /// What a node would commit or trim: streams that it leads and streams that are gone.
    fn streams_for(&self, node: NodeId) -> impl Iterator<Item = StreamId> {
        self.streams
            .iter()
            .copied()
            .filter(move |id| self.image.stream(*id).is_none() || self.image.stream_leader(*id) == Some(node))
    }

    fn commit(&self, object: &Index, parts: &[Part], foreign: bool) -> Option<CommitObject> {
        let mut commit = self.commit_for(object, parts, None)?;
        if foreign {
            commit.node = NodeId(commit.node.0 % NODES + 1);
            commit.broker_epoch = self.epoch(commit.node);
        }
        Some(commit)
    }

    /// A commit by an object's preparer, of streams that `leader` leads, or the preparer itself.
    fn commit_for(&self, object: &Index, parts: &[Part], leader: Option<NodeId>) -> Option<CommitObject> {
        let (object, node) = pick(
            object,
            self.image.objects().filter_map(|(id, state)| match state {
                ObjectState::Prepared { node, .. } => Some((id, *node)),
                _ => None,
            }),
        )?;
        let leader = leader.unwrap_or(node);
        let mut ranges = BTreeMap::new();
        for Part { stream, length, off, checkpoint } in parts {
            let id = pick(stream, self.streams_for(leader))?;
            let first = self.image.stream(id).map_or(0, |stream| stream.end).saturating_add_signed(*off);
            let replaces_older =
                *checkpoint && self.image.stream(id).is_some_and(|s| s.kind == StreamKind::Meta);
            ranges.insert(id, StreamRange { replaces_older, ..range(id, first, first + length) });
        }
        let (broker_epoch, ranges) = (self.epoch(node), ranges.into_values().collect());
        Some(CommitObject { node, broker_epoch, object, size_bytes: 10_000, now_ms: self.now_ms, ranges })
    }

    fn enter(&mut self, command: Command) {
        self.now_ms += 1;
        let mut before = self.image.clone();
        let index = LogIndex(self.image.applied().0 + 1 + self.now_ms.cast_unsigned() % 2);
        let answer = self.image.apply(index, &command);
        self.image.check().expect("invariants");
        self.image.check_follows(&before).expect("nothing goes back");
        if answer.is_ok() {
            let object = match &command {
                Command::CommitObject(commit) => Some(commit.object),
                Command::TakeOver(taken) => taken.objects.first().map(|object| object.object),
                _ => None,
            };
            let prepared = |object| matches!(before.object(object), Some(ObjectState::Prepared { .. }));
            let first_time = object.is_none_or(prepared);
            self.model.applied(&command, first_time, &self.image);
        } else {
            before.advance(index);
            assert_eq!(before, self.image, "a refused command changed the image");
        }
        self.remember(index, command);
    }

    fn remember(&mut self, index: LogIndex, command: Command) {
        self.log.push((index, command));
        self.streams.extend(self.image.streams().map(|stream| stream.id));
        let committed = |(id, state): (ObjectId, &ObjectState)| {
            matches!(state, ObjectState::Committed { .. }).then_some(id)
        };
        let committed: BTreeSet<ObjectId> = self.image.objects().filter_map(committed).collect();
        assert_eq!(committed, self.model.live(), "the model disagrees about what is needed");
        for (id, bounds) in &self.model.streams {
            let stream = self.image.stream(*id).expect("the model has no other streams");
            assert_eq!((stream.start, stream.end), *bounds, "the model disagrees about stream {id}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_invariants_and_equal_logs_give_equal_images(
        wishes in vec(wish(), 1..120), cut in any::<Index>(),
    ) {
        let mut run = Run::new();
        for wish in &wishes {
            if let Some(command) = run.command(wish) {
                run.enter(command);
            }
        }

        // Another node: half of the log, a snapshot, the other half, all of it through bytes.
        let mut other = Image::new();
        for (position, (index, command)) in run.log.iter().enumerate() {
            if position == cut.index(run.log.len()) {
                other = decode_snapshot(&encode_snapshot(&other)).expect("what was written is read");
            }
            let command = decode_command(&encode_command(command)).expect("what was written is read");
            let _ = other.apply(*index, &command);
        }
        prop_assert_eq!(&other, &run.image);
        prop_assert_eq!(encode_snapshot(&other), encode_snapshot(&run.image));
    }

    #[test]
    fn no_bytes_make_the_decoders_panic(bytes in vec(any::<u8>(), 0..200), snapshot in any::<bool>()) {
        let mut framed = vec![if snapshot { b'S' } else { b'C' }, 1];
        if snapshot {
            framed.extend(crc32c::crc32c(&bytes).to_be_bytes());
        }
        framed.extend(&bytes);
        let _ = (decode_command(&framed), decode_snapshot(&framed));
    }
}
