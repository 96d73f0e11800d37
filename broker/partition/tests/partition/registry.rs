//! Following the image.

use aquifer_image::CreatePartitions;
use aquifer_partition::{LookupError, ReadError, ReadRequest};
use aquifer_types::TopicId;

use crate::batches::{batch, consume, produce, request};
use crate::machine::{Machine, NODE};

#[tokio::test]
async fn partitions_come_and_go_with_their_topics() {
    let machine = Machine::new(40).await;
    let node = machine.start().await;
    let mut changes = node.partitions.changes();
    let partition = node.create("t", 1, &[]).await;
    let id = partition.id().topic_id;
    assert!(changes.has_changed().unwrap());
    assert!(matches!(node.partitions.get(id, 1), Err(LookupError::UnknownPartition { index: 1 })));
    assert!(matches!(node.partitions.get(TopicId::ZERO, 0), Err(LookupError::UnknownTopicId)));
    assert!(matches!(node.partitions.get_by_name("u", 0), Err(LookupError::UnknownTopic)));

    let more = CreatePartitions { id, total: 3, leaders: vec![NODE; 2] };
    node.metadata.propose(more).await.unwrap();
    let third = node.partitions.get(id, 2).unwrap();
    produce(&third, batch(&["c"])).await.unwrap();
    produce(&partition, batch(&["a"])).await.unwrap();

    changes.mark_unchanged();
    node.delete(id, 0).await;
    while !partition.is_closed() {
        changes.changed().await.unwrap();
    }
    assert!(partition.append(batch(&["late"]), &request()).is_err());
    let read = partition.read(&ReadRequest::new(0, 100)).await;
    assert!(matches!(read, Err(ReadError::NotLeader)));
    assert!(matches!(node.partitions.get(id, 0), Err(LookupError::UnknownTopicId)));

    let again = node.create("t", 1, &[]).await;
    assert_eq!(again.log_end_offset(), 0, "a topic that is made again is empty");
    produce(&again, batch(&["new"])).await.unwrap();
    assert_eq!(consume(&again, 0, 100).await, [(0, "new".to_owned())]);
}
