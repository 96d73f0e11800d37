//! Objects, and the ranges of streams that live in them.

use aquifer_types::{BrokerEpoch, NodeId, ObjectId, StreamId};

use super::{check_count, check_epoch};
use crate::command::{
    CommitObject, ExpirePrepared, Outcome, PrepareObjects, RemoveObjects, StreamRange, TrimStreams,
};
use crate::entities::{Commit, ObjectState, RangeMeta, Stream};
use crate::image::Image;
use crate::limits::{
    MAX_OBJECT_BYTES, MAX_OBJECTS_PER_COMMAND, MAX_OFFSET, MAX_RANGES_PER_OBJECT, MAX_TRIMS_PER_COMMAND,
};
use crate::rejection::Rejection;

pub(super) fn prepare(image: &mut Image, command: &PrepareObjects) -> Result<Outcome, Rejection> {
    check_epoch(image, command.node, command.broker_epoch)?;
    check_count("objects to prepare", command.count as usize, 1, MAX_OBJECTS_PER_COMMAND)?;
    let first = image.next_object;
    let Some(next) = first.checked_add(u64::from(command.count)) else {
        return Err(Rejection::Exhausted { what: "object ids".to_owned() });
    };
    let deadline_ms = command.now_ms.saturating_add(command.time_limit_ms);
    for id in (first..next).map(ObjectId) {
        let (node, broker_epoch) = (command.node, command.broker_epoch);
        image.objects.insert(id, ObjectState::Prepared { node, broker_epoch, deadline_ms });
        image.prepared.insert((deadline_ms, id));
    }
    image.next_object = next;
    Ok(Outcome::ObjectsPrepared { first: ObjectId(first), count: command.count })
}

pub(super) fn commit(image: &mut Image, command: &CommitObject) -> Result<Outcome, Rejection> {
    check_epoch(image, command.node, command.broker_epoch)?;
    match check_commit(image, command, command.node)? {
        Standing::Repeated => {}
        Standing::New { deadline_ms } => carry_out(image, command, deadline_ms),
    }
    Ok(Outcome::ObjectCommitted { gone: gone(image, command) })
}

/// What a valid commit is.
pub(super) enum Standing {
    /// Carried out before.
    Repeated,
    /// To be carried out.
    New { deadline_ms: i64 },
}

/// Checks a commit of ranges of streams that `leader` leads, in all that does not depend on who proposes it.
pub(super) fn check_commit(
    image: &Image,
    command: &CommitObject,
    leader: NodeId,
) -> Result<Standing, Rejection> {
    let object = command.object;
    let deadline_ms = match image.object(object) {
        None => return Err(Rejection::UnknownObject { object }),
        Some(&ObjectState::Prepared { node, broker_epoch, deadline_ms }) => {
            check_preparer(command, node, broker_epoch)?;
            deadline_ms
        }
        Some(ObjectState::Marked { commit: None, .. }) => return Err(Rejection::ObjectExpired { object }),
        Some(
            ObjectState::Committed { commit: present, .. }
            | ObjectState::Marked { commit: Some(present), .. },
        ) => {
            return if present.fingerprint == fingerprint(command.size_bytes, &command.ranges) {
                Ok(Standing::Repeated)
            } else {
                Err(Rejection::CommitConflict { object })
            };
        }
    };
    check_ranges(image, command, leader)?;
    Ok(Standing::New { deadline_ms })
}

/// Makes the ranges of a checked commit part of their streams.
pub(super) fn carry_out(image: &mut Image, command: &CommitObject, deadline_ms: i64) {
    let object = command.object;
    let commit = Commit {
        at_ms: command.now_ms,
        size_bytes: command.size_bytes,
        fingerprint: fingerprint(command.size_bytes, &command.ranges),
    };
    image.prepared.remove(&(deadline_ms, object));
    image.objects.insert(object, ObjectState::Committed { commit, live_ranges: 0, live_bytes: 0 });
    for range in &command.ranges {
        add_range(image, object, range, command.now_ms);
    }
    mark_if_unneeded(image, object, command.now_ms);
}

fn check_preparer(command: &CommitObject, owner: NodeId, owner_epoch: BrokerEpoch) -> Result<(), Rejection> {
    if (owner, owner_epoch) == (command.node, command.broker_epoch) {
        Ok(())
    } else {
        Err(Rejection::ForeignObject { object: command.object, owner, owner_epoch })
    }
}

fn gone(image: &Image, command: &CommitObject) -> Vec<StreamId> {
    command.ranges.iter().map(|range| range.stream).filter(|id| image.stream(*id).is_none()).collect()
}

/// Every range makes sense in itself, and those of streams that exist continue them (invariant O).
fn check_ranges(image: &Image, command: &CommitObject, leader: NodeId) -> Result<(), Rejection> {
    let (object, ranges) = (command.object, &command.ranges);
    check_count("ranges of an object", ranges.len(), 0, MAX_RANGES_PER_OBJECT)?;
    if command.size_bytes > MAX_OBJECT_BYTES {
        let (given, most) = (command.size_bytes, MAX_OBJECT_BYTES);
        let what = "bytes of an object".to_owned();
        return Err(Rejection::OutOfLimits { what, given, least: 0, most });
    }
    let mut streams: Vec<StreamId> = ranges.iter().map(|range| range.stream).collect();
    streams.sort_unstable();
    if let Some(twice) = streams.windows(2).find(|pair| pair[0] == pair[1]) {
        let reason = "the object has two ranges of it".to_owned();
        return Err(Rejection::InvalidRange { object, stream: twice[0], reason });
    }
    for range in ranges {
        let StreamRange { stream, first, end, records, bytes, .. } = *range;
        let invalid = |reason| Rejection::InvalidRange { object, stream, reason };
        if first >= end || end > MAX_OFFSET {
            return Err(invalid(format!("{first} to {end} is not a range of offsets")));
        }
        if records > end - first {
            return Err(invalid(format!("{records} records have more offsets than {first} to {end}")));
        }
        if bytes > command.size_bytes {
            let size = command.size_bytes;
            return Err(invalid(format!("{bytes} bytes do not fit into an object of {size}")));
        }
        let Some(found) = image.stream(stream) else { continue };
        check_leads(image, leader, found)?;
        if found.end != first {
            let committed_end = found.end;
            return Err(Rejection::NotContinuous { object, stream, first, committed_end });
        }
    }
    Ok(())
}

fn check_leads(image: &Image, node: NodeId, stream: &Stream) -> Result<(), Rejection> {
    let leader = image.stream_leader(stream.id);
    if leader == Some(node) {
        return Ok(());
    }
    let Stream { id, topic, partition, .. } = *stream;
    Err(Rejection::NotStreamLeader { node, stream: id, topic, partition, leader })
}

/// Moves the stream's end over a checked range, which lives unless all of it is trimmed already.
fn add_range(image: &mut Image, object: ObjectId, range: &StreamRange, now_ms: i64) {
    let StreamRange { stream: id, first, end, records, bytes, max_timestamp_ms, replaces_older } = *range;
    let Some(stream) = image.streams.get_mut(&id) else { return };
    stream.end = end;
    if end > stream.start {
        stream.bytes += bytes;
        stream.records += records;
        stream.ranges += 1;
        image.ranges.insert((id, first), RangeMeta { end, object, records, bytes, max_timestamp_ms });
        let Some(ObjectState::Committed { live_ranges, live_bytes, .. }) = image.objects.get_mut(&object)
        else {
            unreachable!("ranges are added to the object that is being committed");
        };
        *live_ranges += 1;
        *live_bytes += bytes;
    }
    if replaces_older {
        raise_start(image, id, first, now_ms);
    }
}

pub(super) fn trim(image: &mut Image, command: &TrimStreams) -> Result<Outcome, Rejection> {
    check_epoch(image, command.node, command.broker_epoch)?;
    check_count("streams to trim", command.trims.len(), 0, MAX_TRIMS_PER_COMMAND)?;
    let mut gone = Vec::new();
    for &(id, start) in &command.trims {
        if start > MAX_OFFSET {
            return Err(Rejection::InvalidTrim { stream: id, start });
        }
        match image.stream(id) {
            None => gone.push(id),
            Some(stream) => check_leads(image, command.node, stream)?,
        }
    }
    for &(id, start) in &command.trims {
        raise_start(image, id, start, command.now_ms);
    }
    Ok(Outcome::StreamsTrimmed { gone })
}

/// Raises a stream's start and releases the ranges that lie wholly below it.
fn raise_start(image: &mut Image, id: StreamId, start: u64, now_ms: i64) {
    let Some(stream) = image.streams.get_mut(&id) else { return };
    if start <= stream.start {
        return;
    }
    stream.start = start;
    release_while(image, id, now_ms, |range| range.end <= start);
}

/// Releases all ranges of a stream that is about to be removed.
pub(super) fn release_all(image: &mut Image, id: StreamId, now_ms: i64) {
    release_while(image, id, now_ms, |_| true);
}

/// Releases a stream's ranges from the oldest on, as long as they are not wanted.
fn release_while(image: &mut Image, id: StreamId, now_ms: i64, unwanted: impl Fn(&RangeMeta) -> bool) {
    while let Some((&key, &range)) = image.ranges.get_next(&(id, 0)) {
        if key.0 != id || !unwanted(&range) {
            return;
        }
        image.ranges.remove(&key);
        let stream = image.streams.get_mut(&id).expect("a range belongs to a stream that exists");
        stream.bytes -= range.bytes;
        stream.records -= range.records;
        stream.ranges -= 1;
        let Some(ObjectState::Committed { live_ranges, live_bytes, .. }) =
            image.objects.get_mut(&range.object)
        else {
            unreachable!("a live range keeps its object committed");
        };
        *live_ranges -= 1;
        *live_bytes -= range.bytes;
        mark_if_unneeded(image, range.object, now_ms);
    }
}

/// A committed object without a live range is marked.
fn mark_if_unneeded(image: &mut Image, id: ObjectId, now_ms: i64) {
    if let Some(&ObjectState::Committed { commit, live_ranges: 0, .. }) = image.objects.get(&id) {
        mark(image, id, Some(commit), now_ms);
    }
}

fn mark(image: &mut Image, id: ObjectId, commit: Option<Commit>, at_ms: i64) {
    image.objects.insert(id, ObjectState::Marked { at_ms, commit });
    image.marked.insert((at_ms, id));
}

pub(super) fn expire_prepared(image: &mut Image, command: &ExpirePrepared) -> Result<Outcome, Rejection> {
    let mut count = 0;
    while let Some(&(deadline_ms, id)) = image.prepared.get_min() {
        if deadline_ms > command.now_ms {
            break;
        }
        image.prepared.remove(&(deadline_ms, id));
        mark(image, id, None, command.now_ms);
        count += 1;
    }
    Ok(Outcome::PreparedExpired { count })
}

pub(super) fn remove(image: &mut Image, command: &RemoveObjects) -> Result<Outcome, Rejection> {
    check_count("objects to remove", command.objects.len(), 0, MAX_OBJECTS_PER_COMMAND)?;
    for &object in &command.objects {
        if !matches!(image.object(object), None | Some(ObjectState::Marked { .. })) {
            return Err(Rejection::ObjectNotMarked { object });
        }
    }
    let mut count = 0;
    for &object in &command.objects {
        if let Some(ObjectState::Marked { at_ms, .. }) = image.objects.remove(&object) {
            image.marked.remove(&(at_ms, object));
            count += 1;
        }
    }
    Ok(Outcome::ObjectsRemoved { count })
}

/// FNV-1a over all that a commit says. It only has to tell a retry from a mistake, but for ever and on every
/// platform alike, which std's hashers do not promise.
fn fingerprint(size_bytes: u64, ranges: &[StreamRange]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |word: u64| {
        for byte in word.to_be_bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    add(size_bytes);
    for range in ranges {
        let StreamRange { stream, first, end, records, bytes, max_timestamp_ms, replaces_older } = *range;
        let timestamp = max_timestamp_ms.cast_unsigned();
        for word in [stream.0, first, end, records, bytes, timestamp, u64::from(replaces_older)] {
            add(word);
        }
    }
    hash
}
