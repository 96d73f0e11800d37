//! What ten thousand partitions need: changes that concern few things find them without looking at all.

use aquifer_image::*;
use aquifer_types::NodeId;

use crate::fixture::{Cluster, NODE, create_topic, range, register};

fn cluster_of_ten_thousand() -> Cluster {
    let mut cluster = Cluster::new();
    let image = &mut cluster.image;
    let topic = create_topic("wide", &[NODE; 10_000]);
    image.apply(image.applied().next(), &topic.into()).expect("the topic is valid");
    cluster
}

#[test]
fn a_commit_of_all_partitions_fits_one_command() {
    let mut cluster = cluster_of_ten_thousand();
    let wide = cluster.topic("wide");
    let ranges: Vec<StreamRange> = cluster
        .image
        .partitions_of(wide)
        .flat_map(|(_, partition)| {
            let checkpoint = StreamRange { replaces_older: true, ..range(partition.meta, 0, 1) };
            [range(partition.data, 0, 10), checkpoint]
        })
        .collect();
    assert_eq!(ranges.len(), 20_000);
    let object = cluster.commit(ranges);
    let state = cluster.image.object(object).unwrap();
    assert!(matches!(state, ObjectState::Committed { live_ranges: 20_000, live_bytes: 1_100_000, .. }));

    let copy = decode_snapshot(&encode_snapshot(&cluster.image)).unwrap();
    assert_eq!(copy, cluster.image);
}

#[test]
fn a_registration_raises_ten_thousand_leader_epochs() {
    let mut cluster = cluster_of_ten_thousand();
    let older = cluster.image.clone();
    cluster.ok(register(NODE, 2));
    assert_eq!(cluster.image.partition_changes(&older).count(), 10_002);
    assert_eq!(cluster.image.led_count(NODE), 10_002);
    assert_eq!(older.partition(cluster.topic("wide"), 0).unwrap().leader_epoch.0, 0, "images are immutable");
    assert_eq!(cluster.image.led_count(NodeId(3)), 0);
}
