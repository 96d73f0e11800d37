//! WAL segments: opened once, closed once at an end that never changes, released when offloaded.

use std::sync::Arc;

use aquifer_types::{BrokerEpoch, DiskId, LogIndex, NodeId, SegmentId};

use super::{check_count, check_epoch};
use crate::command::{CloseSegment, OpenSegment, Outcome, ReleaseSegment, RollSegment};
use crate::entities::{Segment, SegmentMember, SegmentState};
use crate::image::Image;
use crate::limits::MAX_SEGMENT_MEMBERS;
use crate::rejection::Rejection;

pub(super) fn open(image: &mut Image, command: &OpenSegment) -> Result<Outcome, Rejection> {
    check_epoch(image, command.node, command.broker_epoch)?;
    check_members(image, command.node, &command.members, command.needed)?;
    let OpenSegment { node, broker_epoch, disk, ref members, needed } = *command;
    let segment = insert(image, Opening { node, broker_epoch, disk, members, needed, continues: None });
    Ok(Outcome::SegmentOpened { segment })
}

pub(super) fn roll(image: &mut Image, command: &RollSegment) -> Result<Outcome, Rejection> {
    let RollSegment { segment: id, end_lsn, node, broker_epoch, disk, ref members, needed } = *command;
    check_epoch(image, node, broker_epoch)?;
    check_members(image, node, members, needed)?;
    let continues = Some((id, end_lsn));
    if let Some(next) = image.segments_of(node).find(|segment| segment.continues == continues) {
        return Ok(Outcome::SegmentOpened { segment: next.id });
    }
    let segment = owned(image, id, node)?.ok_or(Rejection::UnknownSegment { segment: id })?;
    let reason = match segment.state {
        SegmentState::Open if segment.broker_epoch != broker_epoch => {
            "an earlier process of its owner wrote it".to_owned()
        }
        SegmentState::Open => {
            let segment = image.segments.get_mut(&id).expect("just looked up");
            Arc::make_mut(segment).state = SegmentState::Closed { end_lsn };
            let segment = insert(image, Opening { node, broker_epoch, disk, members, needed, continues });
            return Ok(Outcome::SegmentOpened { segment });
        }
        SegmentState::Closed { end_lsn } => format!("it is closed at LSN {end_lsn}"),
        SegmentState::Sealing { at } => sealed(at),
    };
    Err(Rejection::SegmentEndDecided { segment: id, end_lsn, reason })
}

fn sealed(at: LogIndex) -> String {
    format!("its owner was fenced by entry {at}, the recoverers decide its end")
}

/// A segment that is about to be opened.
struct Opening<'a> {
    node: NodeId,
    broker_epoch: BrokerEpoch,
    disk: DiskId,
    members: &'a [SegmentMember],
    needed: u32,
    continues: Option<(SegmentId, u64)>,
}

fn insert(image: &mut Image, opening: Opening<'_>) -> SegmentId {
    let Opening { node, broker_epoch, disk, members, needed, continues } = opening;
    let (id, state) = (SegmentId::from(image.applied), SegmentState::Open);
    let (owner, members) = (node, members.to_vec());
    let segment = Segment { id, owner, broker_epoch, disk, members, state, needed, continues };
    image.segments.insert(id, Arc::new(segment));
    id
}

/// Mirrors are other brokers, each once, and an acknowledgement takes one to all of the copies.
fn check_members(
    image: &Image,
    owner: NodeId,
    members: &[SegmentMember],
    needed: u32,
) -> Result<(), Rejection> {
    check_count("mirrors of a WAL segment", members.len(), 0, MAX_SEGMENT_MEMBERS)?;
    check_count("copies for an acknowledgement", needed as usize, 0, members.len() + 1)?;
    for (at, member) in members.iter().enumerate() {
        if image.broker(member.node).is_none() {
            return Err(Rejection::UnknownBroker { node: member.node });
        }
        if member.node == owner || members[..at].iter().any(|other| other.node == member.node) {
            return Err(Rejection::InvalidMembers { owner, twice: member.node });
        }
    }
    Ok(())
}

pub(super) fn close(image: &mut Image, command: &CloseSegment) -> Result<Outcome, Rejection> {
    check_epoch(image, command.node, command.broker_epoch)?;
    let id = command.segment;
    let end_lsn = command.end_lsn;
    let segment = owned(image, id, command.node)?.ok_or(Rejection::UnknownSegment { segment: id })?;
    match segment.state {
        SegmentState::Open => {
            let segment = image.segments.get_mut(&id).expect("just looked up");
            Arc::make_mut(segment).state = SegmentState::Closed { end_lsn };
            Ok(Outcome::Done)
        }
        SegmentState::Closed { end_lsn: decided } if decided == end_lsn => Ok(Outcome::Done),
        SegmentState::Closed { end_lsn: decided } => {
            let reason = format!("it is closed at LSN {decided}");
            Err(Rejection::SegmentEndDecided { segment: id, end_lsn, reason })
        }
        SegmentState::Sealing { at } => {
            Err(Rejection::SegmentEndDecided { segment: id, end_lsn, reason: sealed(at) })
        }
    }
}

pub(super) fn release(image: &mut Image, command: &ReleaseSegment) -> Result<Outcome, Rejection> {
    check_epoch(image, command.node, command.broker_epoch)?;
    let id = command.segment;
    match owned(image, id, command.node)? {
        None => Ok(Outcome::Done),
        Some(segment) if matches!(segment.state, SegmentState::Closed { .. }) => {
            image.segments.remove(&id);
            Ok(Outcome::Done)
        }
        Some(_) => Err(Rejection::SegmentNotClosed { segment: id }),
    }
}

/// The segment if it exists, refused if it is another node's.
fn owned(image: &Image, id: SegmentId, node: NodeId) -> Result<Option<&Segment>, Rejection> {
    match image.segment(id) {
        Some(segment) if segment.owner != node => {
            Err(Rejection::ForeignSegment { segment: id, owner: segment.owner, node })
        }
        found => Ok(found),
    }
}
