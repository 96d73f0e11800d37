//! The end of what a broker left in the WAL.
//!
//! One entry, because each part makes the others true: the ends are decided once, against the seal that the recoverer
//! asked the copies for; what lies before them is committed; and only then do the partitions get other leaders.

use std::collections::BTreeSet;

use aquifer_types::{NodeId, TopicId};

use super::objects::{self, Standing};
use super::{check_count, check_epoch};
use crate::command::{CommitObject, Outcome, RecoveredObject, SegmentEnd, TakeOver};
use crate::entities::{Segment, SegmentState};
use crate::image::Image;
use crate::limits::{MAX_OBJECTS_PER_COMMAND, MAX_PARTITIONS_PER_TOPIC};
use crate::rejection::Rejection;

pub(super) fn take_over(image: &mut Image, command: &TakeOver) -> Result<Outcome, Rejection> {
    check_epoch(image, command.node, command.broker_epoch)?;
    check_count("recovered objects", command.objects.len(), 0, MAX_OBJECTS_PER_COMMAND)?;
    check_count("partitions to move", command.leaders.len(), 0, MAX_PARTITIONS_PER_TOPIC)?;
    let commits: Vec<_> = command.objects.iter().map(|object| commit_of(command, object)).collect();
    if done_before(image, command, &commits)? {
        return Ok(Outcome::Done);
    }
    check_segments(image, command)?;
    check_leaders(image, command)?;
    let deadlines = check_commits(image, command, &commits)?;

    for (commit, deadline_ms) in commits.iter().zip(deadlines) {
        objects::carry_out(image, commit, deadline_ms);
    }
    // Closed, and nothing of them is in the WAL alone any more.
    for end in &command.segments {
        image.segments.remove(&end.segment);
    }
    for &(topic, partition, leader) in &command.leaders {
        lead(image, (topic, partition), leader);
    }
    Ok(Outcome::Done)
}

fn conflict(command: &TakeOver, reason: String) -> Rejection {
    Rejection::TakeOverConflict { owner: command.owner, reason }
}

fn commit_of(command: &TakeOver, recovered: &RecoveredObject) -> CommitObject {
    let RecoveredObject { object, size_bytes, ref ranges } = *recovered;
    let TakeOver { node, broker_epoch, now_ms, .. } = *command;
    CommitObject { node, broker_epoch, object, size_bytes, now_ms, ranges: ranges.clone() }
}

/// Whether this is a repetition: the segments are gone, and the objects are committed as they are named.
fn done_before(image: &Image, command: &TakeOver, commits: &[CommitObject]) -> Result<bool, Rejection> {
    let gone = command.segments.iter().all(|end| image.segment(end.segment).is_none());
    if !gone || commits.is_empty() {
        return Ok(gone && !command.segments.is_empty());
    }
    for commit in commits {
        if !matches!(objects::check_commit(image, commit, command.owner), Ok(Standing::Repeated)) {
            return Err(conflict(command, "another recoverer was faster".to_owned()));
        }
    }
    Ok(true)
}

/// The segments that only a takeover can end: mirrored ones of processes of the owner that are dead.
pub(crate) fn left_by(image: &Image, owner: NodeId) -> impl Iterator<Item = &Segment> {
    let present = image.broker(owner).filter(|broker| broker.fenced.is_none()).map(|broker| broker.epoch);
    image
        .segments_of(owner)
        .filter(move |segment| !segment.members.is_empty() && Some(segment.broker_epoch) != present)
}

/// All that was left is named, each with the seal that its end was found under, or the end that it has.
fn check_segments(image: &Image, command: &TakeOver) -> Result<(), Rejection> {
    let named: BTreeSet<_> = command.segments.iter().map(|end| end.segment).collect();
    let left: BTreeSet<_> = left_by(image, command.owner).map(|segment| segment.id).collect();
    if named != left || named.len() != command.segments.len() {
        return Err(conflict(command, format!("it names the segments {named:?}, left are {left:?}")));
    }
    for &SegmentEnd { segment: id, sealed_at, end_lsn } in &command.segments {
        let segment = image.segment(id).expect("the sets are equal");
        let fits = match segment.state {
            SegmentState::Open => false,
            SegmentState::Sealing { at } => sealed_at == Some(at),
            SegmentState::Closed { end_lsn: decided } => decided == end_lsn,
        };
        if !fits {
            let state = segment.state;
            return Err(conflict(command, format!("segment {id} is {state:?} by now")));
        }
        if segment.continues.is_some_and(|(_, base)| end_lsn < base) {
            return Err(conflict(command, format!("segment {id} cannot end before it begins, at {end_lsn}")));
        }
    }
    Ok(())
}

/// Each range continues its stream, which the owner leads; no stream is in two objects, so that the order does not matter.
fn check_commits(image: &Image, command: &TakeOver, commits: &[CommitObject]) -> Result<Vec<i64>, Rejection> {
    let (mut streams, mut ids, mut deadlines) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for commit in commits {
        let Standing::New { deadline_ms } = objects::check_commit(image, commit, command.owner)? else {
            return Err(conflict(command, format!("object {} is committed already", commit.object)));
        };
        deadlines.push(deadline_ms);
        let once =
            ids.insert(commit.object) && commit.ranges.iter().all(|range| streams.insert(range.stream));
        if !once {
            return Err(conflict(
                command,
                format!("object {} or a stream of it is named twice", commit.object),
            ));
        }
    }
    Ok(deadlines)
}

/// Partitions move from an owner that is fenced to brokers that live, each once.
///
/// One that came back leads on, and may have acknowledged what is in a segment of its new process by now. No seal tells
/// that: there need not be a segment that both entries name.
fn check_leaders(image: &Image, command: &TakeOver) -> Result<(), Rejection> {
    let live = image.broker(command.owner).is_some_and(|owner| owner.fenced.is_none());
    if live && !command.leaders.is_empty() {
        return Err(conflict(command, "the broker came back and leads on".to_owned()));
    }
    let mut moved = BTreeSet::new();
    for &(topic, partition, leader) in &command.leaders {
        let led = image.partition(topic, partition).and_then(|partition| partition.leader);
        if led != Some(command.owner) || !moved.insert((topic, partition)) {
            return Err(conflict(command, format!("{topic}-{partition} is led by {led:?}, or named twice")));
        }
        if image.broker(leader).is_none_or(|broker| broker.fenced.is_some()) {
            return Err(conflict(command, format!("broker {leader} cannot lead {topic}-{partition}")));
        }
    }
    // Without mirrors the tail is on the owner's disk alone: its partitions wait for it.
    let local = image.segments_of(command.owner).find(|segment| segment.members.is_empty());
    match local {
        Some(segment) if !command.leaders.is_empty() => Err(conflict(
            command,
            format!("segment {} has no mirrors: only its owner can end it", segment.id),
        )),
        _ => Ok(()),
    }
}

/// Gives a partition that exists another leader. A move that was asked of the old one is over: it would be the new
/// one's to do, which nobody asked.
pub(super) fn lead(image: &mut Image, key: (TopicId, i32), leader: NodeId) {
    let partition = image.partitions.get_mut(&key).expect("it was checked");
    if let Some(old) = partition.leader.replace(leader) {
        let led = image.led.get_mut(&old).expect("the led index knows each leader");
        led.remove(&key);
        if led.is_empty() {
            image.led.remove(&old);
        }
    }
    partition.leader_epoch = partition.leader_epoch.next();
    partition.moving = None;
    image.led.entry(leader).or_default().insert(key);
    image.changed.topics = image.applied;
}
