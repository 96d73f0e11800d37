//! Brokers on their way out of service, and nodes that are forgotten.

use std::sync::Arc;

use aquifer_types::{Counted, NodeId, TopicId};

use super::{check_epoch, left_by};
use crate::command::{ConfigResource, DrainBroker, Outcome, ResumeBroker, StopBroker, UnregisterBroker};
use crate::entities::Leaving;
use crate::image::Image;
use crate::rejection::Rejection;

pub(super) fn stop(image: &mut Image, command: &StopBroker) -> Result<Outcome, Rejection> {
    check_epoch(image, command.node, command.broker_epoch)?;
    leave(image, command.node, Leaving::Stop);
    Ok(Outcome::Done)
}

pub(super) fn drain(image: &mut Image, command: &DrainBroker) -> Result<Outcome, Rejection> {
    let DrainBroker { node, for_good } = *command;
    if image.broker(node).is_none() {
        return Err(Rejection::UnknownBroker { node });
    }
    leave(image, node, if for_good { Leaving::Decommission } else { Leaving::Drain });
    Ok(Outcome::Done)
}

/// The broker is known.
fn leave(image: &mut Image, node: NodeId, how: Leaving) {
    let broker = Arc::make_mut(image.brokers.get_mut(&node).expect("it was checked"));
    broker.leaving = broker.leaving.max(Some(how));
    image.changed.brokers = image.applied;
    // What is on its way there stays where it is.
    let coming: Vec<(TopicId, i32)> =
        image.moving().filter(|(_, to)| *to == node).map(|(key, _)| key).collect();
    for key in coming {
        image.partitions.get_mut(&key).expect("just listed").moving = None;
        image.changed.topics = image.applied;
    }
}

pub(super) fn resume(image: &mut Image, command: &ResumeBroker) -> Result<Outcome, Rejection> {
    let node = command.node;
    let was_forgotten = image.decommissioned.remove(&node).is_some();
    match image.brokers.get_mut(&node) {
        Some(broker) if broker.leaving.is_some_and(|leaving| leaving > Leaving::Stop) => {
            Arc::make_mut(broker).leaving = None;
            image.changed.brokers = image.applied;
        }
        Some(_) => {}
        None if was_forgotten => {}
        None => return Err(Rejection::UnknownBroker { node }),
    }
    Ok(Outcome::Done)
}

pub(super) fn unregister(image: &mut Image, command: &UnregisterBroker) -> Result<Outcome, Rejection> {
    let node = command.node;
    if let Some(broker) = image.broker(node) {
        let reason = match broker.leaving {
            Some(Leaving::Decommission) => left_of(image, node).into_iter().next(),
            _ => Some("it was not drained for good".to_owned()),
        };
        if let Some(reason) = reason {
            return Err(Rejection::BrokerInUse { node, reason });
        }
        forget(image, node);
    }
    image.decommissioned.insert(node);
    Ok(Outcome::Done)
}

/// See [`Image::left_of`].
pub(crate) fn left_of(image: &Image, node: NodeId) -> Vec<String> {
    let mut left = Vec::new();
    let led = image.led_count(node);
    if led > 0 {
        left.push(format!("it leads {}", Counted(led, "partition")));
    }
    let dead: Vec<_> = left_by(image, node).map(|segment| segment.id.to_string()).collect();
    if !dead.is_empty() {
        left.push(format!("its takeover is not over: WAL segments to be ended are {}", dead.join(", ")));
    }
    for segment in image.segments().filter(|segment| segment.owner != node) {
        if segment.members.iter().any(|member| member.node == node) {
            left.push(format!("WAL segment {} of broker {} has a copy on it", segment.id, segment.owner));
        }
    }
    left
}

fn forget(image: &mut Image, node: NodeId) {
    image.brokers.remove(&node);
    image.changed.brokers = image.applied;
    let own: Vec<_> = image.segments_of(node).map(|segment| segment.id).collect();
    for id in own {
        image.segments.remove(&id);
    }
    if image.configs.remove(&ConfigResource::Broker(Some(node))).is_some() {
        image.changed.configs = image.applied;
    }
    let assigned: Vec<_> = image
        .assigned
        .iter()
        .filter(|(_, replicas)| replicas.contains(&node))
        .map(|(key, replicas)| (*key, replicas.iter().copied().filter(|other| *other != node).collect()))
        .collect();
    for (key, replicas) in assigned {
        let replicas: Vec<NodeId> = replicas;
        match replicas.is_empty() {
            true => image.assigned.remove(&key),
            false => image.assigned.insert(key, replicas.into()),
        };
        image.changed.topics = image.applied;
    }
}
