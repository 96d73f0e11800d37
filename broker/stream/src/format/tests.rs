use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::Batch;

const CLUSTER: [u8; 16] = *b"0123456789abcdef";

fn origin() -> Origin {
    Origin { object: 77, cluster: CLUSTER, node: 3, broker_epoch: 9, created_ms: 1_700_000_000_000 }
}

/// A stream's batches of the given sizes, from `first` on.
fn batches(first: u64, sizes: &[(u32, usize)]) -> Vec<Batch> {
    let mut next = first;
    sizes
        .iter()
        .map(|&(records, size)| {
            let first = next;
            next += u64::from(records);
            let fill = (first % 251) as u8;
            Batch {
                first,
                end: next,
                records,
                max_timestamp_ms: 1_000 + (first as i64 * 7919) % 500,
                payload: Bytes::from(vec![fill; size]),
            }
        })
        .collect()
}

fn write(streams: &[(StreamKind, u64, Vec<Batch>)], take_every: usize) -> (Bytes, Vec<WrittenRange>) {
    let mut writer = ObjectWriter::new(origin());
    let mut whole = BytesMut::new();
    for (kind, stream, batches) in streams {
        for batch in batches {
            writer.add(*kind, *stream, batch.clone());
            if writer.ready_bytes() > take_every {
                writer.take_parts().iter().for_each(|part| whole.extend_from_slice(part));
                assert_eq!(writer.ready_bytes(), 0);
            }
        }
    }
    let finished = writer.finish();
    finished.parts.iter().for_each(|part| whole.extend_from_slice(part));
    assert_eq!(whole.len() as u64, finished.object_bytes);
    (whole.freeze(), finished.ranges)
}

fn read_index(object: &Bytes) -> Result<ObjectIndex, IndexDamage> {
    let footer = Footer::decode(object, object.len() as u64)?;
    let index = footer.index_position as usize..(footer.index_position + footer.index_bytes) as usize;
    ObjectIndex::decode(&object[index], &footer)
}

fn read_block(object: &Bytes, entry: &IndexEntry) -> Result<Block, BlockDamage> {
    Block::decode(&object.slice(entry.position as usize..(entry.position + entry.size) as usize))
}

fn small_object() -> Bytes {
    let data = batches(100, &[(2, 5), (1, 0), (3, 4)]);
    let meta = vec![Batch {
        first: 4,
        end: 5,
        records: 1,
        max_timestamp_ms: -1,
        payload: Bytes::from_static(b"checkpoint"),
    }];
    write(&[(StreamKind::Data, 7, data), (StreamKind::Meta, 2, meta)], usize::MAX).0
}

#[test]
fn the_bytes_of_an_object_never_change() {
    let hex: String = small_object().iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<&str> =
        hex.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("hex")).collect();
    assert_eq!(lines.join("\n"), include_str!("golden.hex").trim_end());
}

#[test]
fn an_index_finds_the_block_of_an_offset() {
    let block = BLOCK_TARGET_BYTES;
    let data = batches(10, &[(5, block), (5, block), (5, 10)]);
    let other = batches(0, &[(4, 9)]);
    let (object, ranges) = write(&[(StreamKind::Data, 7, data), (StreamKind::Data, 8, other)], 1 << 20);
    let index = read_index(&object).expect("whole");
    assert_eq!(index.entries.len(), 4);
    assert_eq!(index.blocks_of(7), 0..3);
    assert_eq!(index.blocks_of(8), 3..4);
    assert_eq!(index.blocks_of(9), 0..0);
    for (offset, found) in [(9, None), (10, Some(0)), (14, Some(0)), (15, Some(1)), (24, Some(2)), (25, None)]
    {
        assert_eq!(index.block_at(7, offset), found, "offset {offset}");
    }
    assert_eq!(index.block_at(8, 3), Some(3));
    let spans: Vec<_> = ranges.iter().map(|r| (r.stream, r.first, r.end, r.records)).collect();
    assert_eq!(spans, [(7, 10, 25, 15), (8, 0, 4, 4)]);
}

#[test]
fn large_payloads_travel_by_reference() {
    let large = Bytes::from(vec![1; 100_000]);
    let mut writer = ObjectWriter::new(origin());
    let batch = Batch { first: 0, end: 1, records: 1, max_timestamp_ms: 0, payload: large.clone() };
    writer.add(StreamKind::Data, 1, batch);
    let parts = writer.finish().parts;
    assert!(parts.iter().any(|part| part.as_ptr() == large.as_ptr()));
}

#[test]
fn a_truncated_object_has_no_footer() {
    let object = small_object();
    for kept in [0, 10, object.len() - 1] {
        let found = object.slice(..kept);
        assert!(Footer::decode(&found, kept as u64).is_err(), "{kept} bytes kept");
    }
    let longer = Footer::decode(&object, object.len() as u64 + 1);
    assert!(matches!(longer, Err(IndexDamage::ObjectLength { .. })), "{longer:?}");
}

fn sizes() -> impl Strategy<Value = Vec<(u32, usize)>> {
    let size = prop_oneof![8 => 0_usize..400, 1 => 8_000_usize..9_000, 1 => 200_000_usize..300_000];
    prop::collection::vec((1_u32..20, size), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read(
        streams in prop::collection::btree_map((any::<bool>(), 0_u64..50), (any::<u32>(), sizes()), 1..6),
        take_every in 1_usize..2_000_000,
    ) {
        let streams: Vec<_> = streams.into_iter().map(|((meta, id), (first, sizes))| {
            let kind = if meta { StreamKind::Meta } else { StreamKind::Data };
            (kind, id * 2 + u64::from(meta), batches(u64::from(first), &sizes))
        }).collect();
        let (object, ranges) = write(&streams, take_every);
        let index = read_index(&object).expect("whole");
        prop_assert_eq!(index.origin, origin());
        for ((kind, id, written), range) in streams.iter().zip(&ranges) {
            let mut read = Vec::new();
            for entry in &index.entries[index.blocks_of(*id)] {
                let block = read_block(&object, entry).expect("whole");
                prop_assert_eq!((block.stream, block.kind), (*id, *kind));
                prop_assert_eq!((block.first(), block.end()), (entry.first, entry.end));
                let newest = block.batches.iter().map(|b| b.max_timestamp_ms).max();
                prop_assert_eq!(newest, Some(entry.max_timestamp_ms));
                read.extend(block.batches);
            }
            prop_assert_eq!(&read, written);
            let bytes: usize = written.iter().map(|b| b.payload.len()).sum();
            prop_assert_eq!(range.bytes, bytes as u64);
            for batch in written {
                let block = index.block_at(*id, batch.end - 1).expect("indexed");
                prop_assert!(index.entries[block].first <= batch.first);
            }
        }
    }

    #[test]
    fn a_changed_byte_never_goes_unnoticed(position in any::<prop::sample::Index>(), flip in 1_u8..) {
        let object = small_object();
        let whole = read_index(&object).expect("whole");
        let mut damaged = object.to_vec();
        let at = position.index(damaged.len());
        damaged[at] ^= flip;
        let damaged = Bytes::from(damaged);
        // Either the index is refused, or it is the same and the block that was hit is refused.
        if let Ok(index) = read_index(&damaged) {
            prop_assert_eq!(&index, &whole);
            let refused = index.entries.iter().any(|entry| read_block(&damaged, entry).is_err());
            prop_assert!(refused, "byte {} of {}", at, damaged.len());
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        prop_assert!(Block::decode(&bytes).is_err());
        prop_assert!(Footer::decode(&bytes, bytes.len() as u64).is_err());
    }
}
