//! What is refused, with which kind, and what is stored instead.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{BatchBuilder, NewRecord, Records};

const NOW_MS: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn rules() -> Rules {
    Rules {
        max_message_bytes: 1_048_588,
        compacted: false,
        timestamp_type: TimestampType::CreateTime,
        create_time: CreateTimeBounds { before_max_ms: i64::MAX, after_max_ms: HOUR_MS },
        compression: TargetCompression::Producer,
        decompress_limit: 1 << 20,
    }
}

fn builder(compression: Compression) -> BatchBuilder {
    let mut builder = BatchBuilder::new(compression);
    for (key, delta) in [(Some(&b"k"[..]), 0), (None, 5), (Some(&b"l"[..]), -3)] {
        builder.push(NewRecord { timestamp_ms: NOW_MS + delta, key, value: Some(b"value"), headers: &[] });
    }
    builder
}

fn check(batch: BytesMut, rules: &Rules) -> Result<Validated, BatchError> {
    validate(batch, rules, Origin::Client, true, NOW_MS)
}

/// Changes header fields of a good batch and renews its CRC, as a client with a bug would.
fn bent(compression: Compression, bend: impl FnOnce(&mut BatchHeader)) -> BytesMut {
    let batch = builder(compression).build();
    let mut header = BatchHeader::parse(&batch).unwrap();
    bend(&mut header);
    seal(&mut header, &batch[HEADER_BYTES..])
}

const ALL: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

#[test]
fn a_good_batch_is_kept_byte_for_byte() {
    for compression in ALL {
        let batch = builder(compression).build();
        let validated = check(batch.clone(), &rules()).unwrap();
        assert_eq!(validated.batch, batch, "{compression:?}");
    }
}

#[test]
fn broken_headers_are_refused_by_kind() {
    let refused = |batch| check(batch, &rules()).unwrap_err();
    assert_eq!(refused(BytesMut::new()), BatchError::Empty);
    let mut flipped = builder(Compression::None).build();
    flipped[70] ^= 1;
    assert!(matches!(refused(flipped), BatchError::BadChecksum { .. }));
    let mut torn = builder(Compression::None).build();
    torn.truncate(torn.len() - 1);
    assert!(matches!(refused(torn), BatchError::Truncated { .. }));
    let mut two = builder(Compression::None).build();
    two.extend_from_slice(&builder(Compression::None).build());
    assert_eq!(refused(two), BatchError::MoreThanOneBatch);
    let bend = |bend: fn(&mut BatchHeader)| refused(bent(Compression::None, bend));
    assert!(matches!(bend(|header| header.base_offset = 1), BatchError::BaseOffset { base_offset: 1 }));
    assert!(matches!(bend(|header| header.records_count = 0), BatchError::Count { .. }));
    assert!(matches!(bend(|header| header.last_offset_delta = 3), BatchError::Count { .. }));
    assert!(matches!(bend(|header| header.attributes |= 1 << 5), BatchError::ControlBatch));
    assert!(matches!(bend(|header| header.attributes |= 7), BatchError::UnsupportedCompression { code: 7 }));
    assert!(matches!(bend(|header| header.producer_id = 4), BatchError::Sequence { .. }));
    let lying = bend(|header| (header.records_count, header.last_offset_delta) = (2, 1));
    assert!(matches!(lying, BatchError::Count { found: Some(3), .. }));
}

#[test]
fn zstd_is_refused_from_old_producers() {
    let batch = builder(Compression::Zstd).build();
    let refused = validate(batch, &rules(), Origin::Client, false, NOW_MS).unwrap_err();
    assert_eq!(refused, BatchError::UnsupportedCompression { code: 4 });
}

#[test]
fn a_keyless_record_on_a_compacted_topic_is_named_by_index() {
    for compression in ALL {
        let rules = Rules { compacted: true, ..rules() };
        let refused = check(builder(compression).build(), &rules).unwrap_err();
        assert!(matches!(refused, BatchError::InvalidRecords { .. }), "{compression:?}");
        let indexes: Vec<_> = refused.record_errors().iter().map(|error| error.index).collect();
        assert_eq!(indexes, [1], "{compression:?}");
    }
}

#[test]
fn timestamps_out_of_bounds_are_named_by_index() {
    for compression in ALL {
        let late =
            Rules { create_time: CreateTimeBounds { before_max_ms: i64::MAX, after_max_ms: 4 }, ..rules() };
        let refused = check(builder(compression).build(), &late).unwrap_err();
        assert!(matches!(&refused, BatchError::InvalidTimestamps { records } if records[0].index == 1));
        let early =
            Rules { create_time: CreateTimeBounds { before_max_ms: 2, after_max_ms: HOUR_MS }, ..rules() };
        let refused = check(builder(compression).build(), &early).unwrap_err();
        assert!(matches!(&refused, BatchError::InvalidTimestamps { records } if records[0].index == 2));
    }
}

#[test]
fn log_append_time_replaces_timestamps_and_keeps_the_batch_readable() {
    for compression in ALL {
        let rules = Rules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
        let stored = check(builder(compression).build(), &rules).unwrap();
        assert_eq!(stored.header, BatchHeader::parse(&stored.batch).unwrap());
        assert_eq!(stored.header.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(batch_crc(&stored.batch), stored.header.crc);
        let batch = stored.batch.freeze();
        assert!(Records::new(&batch).unwrap().all(|record| record.unwrap().timestamp_ms == NOW_MS));
    }
}

#[test]
fn a_wrong_largest_timestamp_of_uncompressed_records_is_mended() {
    let stored = check(bent(Compression::None, |header| header.max_timestamp = 7), &rules()).unwrap();
    assert_eq!(stored.header.max_timestamp, NOW_MS + 5);
    assert_eq!(batch_crc(&stored.batch), stored.header.crc);
}

#[test]
fn offsets_out_of_order_are_assigned_anew_where_records_are_opened() {
    let plain = builder(Compression::None).build();
    let first_end = crate::walk::record(&plain[HEADER_BYTES..], 0).unwrap().end;
    // Without the first record: offsets 1 and 2.
    let mut header = BatchHeader::parse(&plain).unwrap();
    let rest = &plain[HEADER_BYTES + first_end..];
    (header.records_count, header.last_offset_delta) = (2, 1);
    header.batch_length = (HEADER_BYTES - LOG_OVERHEAD_BYTES + rest.len()) as i32;
    let sent = seal(&mut header, rest);
    for compression in ALL {
        let rules = Rules { compression: TargetCompression::Codec(compression, None), ..rules() };
        let stored = check(sent.clone(), &rules).unwrap();
        let records = Records::new(&stored.batch.freeze()).unwrap().map(Result::unwrap);
        let read: Vec<_> = records.map(|one| (one.offset, one.timestamp_ms, one.key.is_some())).collect();
        assert_eq!(read, [(0, NOW_MS + 5, false), (1, NOW_MS - 3, true)], "{compression:?}");
    }
}

#[test]
fn size_is_checked_on_what_is_stored() {
    let size = builder(Compression::None).build().len();
    let tight = Rules { max_message_bytes: size - 1, ..rules() };
    let refused = check(builder(Compression::None).build(), &tight).unwrap_err();
    assert_eq!(refused, BatchError::TooLarge { size, max: size - 1 });
    // 4 KiB of one byte pass as zstd but not as what an uncompressed topic would store.
    let mut bulky = BatchBuilder::new(Compression::Zstd);
    bulky.push(NewRecord { timestamp_ms: NOW_MS, value: Some(&[0; 4096]), ..NewRecord::default() });
    let plain = TargetCompression::Codec(Compression::None, None);
    let rules = Rules { max_message_bytes: 1024, compression: plain, ..rules() };
    assert!(matches!(check(bulky.build(), &rules), Err(BatchError::TooLarge { size, .. }) if size > 4096));
}

#[test]
fn a_topic_with_its_own_compression_stores_the_same_records() {
    for source in ALL {
        for target in ALL {
            let sent = builder(source).producer(7, 0, 3).build();
            let rules = Rules { compression: TargetCompression::Codec(target, None), ..rules() };
            let stored = check(sent.clone(), &rules).unwrap();
            assert_eq!(stored.header.compression(), Ok(target));
            assert_eq!((stored.header.producer_id, stored.header.base_sequence), (7, 3));
            assert_eq!(stored.header, BatchHeader::parse(&stored.batch).unwrap());
            assert_eq!(batch_crc(&stored.batch), stored.header.crc);
            let read = |batch: Bytes| Records::new(&batch).unwrap().map(Result::unwrap).collect::<Vec<_>>();
            assert_eq!(read(stored.batch.freeze()), read(sent.freeze()), "{source:?} to {target:?}");
        }
    }
}

#[test]
fn a_bomb_is_refused_where_it_has_to_be_opened() {
    let mut bomb = BatchBuilder::new(Compression::Zstd);
    bomb.push(NewRecord {
        timestamp_ms: NOW_MS,
        key: Some(b"k"),
        value: Some(&vec![0; 4 << 20]),
        headers: &[],
    });
    let refused = check(bomb.build(), &Rules { compacted: true, ..rules() }).unwrap_err();
    assert!(matches!(refused, BatchError::Decompression(_)));
}

proptest! {
    #[test]
    fn any_records_section_is_judged_without_panic(section: Vec<u8>, count in 0..5i32, codec in 0..8i16) {
        let mut header = BatchHeader::parse(&builder(Compression::None).build()).unwrap();
        header.batch_length = (HEADER_BYTES - LOG_OVERHEAD_BYTES + section.len()) as i32;
        header.attributes = codec;
        (header.records_count, header.last_offset_delta) = (count, count - 1);
        let batch = seal(&mut header, &section);
        let _ = check(batch.clone(), &Rules { compacted: true, ..rules() });
        if let Ok(records) = Records::with_limit(&batch.freeze(), 1 << 16) {
            let _ = records.count();
        }
    }

    #[test]
    fn a_flipped_bit_is_found(bit in (21 * 8)..800usize) {
        let mut batch = builder(Compression::None).build();
        let bit = (bit % (batch.len() * 8)).max(21 * 8);
        batch[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(check(batch, &rules()).is_err());
    }
}
