//! The cluster itself, its brokers, configs and producer ids.

use std::sync::Arc;

use aquifer_types::{BrokerEpoch, NodeId, ProducerId};

use super::{check_count, check_epoch};
use crate::command::{
    AllocateProducerIds, AlterConfigs, Bootstrap, ConfigResource, FenceBroker, OfferMirror, Outcome,
    RegisterBroker,
};
use crate::entities::{Broker, Leaving, Segment, SegmentState};
use crate::image::{Configs, Image};
use crate::limits::{
    MAX_CONFIG_NAME_BYTES, MAX_CONFIG_VALUE_BYTES, MAX_CONFIGS_PER_RESOURCE, MAX_ENDPOINTS,
    MAX_PRODUCER_IDS_PER_BLOCK,
};
use crate::rejection::Rejection;

pub(super) fn bootstrap(image: &mut Image, command: &Bootstrap) -> Result<Outcome, Rejection> {
    match image.cluster_id {
        Some(present) if present != command.cluster_id => {
            Err(Rejection::OtherCluster { present, asked: command.cluster_id })
        }
        Some(_) => Ok(Outcome::Done),
        None => {
            image.cluster_id = Some(command.cluster_id);
            // 0 is no stream and no object, so that zeroed bytes never name one.
            image.next_stream = 1;
            image.next_object = 1;
            Ok(Outcome::Done)
        }
    }
}

pub(super) fn register_broker(image: &mut Image, command: &RegisterBroker) -> Result<Outcome, Rejection> {
    let node = command.node;
    if node > NodeId::MAX {
        let reason = format!("a node id is at most {}", NodeId::MAX);
        return Err(Rejection::InvalidRegistration { node, reason });
    }
    if command.endpoints.is_empty() {
        let reason = "it names no endpoint where clients could reach it".to_owned();
        return Err(Rejection::InvalidRegistration { node, reason });
    }
    check_count("endpoints of a broker", command.endpoints.len(), 1, MAX_ENDPOINTS)?;
    if image.is_decommissioned(node) {
        return Err(Rejection::Decommissioned { node });
    }
    let leaving = image.broker(node).and_then(|broker| broker.leaving);

    let present = image.broker(node).filter(|present| present.incarnation == command.incarnation);
    let (epoch, new_process, mirror_disk, leaving) = match present {
        // What was taken for dead does not come back to life: a process that is alive starts over.
        Some(Broker { fenced: Some(at), .. }) => return Err(Rejection::BrokerFenced { node, at: *at }),
        Some(present) => (present.epoch, false, present.mirror_disk, leaving),
        // Who was stopping has stopped; what an operator asked for holds on.
        None => {
            let leaving = leaving.filter(|leaving| *leaving != Leaving::Stop);
            (BrokerEpoch::from(image.applied), true, None, leaving)
        }
    };
    let broker = Broker {
        node,
        epoch,
        incarnation: command.incarnation,
        endpoints: command.endpoints.clone(),
        rack: command.rack.clone(),
        mirror_disk,
        fenced: None,
        leaving,
    };
    image.brokers.insert(node, Arc::new(broker));
    image.changed.brokers = image.applied;
    if new_process {
        grant_leadership_again(image, node);
        seal_segments(image, node);
    }
    Ok(Outcome::BrokerRegistered { epoch })
}

pub(super) fn offer_mirror(image: &mut Image, command: &OfferMirror) -> Result<Outcome, Rejection> {
    let OfferMirror { node, broker_epoch, disk } = *command;
    check_epoch(image, node, broker_epoch)?;
    let broker = image.brokers.get_mut(&node).expect("its epoch was checked");
    Arc::make_mut(broker).mirror_disk = Some(disk);
    image.changed.brokers = image.applied;
    Ok(Outcome::Done)
}

pub(super) fn fence_broker(image: &mut Image, command: &FenceBroker) -> Result<Outcome, Rejection> {
    let FenceBroker { node, broker_epoch } = *command;
    match check_epoch(image, node, broker_epoch) {
        Err(Rejection::BrokerFenced { .. }) => return Ok(Outcome::Done),
        checked => checked?,
    }
    let at = image.applied;
    let broker = image.brokers.get_mut(&node).expect("its epoch was checked");
    Arc::make_mut(broker).fenced = Some(at);
    image.changed.brokers = at;
    seal_segments(image, node);
    Ok(Outcome::Done)
}

/// The node's earlier process is dead: others find out where its mirrored segments end. A segment without mirrors
/// can only be closed by who has its disk.
fn seal_segments(image: &mut Image, owner: NodeId) {
    let at = image.applied;
    let of_owner = |segment: &Segment| {
        segment.owner == owner
            && !segment.members.is_empty()
            && !matches!(segment.state, SegmentState::Closed { .. })
    };
    let ids: Vec<_> =
        image.segments().filter(|segment| of_owner(segment)).map(|segment| segment.id).collect();
    for id in ids {
        let segment = image.segments.get_mut(&id).expect("just listed");
        Arc::make_mut(segment).state = SegmentState::Sealing { at };
    }
}

/// What the node's earlier process may still append must not pass for the new one's.
fn grant_leadership_again(image: &mut Image, node: NodeId) {
    let Some(led) = image.led.get(&node).cloned() else { return };
    for key in &led {
        let partition = image.partitions.get_mut(key).expect("the led index names partitions that exist");
        partition.leader_epoch = partition.leader_epoch.next();
        image.changed.topics = image.applied;
    }
}

pub(super) fn alter_configs(image: &mut Image, command: &AlterConfigs) -> Result<Outcome, Rejection> {
    let mut configs = match &command.resource {
        ConfigResource::Topic(name) => match image.topic_by_name(name) {
            Some(topic) => topic.configs.clone(),
            None => return Err(Rejection::UnknownTopicName { name: name.clone() }),
        },
        resource => image.configs.get(resource).cloned().unwrap_or_default(),
    };
    for (name, value) in &command.changes {
        check_config(name, value.as_deref())?;
        match value {
            Some(value) => configs.insert(name.clone(), value.clone()),
            None => configs.remove(name),
        };
    }
    check_count("configs of a resource", configs.len(), 0, MAX_CONFIGS_PER_RESOURCE)?;
    keep_configs(image, &command.resource, configs);
    Ok(Outcome::Done)
}

fn keep_configs(image: &mut Image, resource: &ConfigResource, configs: Configs) {
    match resource {
        ConfigResource::Topic(name) => {
            let id = image.topic_names.get(name.as_str()).expect("checked: the topic exists");
            let topic = image.topics.get_mut(id).expect("the name index names topics that exist");
            Arc::make_mut(topic).configs = configs;
            image.changed.topics = image.applied;
        }
        resource => {
            if configs.is_empty() {
                image.configs.remove(resource);
            } else {
                image.configs.insert(resource.clone(), configs);
            }
            image.changed.configs = image.applied;
        }
    }
}

/// A config's name and value can be kept.
pub(super) fn check_config(name: &str, value: Option<&str>) -> Result<(), Rejection> {
    let reason = if name.is_empty() {
        "a config needs a name".to_owned()
    } else if name.len() > MAX_CONFIG_NAME_BYTES {
        format!("the name has {} bytes, at most {MAX_CONFIG_NAME_BYTES} are allowed", name.len())
    } else if let Some(value) = value.filter(|value| value.len() > MAX_CONFIG_VALUE_BYTES) {
        format!("the value has {} bytes, at most {MAX_CONFIG_VALUE_BYTES} are allowed", value.len())
    } else {
        return Ok(());
    };
    Err(Rejection::InvalidConfig { name: name.chars().take(64).collect(), reason })
}

pub(super) fn allocate_producer_ids(
    image: &mut Image,
    command: &AllocateProducerIds,
) -> Result<Outcome, Rejection> {
    check_epoch(image, command.node, command.broker_epoch)?;
    let count = command.count;
    check_count("producer ids in a block", count as usize, 1, MAX_PRODUCER_IDS_PER_BLOCK as usize)?;
    let first = image.next_producer;
    let Some(next) = first.checked_add(i64::from(count)) else {
        return Err(Rejection::Exhausted { what: "producer ids".to_owned() });
    };
    image.next_producer = next;
    Ok(Outcome::ProducerIds { first: ProducerId(first), count })
}
