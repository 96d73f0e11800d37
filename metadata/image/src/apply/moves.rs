//! Partitions that go from one broker to another. No data goes with them: it is in the store.

use aquifer_types::NodeId;

use super::takeover::lead;
use super::{check_count, check_epoch};
use crate::command::{HandOver, HandedOver, MovePartition, MovePartitions, Outcome};
use crate::entities::Moving;
use crate::image::Image;
use crate::limits::{MAX_MOVES_PER_COMMAND, MAX_REPLICAS};
use crate::rejection::Rejection;

pub(super) fn start(image: &mut Image, command: &MovePartitions) -> Result<Outcome, Rejection> {
    check_count("partitions to move", command.moves.len(), 0, MAX_MOVES_PER_COMMAND)?;
    command.moves.iter().try_for_each(|asked| check(image, asked))?;
    for asked in &command.moves {
        begin(image, asked);
    }
    image.changed.topics = image.applied;
    Ok(Outcome::Done)
}

fn check(image: &Image, asked: &MovePartition) -> Result<(), Rejection> {
    let MovePartition { topic, index, to, replicas } = asked;
    if image.topic(*topic).is_none() {
        return Err(Rejection::UnknownTopicId { id: *topic });
    }
    let Some(partition) = image.partition(*topic, *index) else {
        return Err(Rejection::UnknownPartition { topic: *topic, index: *index });
    };
    if let Some(replicas) = replicas {
        check_count("replicas of a partition", replicas.len(), 1, MAX_REPLICAS)?;
    }
    let mut nodes = to.iter().chain(replicas.iter().flatten());
    if let Some(&node) = nodes.find(|node| image.broker(**node).is_none()) {
        return Err(Rejection::UnknownBroker { node });
    }
    let next = to.filter(|to| partition.leader != Some(*to)).and_then(|to| image.broker(to));
    match next.filter(|next| next.leaving.is_some()) {
        Some(next) => Err(Rejection::BrokerLeaving { node: next.node }),
        None => Ok(()),
    }
}

fn begin(image: &mut Image, asked: &MovePartition) {
    let key = (asked.topic, asked.index);
    if let Some(replicas) = &asked.replicas {
        image.assigned.insert(key, replicas.as_slice().into());
    }
    let at = image.applied;
    let partition = image.partitions.get_mut(&key).expect("it was checked");
    let to = asked.to.filter(|to| partition.leader != Some(*to));
    partition.moving = to.map(|to| match partition.moving {
        Some(present) if present.to == to => present,
        _ => Moving { to, asked_at: at },
    });
}

pub(super) fn hand_over(image: &mut Image, command: &HandOver) -> Result<Outcome, Rejection> {
    check_epoch(image, command.node, command.broker_epoch)?;
    check_count("partitions handed over", command.partitions.len(), 0, MAX_MOVES_PER_COMMAND)?;
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
