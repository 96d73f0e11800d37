//! A small cluster to make scenarios short.

use aquifer_image::*;
use aquifer_types::{BrokerEpoch, ClusterId, NodeId, ObjectId, StreamId, TopicId};
use uuid::Uuid;

pub(crate) const NODE: NodeId = NodeId(1);
pub(crate) const OTHER: NodeId = NodeId(2);

/// An image with the present epochs of its brokers at hand.
pub(crate) struct Cluster {
    pub(crate) image: Image,
}

impl Cluster {
    /// Two brokers, and topic `t` with two partitions led by [`NODE`] and one led by [`OTHER`].
    pub(crate) fn new() -> Self {
        let mut cluster = Self { image: Image::new() };
        cluster.ok(Bootstrap { cluster_id: ClusterId(Uuid::from_u128(7)) });
        cluster.ok(register(NODE, 1));
        cluster.ok(register(OTHER, 1));
        cluster.ok(create_topic("t", &[NODE, NODE, OTHER]));
        cluster
    }

    pub(crate) fn apply(&mut self, command: impl Into<Command>) -> Result<Outcome, Rejection> {
        let answer = self.image.apply(self.image.applied().next(), &command.into());
        self.image.check().expect("every command keeps the invariants");
        answer
    }

    pub(crate) fn ok(&mut self, command: impl Into<Command>) -> Outcome {
        self.apply(command).expect("the command is valid")
    }

    pub(crate) fn refused(&mut self, command: impl Into<Command>) -> Rejection {
        let mut before = self.image.clone();
        let rejection = self.apply(command).expect_err("the command is not valid");
        before.advance(self.image.applied());
        assert_eq!(before, self.image, "a refused command changed the image");
        rejection
    }

    pub(crate) fn epoch(&self, node: NodeId) -> BrokerEpoch {
        self.image.broker_epoch(node).expect("the fixture registered it")
    }

    pub(crate) fn topic(&self, name: &str) -> TopicId {
        self.image.topic_by_name(name).expect("the test created it").id
    }

    pub(crate) fn partition(&self, name: &str, index: i32) -> Partition {
        *self.image.partition(self.topic(name), index).expect("the test created it")
    }

    /// Data stream of a partition of `t`.
    pub(crate) fn data(&self, index: i32) -> StreamId {
        self.partition("t", index).data
    }

    pub(crate) fn stream(&self, id: StreamId) -> Stream {
        *self.image.stream(id).expect("the test created it")
    }

    /// One prepared object, at time 0 with a limit of 100.
    pub(crate) fn prepare(&mut self) -> ObjectId {
        let broker_epoch = self.epoch(NODE);
        match self.ok(PrepareObjects { node: NODE, broker_epoch, count: 1, now_ms: 0, time_limit_ms: 100 }) {
            Outcome::ObjectsPrepared { first, count: 1 } => first,
            other => panic!("{other:?}"),
        }
    }

    /// A commit of [`NODE`] at time 10.
    pub(crate) fn commit_of(&self, object: ObjectId, ranges: Vec<StreamRange>) -> CommitObject {
        let broker_epoch = self.epoch(NODE);
        CommitObject { node: NODE, broker_epoch, object, size_bytes: 10_000, now_ms: 10, ranges }
    }

    /// Prepares and commits an object.
    pub(crate) fn commit(&mut self, ranges: Vec<StreamRange>) -> ObjectId {
        let object = self.prepare();
        let command = self.commit_of(object, ranges);
        assert_eq!(self.ok(command), Outcome::ObjectCommitted { gone: Vec::new() });
        object
    }

    /// Trims a stream at time 20.
    pub(crate) fn trim(&self, stream: StreamId, start: u64) -> TrimStreams {
        let broker_epoch = self.epoch(NODE);
        TrimStreams { node: NODE, broker_epoch, now_ms: 20, trims: vec![(stream, start)] }
    }

    pub(crate) fn delete_topic(&self, name: &str) -> DeleteTopic {
        DeleteTopic { id: self.topic(name), now_ms: 30 }
    }

    pub(crate) fn is_marked(&self, object: ObjectId) -> bool {
        matches!(self.image.object(object), Some(ObjectState::Marked { .. }))
    }
}

pub(crate) fn register(node: NodeId, incarnation: u128) -> RegisterBroker {
    let endpoint = Endpoint {
        listener: "PLAINTEXT".to_owned(),
        host: format!("node-{node}"),
        port: 9092,
        security: SecurityProtocol::Plaintext,
    };
    let incarnation = Uuid::from_u128(incarnation);
    RegisterBroker { node, incarnation, endpoints: vec![endpoint], rack: Some("r1".to_owned()) }
}

/// A topic whose id is made from its name.
pub(crate) fn create_topic(name: &str, leaders: &[NodeId]) -> CreateTopic {
    let id = name.bytes().fold(1_u128, |id, byte| (id << 8) | u128::from(byte));
    CreateTopic {
        name: name.to_owned(),
        id: TopicId(Uuid::from_u128(id)),
        replication_factor: 3,
        configs: Vec::new(),
        leaders: leaders.to_vec(),
    }
}

/// A range of 10 bytes per offset whose newest record has the time of its last offset.
pub(crate) fn range(stream: StreamId, first: u64, end: u64) -> StreamRange {
    let records = end.saturating_sub(first);
    StreamRange {
        stream,
        first,
        end,
        records,
        bytes: records.saturating_mul(10),
        max_timestamp_ms: end.saturating_sub(1).cast_signed(),
        replaces_older: false,
    }
}
