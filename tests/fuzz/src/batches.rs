//! Record batches: what producers send, and what consumers of our own read.

use aquifer_record::{
    BatchBuilder, BatchHeader, Batches, Compression, CreateTimeBounds, NewRecord, Origin, Records, Rules,
    TargetCompression, TimestampType, time_lookup, validate,
};
use bytes::{Bytes, BytesMut};
use rand::Rng;
use rand::rngs::SmallRng;

use crate::codecs::{ALL, CODEC_BYTES};
use crate::mutate::mutate;
use crate::tally::{Tally, peak_bytes};

/// What a batch may hold decompressed.
const LIMIT_BYTES: usize = 64 * 1024;
/// Where a batch's CRC lies, and what it covers begins.
const CRC: std::ops::Range<usize> = 17..21;

/// A batch, and the rules of the topic that it is sent to.
pub fn batch(random: &mut SmallRng) -> (Vec<u8>, Rules) {
    let mut builder = BatchBuilder::new(ALL[random.random_range(0..ALL.len())]);
    for _ in 0..random.random_range(1..6) {
        let size = random.random_range(0..60);
        let value: Vec<u8> = (0..size).map(|_| random.random()).collect();
        let key = random.random::<bool>().then_some(b"key".as_slice());
        builder.push(NewRecord {
            timestamp_ms: random.random_range(0..2_000),
            key,
            value: Some(&value),
            ..NewRecord::default()
        });
    }
    let mut bytes = builder.build().to_vec();
    if random.random_range(0..8) > 0 {
        mutate(&mut bytes, random);
        // A checksum that fits lets the damage through to what reads the records.
        if random.random_range(0..4) > 0 && bytes.len() > CRC.end {
            let crc = crc32c::crc32c(&bytes[CRC.end..]).to_be_bytes();
            bytes[CRC].copy_from_slice(&crc);
        }
    }
    (bytes, rules(random))
}

fn rules(random: &mut SmallRng) -> Rules {
    let target = match random.random_range(0..3) {
        0 => TargetCompression::Codec(ALL[random.random_range(0..ALL.len())], None),
        _ => TargetCompression::Producer,
    };
    let types = [TimestampType::CreateTime, TimestampType::LogAppendTime];
    Rules {
        max_message_bytes: [512, 1 << 20][random.random_range(0..2)],
        compacted: random.random(),
        timestamp_type: types[random.random_range(0..2)],
        create_time: CreateTimeBounds {
            before_max_ms: [500, i64::MAX][random.random_range(0..2)],
            after_max_ms: [500, i64::MAX][random.random_range(0..2)],
        },
        compression: target,
        decompress_limit: LIMIT_BYTES,
    }
}

/// Validates a batch, and reads it as a run of batches and record by record.
///
/// # Panics
/// If that panics, allocates over its bound, or a valid batch cannot be read: a finding.
pub fn take(bytes: &[u8], rules: &Rules, tally: &mut Tally) {
    let (valid, peak) = peak_bytes(|| {
        validate(BytesMut::from(bytes), rules, Origin::Client, true, 1_000).map(|valid| valid.batch)
    });
    let bound = 4 * (LIMIT_BYTES + bytes.len()) + CODEC_BYTES;
    assert!(peak <= bound, "validating {} bytes took {peak}, {bound} are allowed", bytes.len());
    if let Ok(batch) = valid {
        tally.batches += 1;
        let batch = batch.freeze();
        let header = BatchHeader::parse(&batch).expect("a valid batch has a header");
        assert_eq!(header.size(), batch.len());
        if header.compression() == Ok(Compression::None) {
            let records = read(&batch).expect("a valid batch has records");
            assert_eq!(records, header.records_count as usize);
        }
    }
    let raw = Bytes::copy_from_slice(bytes);
    let (_, peak) = peak_bytes(|| {
        let _records = read(&raw);
        let _split = Batches::new(raw.clone()).filter(Result::is_ok).count();
        let _found = time_lookup(&raw, 500, 0);
    });
    assert!(peak <= 128 * bytes.len() + 2 * bound, "reading {} bytes took {peak}", bytes.len());
}

fn read(batch: &Bytes) -> Option<usize> {
    let mut count = 0;
    for record in Records::with_limit(batch, LIMIT_BYTES).ok()? {
        record.ok()?;
        count += 1;
    }
    Some(count)
}
