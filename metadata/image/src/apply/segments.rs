//! WAL segments: opened once, closed once at an end that never changes, released when offloaded.

use std::sync::Arc;

use aquifer_types::{NodeId, SegmentId};

use super::{check_count, check_epoch};
use crate::command::{CloseSegment, OpenSegment, Outcome, ReleaseSegment};
use crate::entities::{Segment, SegmentState};
use crate::image::Image;
use crate::limits::MAX_SEGMENT_MEMBERS;
use crate::rejection::Rejection;

pub(super) fn open(image: &mut Image, command: &OpenSegment) -> Result<Outcome, Rejection> {
    check_epoch(image, command.node, command.broker_epoch)?;
    check_count("mirrors of a WAL segment", command.members.len(), 0, MAX_SEGMENT_MEMBERS)?;
    if let Some(unknown) = command.members.iter().find(|member| image.broker(member.node).is_none()) {
        return Err(Rejection::UnknownBroker { node: unknown.node });
    }
    let id = SegmentId::from(image.applied);
    let segment = Segment {
        id,
        owner: command.node,
        broker_epoch: command.broker_epoch,
        disk: command.disk,
        members: command.members.clone(),
        state: SegmentState::Open,
    };
    image.segments.insert(id, Arc::new(segment));
    Ok(Outcome::SegmentOpened { segment: id })
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
            let reason = format!("its owner was fenced by entry {at}, the recoverers decide its end");
            Err(Rejection::SegmentEndDecided { segment: id, end_lsn, reason })
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
