//! Compressed bytes that may be none.

use aquifer_record::{Compression, compress, decompress};
use rand::Rng;
use rand::rngs::SmallRng;

use crate::mutate::mutate;
use crate::tally::{Tally, peak_bytes};

/// What comes out is held to this.
const LIMIT_BYTES: usize = 64 * 1024;
/// Windows and tables of the codecs beside their output: LZ4's blocks of 4 MiB, for input and output.
pub const CODEC_BYTES: usize = 16 << 20;

/// All types, uncompressed too.
pub const ALL: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// A type and what claims to be compressed so.
pub fn packed(random: &mut SmallRng) -> (Compression, Vec<u8>) {
    let compression = ALL[random.random_range(0..ALL.len())];
    let plain = plain(random);
    let mut packed = match random.random_range(0..8) {
        0 => plain,
        _ => compress(compression, None, &plain).expect("plain bytes are compressed"),
    };
    if random.random_range(0..8) > 0 {
        mutate(&mut packed, random);
    }
    (compression, packed)
}

/// Bytes that compress somewhat.
fn plain(random: &mut SmallRng) -> Vec<u8> {
    let size = random.random_range(0..400);
    let few: u8 = random.random_range(1..=255);
    (0..size).map(|_| random.random_range(0..few)).collect()
}

/// Decompresses.
///
/// # Panics
/// If that panics, puts out more than the limit, or allocates over its bound: a finding.
pub fn take(compression: Compression, packed: &[u8], tally: &mut Tally) {
    let (plain, peak) = peak_bytes(|| decompress(compression, packed, LIMIT_BYTES));
    let bound = 2 * (LIMIT_BYTES + 1) + CODEC_BYTES;
    assert!(peak <= bound, "{compression:?} took {peak} bytes, {bound} are allowed");
    if let Ok(plain) = plain {
        assert!(plain.len() <= LIMIT_BYTES, "{compression:?} put out {} bytes", plain.len());
        tally.decompressed += 1;
    }
}
