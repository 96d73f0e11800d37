//! Produce, Fetch and the offsets between them.

use aquifer_record::{BatchBuilder, Batches, Compression, NewRecord, patch_offset_and_epoch};
use aquifer_server::ServerConfig;
use aquifer_stream::{Durability, StreamsConfig};
use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteTopicsRequest, FetchRequest, FetchResponse, InitProducerIdRequest,
    ListOffsetsRequest, ProduceRequest, TransactionalId,
};
use std::time::Duration;
use uuid::Uuid;

use crate::client::{Client, batch, fetch, produce, text, topic};
use crate::node::{NODE, NOW_MS, Node};

/// A sent batch as the log keeps it.
fn stored(sent: &Bytes, base_offset: i64) -> Bytes {
    let mut bytes = BytesMut::from(&sent[..]);
    patch_offset_and_epoch(&mut bytes, base_offset, 0);
    bytes.freeze()
}

fn records(response: FetchResponse) -> Bytes {
    let partition = &response.responses[0].partitions[0];
    assert_eq!(partition.error_code, 0);
    partition.records.clone().expect("never null")
}

#[tokio::test(start_paused = true)]
async fn every_version_of_produce_is_read_back_by_every_version_of_fetch() {
    let node = Node::start().await;
    let mut client = node.client();
    let id = client.create("t", 1).await;
    let mut log = Vec::new();
    for version in 3..=13 {
        let sent = batch(&[&format!("version {version}"), "second"]);
        let response = client.call(version, &produce(version, "t", id, 0, -1, sent.clone())).await;
        let partition = &response.responses[0].partition_responses[0];
        let base_offset = 2 * i64::from(version - 3);
        assert_eq!((partition.error_code, partition.base_offset), (0, base_offset), "v{version}");
        assert_eq!(partition.log_append_time_ms, -1);
        log.extend_from_slice(&stored(&sent, base_offset));
    }
    for version in 4..=18 {
        let response = client.call(version, &fetch(version, "t", id, 0)).await;
        let partition = &response.responses[0].partitions[0];
        assert_eq!((partition.high_watermark, partition.last_stable_offset), (22, 22), "v{version}");
        assert_eq!(records(response), log, "v{version}");
    }
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_fetch_from_the_middle_of_a_batch_gets_the_whole_batch_even_over_the_limit() {
    let node = Node::start().await;
    let mut client = node.client();
    let id = client.create("t", 1).await;
    let first = batch(&["a", "b", "c"]);
    for sent in [first.clone(), batch(&["d"])] {
        client.produce("t", sent).await;
    }
    let mut request = fetch(13, "t", id, 1);
    request.topics[0].partitions[0].partition_max_bytes = 1;
    assert_eq!(records(client.call(13, &request).await), stored(&first, 0));
    request.max_bytes = 0;
    assert_eq!(records(client.call(13, &request).await), stored(&first, 0));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pipelined_produces_get_their_offsets_and_replies_in_order() {
    let node = Node::start().await;
    let mut client = node.client();
    let id = client.create("t", 1).await;
    let mut sent = Vec::new();
    for number in 0..20 {
        let request = produce(13, "t", id, 0, -1, batch(&[&format!("{number}")]));
        sent.push(client.send(13, &request).await);
    }
    let last = client.send(13, &fetch(13, "t", id, 0)).await;
    for (offset, correlation_id) in sent.into_iter().enumerate() {
        let response = client.receive::<ProduceRequest>(13, correlation_id).await;
        assert_eq!(response.responses[0].partition_responses[0].base_offset, offset as i64);
    }
    client.receive::<FetchRequest>(13, last).await;
    node.stop().await;
}

/// Kafka answers acks=1 from the leader's log, and looks at no timeout. Told of one, a producer would send again what is there.
#[tokio::test(start_paused = true)]
async fn acks_1_has_no_timeout_that_ends_before_the_leaders_own_disk_can_answer() {
    let node = Node::start().await;
    let mut client = node.client();
    let id = client.create("t", 1).await;
    for offset in 0..20 {
        let request = produce(13, "t", id, 0, 1, batch(&["x"])).with_timeout_ms(0);
        let response = client.call(13, &request).await;
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, offset));
    }
    node.stop().await;
}

/// Where each partition waits for its own upload, one that goes away says nothing about the others: told so, a plain producer
/// would send theirs again.
#[tokio::test(start_paused = true)]
async fn of_a_request_for_several_partitions_each_is_answered_for_itself() {
    let upload_age = Duration::from_secs(5);
    let streams = StreamsConfig { durability: Durability::Store, upload_age, ..StreamsConfig::default() };
    let node = Node::start_on(ServerConfig::new(NODE), streams).await;
    let (mut client, mut admin) = (node.client(), node.client());
    let [goes, stays] = [client.create("goes", 1).await, client.create("stays", 1).await];
    let mut request = produce(13, "goes", goes, 0, -1, batch(&["x"]));
    request.topic_data.extend(produce(13, "stays", stays, 0, -1, batch(&["y"])).topic_data);
    let sent = client.send(13, &request).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let deletion =
        DeleteTopicsRequest::default().with_topic_names(vec![topic("goes")]).with_timeout_ms(1_000);
    let deleted = admin.call(5, &deletion).await;
    assert_eq!(deleted.responses[0].error_code, 0);
    let response = client.receive::<ProduceRequest>(13, sent).await;
    let codes = response.responses.iter().map(|topic| topic.partition_responses[0].error_code);
    assert_eq!(codes.collect::<Vec<_>>(), [Code::NotEnoughReplicasAfterAppend.code(), 0]);
    node.stop().await;
}

/// KAFKA_STORAGE_ERROR would mean to a client that nothing was written.
#[tokio::test(start_paused = true)]
async fn a_client_is_told_that_what_was_appended_when_the_wal_died_may_be_there() {
    let node = Node::start().await;
    let mut client = node.client();
    let id = client.create("t", 1).await;
    let numbered = |sequence| {
        let mut builder = BatchBuilder::new(Compression::None).producer(9, 0, sequence);
        builder.push(NewRecord { timestamp_ms: NOW_MS, value: Some(b"x"), ..NewRecord::default() });
        produce(13, "t", id, 0, -1, builder.build().freeze())
    };
    client.call(13, &numbered(0)).await;
    node.disk.fail_next_write();
    let mut sent = Vec::new();
    for sequence in 1..5 {
        sent.push(client.send(13, &numbered(sequence)).await);
    }
    for correlation_id in sent {
        let response = client.receive::<ProduceRequest>(13, correlation_id).await;
        let code = response.responses[0].partition_responses[0].error_code;
        assert_eq!(code, Code::NotEnoughReplicasAfterAppend.code());
    }
}

#[tokio::test(start_paused = true)]
async fn acks_0_has_no_reply_and_an_error_closes() {
    let node = Node::start().await;
    let mut client = node.client();
    let id = client.create("t", 1).await;
    client.send(13, &produce(13, "t", id, 0, 0, batch(&["quiet"]))).await;
    let acknowledged = client.produce("t", batch(&["loud"])).await;
    assert_eq!(acknowledged.base_offset, 1);
    client.send(13, &produce(13, "t", id, 77, 0, batch(&["lost"]))).await;
    assert!(client.reply().await.is_none());
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_appended_is_refused_with_kafkas_code() {
    let node = Node::start().await;
    let mut client = node.client();
    let id = client.create("t", 1).await;
    let good = batch(&["x"]);
    let mut corrupt = BytesMut::from(&good[..]);
    corrupt[65] ^= 1;
    let mut old_magic = BytesMut::from(&good[..]);
    old_magic[16] = 1;
    let twice: Bytes = [&good[..], &good[..]].concat().into();
    let huge = batch(&["x".repeat(2 << 20).as_str()]);
    let cases = [
        ("unknown topic", produce(9, "no", id, 0, -1, good.clone()), Code::UnknownTopicOrPartition),
        ("unknown partition", produce(9, "t", id, 5, -1, good.clone()), Code::UnknownTopicOrPartition),
        ("acks", produce(9, "t", id, 0, 2, good.clone()), Code::InvalidRequiredAcks),
        ("crc", produce(9, "t", id, 0, -1, corrupt.freeze()), Code::CorruptMessage),
        ("magic", produce(9, "t", id, 0, -1, old_magic.freeze()), Code::InvalidRecord),
        ("two batches", produce(9, "t", id, 0, -1, twice), Code::InvalidRecord),
        ("size", produce(9, "t", id, 0, -1, huge), Code::MessageTooLarge),
        (
            "internal",
            produce(9, "__consumer_offsets", id, 0, -1, good.clone()),
            Code::UnknownTopicOrPartition,
        ),
        (
            "transaction",
            produce(9, "t", id, 0, -1, good.clone()).with_transactional_id(Some(TransactionalId(text("tx")))),
            Code::TransactionalIdAuthorizationFailed,
        ),
    ];
    for (what, request, code) in cases {
        let response = client.call(9, &request).await;
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (code.code(), -1), "{what}");
        assert!(partition.error_message.is_some(), "{what}");
    }
    let unknown = client.call(13, &produce(13, "t", Uuid::from_u128(9), 0, -1, good)).await;
    assert_eq!(unknown.responses[0].partition_responses[0].error_code, Code::UnknownTopicId.code());
    assert_eq!(client.fetch("t", 0).await.high_watermark, 0, "nothing was appended");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_waits_for_records_and_wakes_with_them() {
    let node = Node::start().await;
    let (mut consumer, mut producer) = (node.client(), node.client());
    let id = producer.create("t", 1).await;
    let waiting = fetch(13, "t", id, 0).with_max_wait_ms(60_000);
    let started = tokio::time::Instant::now();
    let correlation_id = consumer.send(13, &waiting).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let sent = batch(&["news"]);
    producer.produce("t", sent.clone()).await;
    let response = consumer.receive::<FetchRequest>(13, correlation_id).await;
    assert_eq!(records(response), stored(&sent, 0));
    assert!(started.elapsed().as_secs() < 5);
    let empty = consumer.call(13, &fetch(13, "t", id, 1).with_max_wait_ms(10_000)).await;
    assert!(records(empty).is_empty());
    assert!(started.elapsed().as_secs() >= 10);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_tells_only_what_is_new() {
    let node = Node::start().await;
    let mut client = node.client();
    let id = client.create("t", 3).await;
    let partitions =
        (0..3).map(|index| FetchPartition::default().with_partition(index).with_partition_max_bytes(1 << 20));
    let fetch_topic = FetchTopic::default().with_topic_id(id).with_partitions(partitions.collect());
    let mut request = fetch(13, "t", id, 0).with_session_epoch(0).with_topics(vec![fetch_topic]);
    let opened = client.call(13, &request).await;
    assert_eq!(opened.responses[0].partitions.len(), 3);
    request = request.with_session_id(opened.session_id).with_session_epoch(1).with_topics(Vec::new());
    assert!(client.call(13, &request).await.responses.is_empty());
    let sent = batch(&["x"]);
    client.call(13, &produce(13, "t", id, 1, -1, sent.clone())).await;
    let news = client.call(13, &request.clone().with_session_epoch(2)).await;
    assert_eq!(news.responses[0].partitions.len(), 1);
    assert_eq!(news.responses[0].partitions[0].partition_index, 1);
    assert_eq!(records(news), stored(&sent, 0));
    let stale = client.call(13, &request.clone().with_session_epoch(9)).await;
    assert_eq!(stale.error_code, Code::InvalidFetchSessionEpoch.code());
    let unknown = client.call(13, &request.with_session_id(5)).await;
    assert_eq!(unknown.error_code, Code::FetchSessionIdNotFound.code());
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn fetches_out_of_range_and_with_wrong_epochs_are_refused() {
    let node = Node::start().await;
    let mut client = node.client();
    let id = client.create("t", 1).await;
    client.produce("t", batch(&["x"])).await;
    for offset in [-1, 2] {
        let partition = client.fetch("t", offset).await;
        assert_eq!((partition.error_code, partition.high_watermark), (Code::OffsetOutOfRange.code(), 1));
    }
    let mut request = fetch(13, "t", id, 0);
    request.topics[0].partitions[0].current_leader_epoch = 7;
    let response = client.call(13, &request).await;
    assert_eq!(response.responses[0].partitions[0].error_code, Code::UnknownLeaderEpoch.code());
    let unknown = client.call(13, &fetch(13, "t", Uuid::from_u128(9), 0)).await;
    assert_eq!(unknown.responses[0].partitions[0].error_code, Code::UnknownTopicId.code());
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_wal_makes_a_producer_wait_and_loses_nothing() {
    let streams = StreamsConfig { unoffloaded_max_bytes: 1 << 20, ..StreamsConfig::default() };
    let node = Node::start_on(ServerConfig::new(NODE), streams).await;
    let mut client = node.client();
    let id = client.create("t", 1).await;
    // Ten times 200 kB do not fit 1 MiB at once.
    let sent = batch(&["z".repeat(200_000).as_str()]);
    let mut pipelined = Vec::new();
    for _ in 0..10 {
        let request = produce(13, "t", id, 0, -1, sent.clone());
        pipelined.push(client.send(13, &request).await);
    }
    for (offset, correlation_id) in pipelined.into_iter().enumerate() {
        let response = client.receive::<ProduceRequest>(13, correlation_id).await;
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, offset as i64));
    }
    assert_eq!(client.fetch("t", 0).await.high_watermark, 10);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_filling_wal_mutes_a_producer_before_it_refuses() {
    let streams = StreamsConfig { unoffloaded_max_bytes: 1 << 20, ..StreamsConfig::default() };
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store");
    let url = format!("file://{}", store.display());
    let node = Node::start_over(&url, ServerConfig::new(NODE), streams).await;
    std::fs::rename(&store, dir.path().join("away")).expect("renamed");
    std::fs::write(&store, b"not a directory").expect("written");
    let mut client = node.client();
    let id = client.create("t", 1).await;
    let sent = batch(&["z".repeat(10_000).as_str()]);
    let mut throttles = Vec::new();
    for _ in 0..85 {
        let before = tokio::time::Instant::now();
        let response = client.call(13, &produce(13, "t", id, 0, -1, sent.clone())).await;
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
        throttles.push(response.throttle_time_ms);
        // The next request is read when the pause is over, whether the client kept to it or not.
        client.call(12, &fetch(12, "t", Uuid::nil(), 0)).await;
        let pause = Duration::from_millis(u64::try_from(response.throttle_time_ms).expect("not negative"));
        assert!(before.elapsed() >= pause, "{:?} instead of {pause:?}", before.elapsed());
    }
    assert!(throttles.is_sorted(), "{throttles:?}");
    assert_eq!(throttles[..70], [0; 70]);
    assert!(throttles[84] > 100, "{throttles:?}");
    let muted = node.server.metrics().samples();
    let muted = muted.iter().find(|sample| sample.name == "aquifer_server_muted_requests_total");
    assert!(muted.is_some_and(|sample| sample.value >= 10), "{muted:?}");
    node.stop().await;
}

async fn offset(client: &mut Client, version: i16, timestamp: i64) -> (i16, i64) {
    let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
    let asked = ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![partition]);
    let response = client.call(version, &ListOffsetsRequest::default().with_topics(vec![asked])).await;
    let found = &response.topics[0].partitions[0];
    (found.error_code, found.offset)
}

#[tokio::test(start_paused = true)]
async fn offsets_are_listed_and_records_deleted() {
    let node = Node::start().await;
    let mut client = node.client();
    client.create("t", 1).await;
    for sent in [batch(&["a", "b"]), batch(&["c"])] {
        client.produce("t", sent).await;
    }
    for version in 1..=10 {
        assert_eq!(offset(&mut client, version, -1).await, (0, 3));
        assert_eq!(offset(&mut client, version, -2).await, (0, 0));
        assert_eq!(offset(&mut client, version, NOW_MS).await, (0, 0));
        assert_eq!(offset(&mut client, version, NOW_MS + 1).await, (0, -1));
    }
    let partition = DeleteRecordsPartition::default().with_offset(2);
    let asked = DeleteRecordsTopic::default().with_name(topic("t")).with_partitions(vec![partition]);
    let response = client.call(2, &DeleteRecordsRequest::default().with_topics(vec![asked])).await;
    let deleted = &response.topics[0].partitions[0];
    assert_eq!((deleted.error_code, deleted.low_watermark), (0, 2));
    assert_eq!(offset(&mut client, 10, -2).await, (0, 2));
    let left = client.fetch("t", 2).await;
    assert_eq!(left.log_start_offset, 2);
    let mut batches = Batches::new(left.records.expect("never null"));
    let first = batches.next().expect("one").expect("whole");
    assert_eq!(first.0.base_offset, 2);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn idempotent_producers_get_ids_and_transactional_ones_are_told_to_stop() {
    let node = Node::start().await;
    let mut client = node.client();
    let mut ids = Vec::new();
    for version in 0..=5 {
        let response =
            client.call(version, &InitProducerIdRequest::default().with_transactional_id(None)).await;
        assert_eq!((response.error_code, response.producer_epoch), (0, 0));
        ids.push(response.producer_id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 6);
    let transactional =
        InitProducerIdRequest::default().with_transactional_id(Some(TransactionalId(text("tx"))));
    let refused = client.call(4, &transactional).await;
    assert_eq!(refused.error_code, Code::TransactionalIdAuthorizationFailed.code());
    node.stop().await;
}
