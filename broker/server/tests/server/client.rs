//! A Kafka client over a pipe, made of the wire crate.

use aquifer_record::{BatchBuilder, Compression, NewRecord};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, FetchRequest, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use uuid::Uuid;

use crate::node::NOW_MS;

pub(crate) struct Client {
    pipe: DuplexStream,
    next_id: i32,
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

/// A batch with one record per value.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.push(NewRecord {
            timestamp_ms: NOW_MS,
            value: Some(value.as_bytes()),
            ..NewRecord::default()
        });
    }
    builder.build().freeze()
}

/// A Produce request of one batch. `id` names the topic from version 13 on.
pub(crate) fn produce(
    version: i16,
    name: &str,
    id: Uuid,
    index: i32,
    acks: i16,
    records: Bytes,
) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(index).with_records(Some(records));
    let mut topic_data = TopicProduceData::default().with_partition_data(vec![data]);
    if version >= 13 {
        topic_data.topic_id = id;
    } else {
        topic_data.name = topic(name);
    }
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic_data])
}

/// A Fetch request of one partition without a session.
pub(crate) fn fetch(version: i16, name: &str, id: Uuid, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let mut fetch_topic = FetchTopic::default().with_partitions(vec![partition]);
    if version >= 13 {
        fetch_topic.topic_id = id;
    } else {
        fetch_topic.topic = topic(name);
    }
    let mut request = FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(10 << 20)
        .with_topics(vec![fetch_topic]);
    if version >= 7 {
        request.session_epoch = -1;
    }
    if version < 15 {
        request.replica_id = BrokerId(-1);
    }
    request
}

impl Client {
    pub(crate) fn new(pipe: DuplexStream) -> Self {
        Self { pipe, next_id: 1 }
    }

    /// Sends a request without waiting; gives back its correlation id.
    pub(crate) async fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        self.send_as(version, version, request).await
    }

    /// Sends a request in the layout of one version under the number of another.
    pub(crate) async fn send_as<R: Request>(&mut self, number: i16, version: i16, request: &R) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(number)
            .with_correlation_id(id)
            .with_client_id(Some(text("test")));
        let mut body = BytesMut::new();
        header.encode(&mut body, R::header_version(version)).expect("header");
        request.encode(&mut body, version).unwrap_or_else(|error| panic!("request v{version}: {error}"));
        self.frame(&body).await;
        id
    }

    /// Sends the bytes of a frame.
    pub(crate) async fn frame(&mut self, body: &[u8]) {
        let mut frame = BytesMut::new();
        frame.put_i32(i32::try_from(body.len()).expect("small"));
        frame.put_slice(body);
        self.bytes(&frame).await;
    }

    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        self.pipe.write_all(bytes).await.expect("the server reads");
    }

    /// The next frame from the server; `None` when it closed.
    pub(crate) async fn reply(&mut self) -> Option<Bytes> {
        let mut size = [0; 4];
        self.pipe.read_exact(&mut size).await.ok()?;
        let mut frame = vec![0; u32::from_be_bytes(size) as usize];
        self.pipe.read_exact(&mut frame).await.ok()?;
        Some(frame.into())
    }

    /// The response to the request with that correlation id, which must be the next one.
    pub(crate) async fn receive<R: Request>(&mut self, version: i16, id: i32) -> R::Response {
        let mut frame = self.reply().await.expect("the connection is open");
        let header_version = <R::Response as HeaderVersion>::header_version(version);
        let header = ResponseHeader::decode(&mut frame, header_version).expect("header");
        assert_eq!(header.correlation_id, id);
        let response = R::Response::decode(&mut frame, version).expect("response");
        assert!(!frame.has_remaining(), "{} bytes behind the response", frame.len());
        response
    }

    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let id = self.send(version, request).await;
        self.receive::<R>(version, id).await
    }

    /// Creates a topic and tells its id.
    pub(crate) async fn create(&mut self, name: &str, partitions: i32) -> Uuid {
        let creatable = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(3);
        let request = CreateTopicsRequest::default().with_topics(vec![creatable]).with_timeout_ms(1_000);
        let created = self.call(7, &request).await.topics.remove(0);
        assert_eq!(created.error_code, 0, "{:?}", created.error_message);
        created.topic_id
    }

    /// Appends to partition 0 with acks=all.
    pub(crate) async fn produce(&mut self, name: &str, records: Bytes) -> PartitionProduceResponse {
        let request = produce(9, name, Uuid::nil(), 0, -1, records);
        self.call(9, &request).await.responses.remove(0).partition_responses.remove(0)
    }

    /// Reads partition 0.
    pub(crate) async fn fetch(&mut self, name: &str, offset: i64) -> PartitionData {
        let request = fetch(12, name, Uuid::nil(), offset);
        self.call(12, &request).await.responses.remove(0).partitions.remove(0)
    }
}
