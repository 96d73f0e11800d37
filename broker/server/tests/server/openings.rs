//! Produce that meets a partition which this broker leads and has not opened yet: its history is read from the store first.

use std::time::Duration;

use aquifer_image::{FenceBroker, TakeOver};
use aquifer_objects::{SimulatedStore, StoreFaults, StoreOptions};
use aquifer_record::{BatchBuilder, Compression, NewRecord};
use aquifer_runtime::{Clock, Random};
use aquifer_server::ServerConfig;
use aquifer_stream::StreamsConfig;
use aquifer_types::{NodeId, TopicId};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::ProduceRequest;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::client::{Client, produce};
use crate::node::{NODE, NOW_MS, Node};
use crate::reassignments::{reassign, second};

const OTHER: NodeId = NodeId(2);

/// A broker, and the partition that it led, gave away, and is about to take over.
struct Returning {
    node: Node,
    store: SimulatedStore,
    client: Client,
    topic: Uuid,
}

impl Returning {
    /// Producer 7 has sent sequence 0.
    async fn new() -> Self {
        let (clock, _) = Clock::simulated(NOW_MS);
        let store = SimulatedStore::new(1, StoreFaults::default(), clock.clone());
        let (attached, _) = store.attach(&StoreOptions::default(), clock, Random::seeded(2));
        let node = Node::start_in(attached, ServerConfig::new(NODE), StreamsConfig::default()).await;
        second(&node).await;
        let mut client = node.client();
        let topic = client.create("t", 1).await;
        let mut returning = Self { node, store, client, topic };
        assert_eq!(returning.send(7, 0).await, 0);
        assert_eq!(reassign(&mut returning.client, "t", 0, Some(&[2])).await, 0);
        while returning.leader() != Some(OTHER) {
            sleep(Duration::from_millis(1)).await;
        }
        returning
    }

    fn leader(&self) -> Option<NodeId> {
        self.node.metadata.image().partition(TopicId(self.topic), 0).and_then(|partition| partition.leader)
    }

    /// The other broker dies, and this one takes over.
    async fn take_over(&self) {
        let image = self.node.metadata.image();
        let epoch = |node| image.broker_epoch(node).expect("it is registered");
        let fence = FenceBroker { node: OTHER, broker_epoch: epoch(OTHER) };
        self.node.metadata.propose(fence).await.expect("it is fenced");
        let take_over = TakeOver {
            node: NODE,
            broker_epoch: epoch(NODE),
            owner: OTHER,
            segments: Vec::new(),
            objects: Vec::new(),
            leaders: vec![(TopicId(self.topic), 0, NODE)],
            now_ms: NOW_MS,
        };
        self.node.metadata.propose(take_over).await.expect("it is taken over");
    }

    fn batch(&self, producer: i64, sequence: i32) -> ProduceRequest {
        let mut builder = BatchBuilder::new(Compression::None).producer(producer, 0, sequence);
        builder.push(NewRecord { timestamp_ms: NOW_MS, value: Some(b"x"), ..NewRecord::default() });
        produce(13, "t", self.topic, 0, -1, builder.build().freeze())
    }

    async fn send(&mut self, producer: i64, sequence: i32) -> i16 {
        let request = self.batch(producer, sequence);
        let response = self.client.call(13, &request).await;
        response.responses[0].partition_responses[0].error_code
    }
}

#[tokio::test(start_paused = true)]
async fn produce_waits_for_a_partition_that_is_being_opened_and_keeps_its_order() {
    let mut returning = Returning::new().await;
    returning.store.set_faults(StoreFaults { latency_ms: 300, ..StoreFaults::default() });
    returning.take_over().await;
    let began = Instant::now();
    let mut sent = Vec::new();
    for sequence in 1..6 {
        let request = returning.batch(7, sequence);
        sent.push(returning.client.send(13, &request).await);
    }
    for (offset, correlation_id) in (1..).zip(sent) {
        let response = returning.client.receive::<ProduceRequest>(13, correlation_id).await;
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, offset));
    }
    assert!(began.elapsed() > Duration::from_millis(10), "the store was not asked: nothing is shown");
    returning.node.stop().await;
}

/// Told of a gap, librdkafka begins a new epoch; and a producer's first batch would be out of order behind its second.
#[tokio::test(start_paused = true)]
async fn behind_a_batch_that_came_before_a_partition_was_open_there_is_no_gap() {
    let mut returning = Returning::new().await;
    returning.store.set_faults(StoreFaults { down: true, ..StoreFaults::default() });
    returning.take_over().await;
    let not_leader = Code::NotLeaderOrFollower.code();
    let began = Instant::now();
    assert_eq!(returning.send(7, 1).await, not_leader);
    assert!(began.elapsed() >= Duration::from_secs(1), "it is waited for");
    returning.store.set_faults(StoreFaults::default());
    while returning.client.fetch("t", 0).await.error_code != 0 {
        assert!([0, not_leader].contains(&returning.send(8, 0).await));
        sleep(Duration::from_millis(100)).await;
    }
    // What was under way behind the first batch arrives now.
    assert_eq!(returning.send(7, 2).await, not_leader);
    assert_eq!(returning.send(9, 1).await, not_leader, "nobody knows this producer's first batch yet");
    for (producer, sequence) in [(7, 1), (7, 2), (9, 0), (9, 1)] {
        assert_eq!(returning.send(producer, sequence).await, 0, "{sequence} of producer {producer}");
    }
    sleep(Duration::from_secs(10)).await;
    let gap = returning.send(7, 4).await;
    assert_eq!(gap, Code::OutOfOrderSequenceNumber.code(), "this one is the producer's own");
    returning.node.stop().await;
}
