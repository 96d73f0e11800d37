//! `aquifer quickstart --demo`: a topic, 100 000 records through the real protocol, each one verified.

mod client;

use std::error::Error;
use std::fmt;

use aquifer_record::{BatchBuilder, Batches, Compression, NewRecord, Records};
use aquifer_runtime::Clock;
use bytes::Bytes;
use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateTopicsRequest, FetchRequest, MetadataRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Duration, Instant};

use client::Client;

const RECORDS: u64 = 100_000;
const RECORDS_PER_BATCH: u64 = 500;
const RECORD_BYTES: usize = 1024;
const PARTITIONS: i32 = 4;

/// What went wrong in the demo itself.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("{step}: the node answered with Kafka error {code}")]
    Refused { step: &'static str, code: i16 },
    #[error("{step}: the answer lacks what was asked for")]
    Incomplete { step: &'static str },
    #[error("partition {partition}, offset {offset}: the record is not the one that was written")]
    Different { partition: i32, offset: i64 },
    #[error("partition {partition} ends at offset {end}, expected {expected}")]
    Short { partition: i32, end: i64, expected: i64 },
}

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Runs the demo against the node at `address`.
pub(crate) async fn run(address: &str) -> Outcome<()> {
    let mut client = Client::connect(address).await?;
    let topic = TopicName(StrBytes::from_string(format!("demo-{}", Clock::system().wall_ms())));
    create_topic(&mut client, &topic).await?;

    let written = Instant::now();
    let bar = progress("writing");
    for batch in 0..RECORDS / RECORDS_PER_BATCH {
        produce(&mut client, &topic, batch).await?;
        bar.inc(RECORDS_PER_BATCH);
    }
    bar.finish();
    let written = written.elapsed();

    let read = Instant::now();
    let bar = progress("reading");
    for partition in 0..PARTITIONS {
        verify(&mut client, &topic, partition, &bar).await?;
    }
    bar.finish();
    summary(&topic, written, read.elapsed());
    Ok(())
}

async fn create_topic(client: &mut Client, topic: &TopicName) -> Outcome<()> {
    let step = "creating the topic";
    let creatable = CreatableTopic::default()
        .with_name(topic.clone())
        .with_num_partitions(PARTITIONS)
        .with_replication_factor(-1);
    let request = CreateTopicsRequest::default().with_topics(vec![creatable]).with_timeout_ms(10_000);
    let answer = client.call(5, &request).await?;
    accepted(step, answer.topics.first().ok_or(DemoError::Incomplete { step })?.error_code)?;

    let request = MetadataRequest::default()
        .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(topic.clone()))]));
    let answer = client.call(9, &request).await?;
    let described = answer.topics.first().ok_or(DemoError::Incomplete { step })?;
    accepted(step, described.error_code)?;
    Ok(())
}

/// Writes one batch; batches go round the partitions.
async fn produce(client: &mut Client, topic: &TopicName, batch: u64) -> Outcome<()> {
    let step = "writing";
    let (partition, first) = place(batch);
    let mut builder = BatchBuilder::new(Compression::None);
    let timestamp_ms = Clock::system().wall_ms();
    for offset in first..first + RECORDS_PER_BATCH {
        let key = format!("{partition}-{offset}");
        let value = value(partition, offset);
        builder.push(NewRecord {
            timestamp_ms,
            key: Some(key.as_bytes()),
            value: Some(&value),
            headers: &[],
        });
    }
    let data =
        PartitionProduceData::default().with_index(partition).with_records(Some(builder.build().freeze()));
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![
        TopicProduceData::default().with_name(topic.clone()).with_partition_data(vec![data]),
    ]);
    let answer = client.call(9, &request).await?;
    let answer = answer.responses.first().and_then(|topic| topic.partition_responses.first());
    accepted(step, answer.ok_or(DemoError::Incomplete { step })?.error_code)
}

/// Reads a partition from its beginning and compares each record with what was written.
async fn verify(client: &mut Client, topic: &TopicName, partition: i32, bar: &ProgressBar) -> Outcome<()> {
    let step = "reading";
    let expected = i64::try_from(RECORDS / u64::from(PARTITIONS.unsigned_abs()))?;
    let mut next = 0;
    while next < expected {
        let wanted = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(next)
            .with_partition_max_bytes(1 << 20);
        let request = FetchRequest::default()
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(8 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![FetchTopic::default().with_topic(topic.clone()).with_partitions(vec![wanted])]);
        let answer = client.call(11, &request).await?;
        let answer = answer.responses.first().and_then(|topic| topic.partitions.first());
        let answer = answer.ok_or(DemoError::Incomplete { step })?;
        accepted(step, answer.error_code)?;
        let before = next;
        next = compare(partition, next, answer.records.clone().unwrap_or_default())?;
        if next == before {
            return Err(DemoError::Short { partition, end: next, expected }.into());
        }
        bar.inc((next - before).unsigned_abs());
    }
    Ok(())
}

/// Compares `records` with what was written from offset `next` on; returns the offset after them.
fn compare(partition: i32, mut next: i64, records: Bytes) -> Outcome<i64> {
    for batch in Batches::new(records) {
        for record in Records::new(&batch?.1)? {
            let record = record?;
            if record.offset < next {
                continue; // the batch began before the offset that was asked for
            }
            let same = record.offset == next
                && record.value.as_deref() == Some(&value(partition, next.unsigned_abs())[..]);
            if !same {
                return Err(DemoError::Different { partition, offset: record.offset }.into());
            }
            next += 1;
        }
    }
    Ok(next)
}

/// The partition and first offset of the `batch`-th batch.
fn place(batch: u64) -> (i32, u64) {
    let partitions = u64::from(PARTITIONS.unsigned_abs());
    let partition = i32::try_from(batch % partitions).expect("there are few partitions");
    (partition, batch / partitions * RECORDS_PER_BATCH)
}

/// A value that differs for each record and from byte to byte.
fn value(partition: i32, offset: u64) -> Vec<u8> {
    let mut state = (u64::from(partition.unsigned_abs()) << 40 | offset) + 1;
    let mut bytes = Vec::with_capacity(RECORD_BYTES);
    while bytes.len() < RECORD_BYTES {
        // xorshift64: any generator does that both sides can repeat
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

fn accepted(step: &'static str, code: i16) -> Outcome<()> {
    if code == 0 { Ok(()) } else { Err(DemoError::Refused { step, code }.into()) }
}

fn progress(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("  {msg}  {bar:40}  {human_pos}/{human_len} records  {rate}")
        .expect("a constant template")
        .with_key("rate", |state: &ProgressState, text: &mut dyn fmt::Write| {
            // A line that cannot be drawn is no reason to fail.
            let _ = write!(text, "{}/s", HumanCount(state.per_sec() as u64));
        });
    ProgressBar::new(RECORDS).with_style(style).with_message(what)
}

#[expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a summary for a person")]
fn summary(topic: &TopicName, written: Duration, read: Duration) {
    let megabytes = (RECORDS * RECORD_BYTES as u64) as f64 / 1e6;
    let line = |what: &str, time: Duration| {
        let seconds = time.as_secs_f64();
        format!("    {what:8}  {megabytes:.0} MB in {seconds:.2} s, {:.0} MB/s", megabytes / seconds)
    };
    println!("\n  Verified: all {} records came back, in order, byte for byte.\n", HumanCount(RECORDS));
    println!("{}; each batch acknowledged when it was durable", line("written", written));
    println!("{}", line("read", read));
    println!("    topic     {}, {PARTITIONS} partitions, one request at a time\n", topic.as_str());
}
