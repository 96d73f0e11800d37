use aquifer_image::*;
use aquifer_types::{LeaderEpoch, NodeId, TopicId};
use uuid::Uuid;

use crate::fixture::{Cluster, NODE, OTHER, create_topic, range, register};

#[test]
fn a_created_topic_is_found_with_its_partitions_and_streams() {
    let mut cluster = Cluster::new();
    let command = create_topic("orders", &[OTHER, NODE]);
    let id = command.id;
    assert_eq!(cluster.ok(command), Outcome::TopicCreated { id });

    let image = &cluster.image;
    assert_eq!(image.topic_by_name("orders").unwrap().id, id);
    assert_eq!(image.topics().map(|topic| &*topic.name).collect::<Vec<_>>(), ["orders", "t"]);
    let leaders: Vec<_> =
        image.partitions_of(id).map(|(index, p)| (index, p.leader, p.leader_epoch)).collect();
    assert_eq!(leaders, [(0, Some(OTHER), LeaderEpoch(0)), (1, Some(NODE), LeaderEpoch(0))]);
    let partition = cluster.partition("orders", 1);
    assert_eq!(cluster.stream(partition.data).kind, StreamKind::Data);
    assert_eq!(cluster.stream(partition.meta).kind, StreamKind::Meta);
    assert_eq!(image.stream_leader(partition.data), Some(NODE));
    assert_eq!(image.led_by(OTHER).collect::<Vec<_>>(), [(cluster.topic("t"), 2), (id, 0)]);
}

#[test]
fn a_retried_creation_is_a_success_and_another_topic_of_that_name_is_not() {
    let mut cluster = Cluster::new();
    let id = cluster.topic("t");
    let before = cluster.image.partition_count();
    assert_eq!(cluster.ok(create_topic("t", &[NODE])), Outcome::TopicCreated { id });
    assert_eq!(cluster.image.partition_count(), before);

    let another = CreateTopic { id: TopicId(Uuid::from_u128(99)), ..create_topic("t", &[NODE]) };
    assert_eq!(cluster.refused(another), Rejection::TopicExists { name: "t".to_owned(), id });
    let same_id = CreateTopic { id, ..create_topic("u", &[NODE]) };
    assert_eq!(cluster.refused(same_id), Rejection::TopicIdExists { id, name: "t".to_owned() });
}

#[test]
fn names_that_metrics_cannot_tell_apart_collide() {
    let mut cluster = Cluster::new();
    cluster.ok(create_topic("a.b", &[NODE]));
    let rejection = cluster.refused(create_topic("a_b", &[NODE]));
    assert_eq!(
        rejection,
        Rejection::TopicNameCollides { name: "a_b".to_owned(), existing: "a.b".to_owned() }
    );
    let deletion = cluster.delete_topic("a.b");
    cluster.ok(deletion);
    cluster.ok(create_topic("a_b", &[NODE]));
}

#[test]
fn what_kafka_refuses_is_refused() {
    let mut cluster = Cluster::new();
    let illegal = cluster.refused(create_topic("no spaces", &[NODE]));
    assert!(matches!(illegal, Rejection::InvalidTopicName(_)), "{illegal}");
    let empty = cluster.refused(create_topic("empty", &[]));
    assert!(matches!(empty, Rejection::InvalidPartitions { .. }), "{empty}");
    let unled = cluster.refused(create_topic("unled", &[NodeId(9)]));
    assert_eq!(unled, Rejection::UnknownBroker { node: NodeId(9) });
    let factor = CreateTopic { replication_factor: 0, ..create_topic("factor", &[NODE]) };
    assert!(matches!(cluster.refused(factor), Rejection::InvalidReplicationFactor { given: 0, .. }));
    let long = vec![("x".to_owned(), "y".repeat(MAX_CONFIG_VALUE_BYTES + 1))];
    let config = CreateTopic { configs: long, ..create_topic("config", &[NODE]) };
    assert!(matches!(cluster.refused(config), Rejection::InvalidConfig { .. }));
}

#[test]
fn partitions_are_added_behind_the_present_ones() {
    let mut cluster = Cluster::new();
    let id = cluster.topic("t");
    let grow = |total, leaders: &[NodeId]| CreatePartitions { id, total, leaders: leaders.to_vec() };
    cluster.ok(grow(5, &[OTHER, NODE]));
    assert_eq!(cluster.image.topic(id).unwrap().partition_count, 5);
    assert_eq!(cluster.partition("t", 3).leader, Some(OTHER));

    let shrink = cluster.refused(grow(5, &[]));
    assert_eq!(shrink.to_string(), "topic `t`: it has 5 partitions, which cannot become 5");
    assert!(matches!(cluster.refused(grow(9, &[NODE])), Rejection::InvalidPartitions { .. }));
    let unknown = CreatePartitions { id: TopicId::ZERO, total: 1, leaders: vec![NODE] };
    assert_eq!(cluster.refused(unknown), Rejection::UnknownTopicId { id: TopicId::ZERO });
}

#[test]
fn a_deleted_topic_takes_its_streams_along_and_releases_their_objects() {
    let mut cluster = Cluster::new();
    let (data, name_is_free_again) = (cluster.data(0), create_topic("t", &[NODE]));
    let object = cluster.commit(vec![range(data, 0, 5)]);
    let deletion = cluster.delete_topic("t");
    let id = deletion.id;
    cluster.ok(deletion.clone());

    assert!(cluster.image.topic_by_name("t").is_none());
    assert_eq!(cluster.image.partition(id, 0), None);
    assert_eq!(cluster.image.stream(data), None);
    assert_eq!(cluster.image.streams().count(), 0);
    assert!(matches!(cluster.image.object(object), Some(ObjectState::Marked { at_ms: 30, .. })));
    assert_eq!(cluster.image.led_count(NODE), 0);
    assert_eq!(cluster.refused(deletion), Rejection::UnknownTopicId { id });

    cluster.ok(name_is_free_again);
    assert_ne!(cluster.data(0), data, "stream ids are never used twice");
}

#[test]
fn configs_are_set_deleted_and_die_with_their_topic() {
    let mut cluster = Cluster::new();
    let topic = ConfigResource::Topic("t".to_owned());
    let alter = |resource: &ConfigResource, name: &str, value: Option<&str>| AlterConfigs {
        resource: resource.clone(),
        changes: vec![(name.to_owned(), value.map(str::to_owned))],
    };
    for resource in [topic.clone(), ConfigResource::Broker(None), ConfigResource::Broker(Some(NODE))] {
        cluster.ok(alter(&resource, "retention.ms", Some("1")));
        cluster.ok(alter(&resource, "retention.ms", Some("2")));
        assert_eq!(cluster.image.configs(&resource).unwrap().get("retention.ms").unwrap(), "2");
        cluster.ok(alter(&resource, "retention.ms", None));
        assert!(cluster.image.configs(&resource).is_none_or(Configs::is_empty));
    }
    cluster.ok(alter(&topic, "retention.ms", Some("3")));
    let deletion = cluster.delete_topic("t");
    cluster.ok(deletion);
    cluster.ok(create_topic("t", &[NODE]));
    assert!(cluster.image.configs(&topic).unwrap().is_empty());
    let unknown = ConfigResource::Topic("nowhere".to_owned());
    assert_eq!(
        cluster.refused(alter(&unknown, "a", None)),
        Rejection::UnknownTopicName { name: "nowhere".to_owned() }
    );
    assert!(matches!(cluster.refused(alter(&topic, "", Some("1"))), Rejection::InvalidConfig { .. }));
}

#[test]
fn a_follower_sees_exactly_what_changed() {
    let mut cluster = Cluster::new();
    let older = cluster.image.clone();
    let commit = vec![range(cluster.data(0), 0, 1)];
    cluster.commit(commit);
    assert_eq!(cluster.image.changed(), older.changed(), "a commit changes no topic");
    assert_eq!(cluster.image.partition_changes(&older).count(), 0);

    cluster.ok(create_topic("new", &[NODE]));
    cluster.ok(register(OTHER, 2));
    assert_ne!(cluster.image.changed().topics, older.changed().topics);
    let added: Vec<_> = cluster.image.topic_changes(&older).collect();
    assert!(matches!(added.as_slice(), [TopicChange::Added(topic)] if &*topic.name == "new"));
    let t = cluster.topic("t");
    let changed: Vec<_> = cluster.image.partition_changes(&older).collect();
    let raised = changed.iter().find(|change| change.topic == t).unwrap();
    assert_eq!((raised.index, changed.len()), (2, 2));
    assert_eq!(raised.new.unwrap().leader_epoch, LeaderEpoch(1));

    let newer = cluster.image.clone();
    let deletion = cluster.delete_topic("new");
    cluster.ok(deletion);
    let removed: Vec<_> = cluster.image.topic_changes(&newer).collect();
    assert!(matches!(removed.as_slice(), [TopicChange::Removed(topic)] if &*topic.name == "new"));
    assert!(cluster.image.partition_changes(&newer).all(|change| change.new.is_none()));
}
