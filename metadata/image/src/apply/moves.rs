//! Partitions that go from one broker to another. No data goes with them: it is in the store.

use aquifer_types::NodeId;

use super::takeover::lead;
use super::{check_count, check_epoch};
use crate::command::{HandOver, HandedOver, MovePartition, Outcome};
use crate::entities::{Moving, Partition};
use crate::image::Image;
use crate::limits::{MAX_HAND_OVERS_PER_COMMAND, MAX_REPLICAS};
use crate::rejection::Rejection;

pub(super) fn start(image: &mut Image, command: &MovePartition) -> Result<Outcome, Rejection> {
    let key = (command.topic, command.index);
    if image.topic(command.topic).is_none() {
        return Err(Rejection::UnknownTopicId { id: command.topic });
    }
    let Some(&partition) = image.partition(command.topic, command.index) else {
        let (topic, index) = key;
        return Err(Rejection::UnknownPartition { topic, index });
    };
    let nodes = command.to.iter().chain(command.replicas.iter().flatten());
    for &node in nodes {
        if image.broker(node).is_none() {
            return Err(Rejection::UnknownBroker { node });
        }
    }
    if let Some(replicas) = &command.replicas {
        check_count("replicas of a partition", replicas.len(), 1, MAX_REPLICAS)?;
        image.assigned.insert(key, replicas.as_slice().into());
    }
    // Without a leader, nobody hands over: the partition waits for its takeover, and moves then.
    let to = command.to.filter(|to| partition.leader != Some(*to));
    let moving = to.map(|to| match partition.moving {
        Some(present) if present.to == to => present,
        _ => Moving { to, asked_at: image.applied },
    });
    image.partitions.insert(key, Partition { moving, ..partition });
    image.changed.topics = image.applied;
    Ok(Outcome::Done)
}

pub(super) fn hand_over(image: &mut Image, command: &HandOver) -> Result<Outcome, Rejection> {
    check_epoch(image, command.node, command.broker_epoch)?;
    check_count("partitions handed over", command.partitions.len(), 0, MAX_HAND_OVERS_PER_COMMAND)?;
    let mut kept = Vec::new();
    for asked in &command.partitions {
        match may_go(image, command.node, asked) {
            Some(to) => lead(image, (asked.topic, asked.index), to),
            None => kept.push((asked.topic, asked.index)),
        }
    }
    Ok(Outcome::HandedOver { kept })
}

/// Whether the proposer leads the partition, is still asked to give it away, and left nothing of it in its WAL
/// (invariant L).
fn may_go(image: &Image, node: NodeId, asked: &HandedOver) -> Option<NodeId> {
    let partition = *image.partition(asked.topic, asked.index)?;
    let moving = partition.moving.filter(|moving| moving.asked_at == asked.asked_at)?;
    let lives = image.broker(moving.to).is_some_and(|broker| broker.fenced.is_none());
    let whole = image.stream(partition.data)?.end == asked.end;
    (partition.leader == Some(node) && lives && whole).then_some(moving.to)
}
