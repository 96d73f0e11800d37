//! What the guard costs a Produce request.

use std::hint::black_box;
use std::time::Duration;

use aquifer_guard::{check, parse_header, produce, shapes};
use aquifer_record::{
    BatchBuilder, Compression, CreateTimeBounds, NewRecord, Origin, Rules, TargetCompression, TimestampType,
    validate,
};
use bytes::{BufMut, BytesMut};
use tokio::time::Instant;

/// A request in numbers.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Partitions in the request.
    pub partitions: usize,
    /// Bytes of records for each.
    pub record_bytes: usize,
    /// Header and guard.
    pub guard: Duration,
    /// What reads the request after the guard.
    pub parse: Duration,
    /// Validating the batches, their checksum above all.
    pub validate: Duration,
}

/// The version that is measured: the newest one.
const VERSION: i16 = 13;

/// Bytes that are walked for each figure, and the rounds that this comes to at most.
const WALKED_BYTES: usize = 256 << 20;
const MOST_ROUNDS: usize = 100_000;
/// Inputs that are made before the clock starts, so that it is read seldom.
const AT_ONCE: u32 = 16;

/// Measures requests of some shapes.
pub fn produce_costs() -> impl Iterator<Item = Cost> {
    [(1, 100), (1, 1_024), (1, 16 * 1_024), (16, 1_024), (100, 16 * 1_024)]
        .into_iter()
        .map(|(partitions, record_bytes)| cost(partitions, record_bytes))
}

fn cost(partitions: usize, record_bytes: usize) -> Cost {
    let frame = frame(partitions, record_bytes);
    let rounds = (WALKED_BYTES / frame.len()).clamp(1, MOST_ROUNDS) as u32;
    let flexible_from = shapes::PRODUCE.flexible_from;
    let body = parse_header(&frame, true).expect("valid").body;
    let guard = each(
        rounds,
        || (),
        |()| {
            let header = parse_header(black_box(&frame), true).expect("valid");
            black_box(check(&shapes::PRODUCE, VERSION, &frame[header.body..]).expect("valid"));
        },
    );
    let parse = each(
        rounds,
        || BytesMut::from(&frame[body..]),
        |body| {
            black_box(produce::parse(body, VERSION, flexible_from).expect("valid"));
        },
    );
    let parsed = || produce::parse(BytesMut::from(&frame[body..]), VERSION, flexible_from).expect("valid");
    let validate = each(rounds, parsed, |request| {
        for (_, batch) in request.topics.into_iter().flat_map(|topic| topic.partitions) {
            black_box(validate(batch, &RULES, Origin::Client, true, 0).expect("valid"));
        }
    });
    Cost { partitions, record_bytes, guard, parse, validate }
}

const RULES: Rules = Rules {
    max_message_bytes: 1 << 20,
    compacted: false,
    timestamp_type: TimestampType::CreateTime,
    create_time: CreateTimeBounds { before_max_ms: i64::MAX, after_max_ms: i64::MAX },
    compression: TargetCompression::Producer,
    decompress_limit: 1 << 20,
};

/// The time of `work` alone, for one round; of many the shortest, which no other process interrupted.
fn each<T>(rounds: u32, input: impl Fn() -> T, mut work: impl FnMut(T)) -> Duration {
    let mut shortest = Duration::MAX;
    for _ in 0..rounds.div_ceil(AT_ONCE) {
        let inputs: Vec<T> = (0..AT_ONCE).map(|_| input()).collect();
        let from = Instant::now();
        inputs.into_iter().for_each(&mut work);
        shortest = shortest.min(from.elapsed());
    }
    shortest / AT_ONCE
}

/// A Produce request of one topic, with a batch of one record for each partition.
fn frame(partitions: usize, record_bytes: usize) -> Vec<u8> {
    let value = vec![7; record_bytes];
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(NewRecord { timestamp_ms: 1, value: Some(&value), ..NewRecord::default() });
    let batch = builder.build();
    let mut frame = Vec::new();
    frame.put_i16(0);
    frame.put_i16(VERSION);
    frame.put_i32(1);
    frame.put_i16(8);
    frame.put_slice(b"producer");
    frame.put_u8(0);
    frame.put_u8(0);
    frame.put_i16(-1);
    frame.put_i32(30_000);
    frame.put_u8(2);
    frame.put_u128(77);
    uvarint(&mut frame, partitions + 1);
    for partition in 0..partitions {
        frame.put_i32(partition as i32);
        uvarint(&mut frame, batch.len() + 1);
        frame.put_slice(&batch);
        frame.put_u8(0);
    }
    frame.put_slice(&[0, 0]);
    frame
}

fn uvarint(frame: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        frame.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    frame.put_u8(value as u8);
}
