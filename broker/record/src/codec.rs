//! The four codecs, each with a bound on what it may put out: `Ok(None)` means "over the limit".

use std::io::{Error, ErrorKind, Read, Result, Write};

/// Java's snappy stream: this, two 32-bit versions, then blocks of a 32-bit length and raw snappy.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_BYTES: usize = 16;
/// Java's block size, so that its reader never sees larger ones than its own writer makes.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// A snappy copy of 64 bytes takes 3: no input grows more than this many times.
const SNAPPY_GROWTH: usize = 22;
/// log2 of the largest zstd window read: what level 22 writes.
const ZSTD_WINDOW_LOG: u32 = 27;
const ZSTD_LEVEL: i32 = 3;

/// Reads `reader` to its end into a buffer that starts near `hint` bytes and never grows over `limit` (plus the one
/// byte that shows there is more).
pub(crate) fn read_bounded(mut reader: impl Read, hint: usize, limit: usize) -> Result<Option<Vec<u8>>> {
    let cap = limit.saturating_add(1);
    let mut out: Vec<u8> = vec![0; hint.clamp(512, 1 << 20).min(cap)];
    let mut filled = 0;
    loop {
        if filled > limit {
            return Ok(None);
        }
        if filled == out.len() {
            let grown = out.len().saturating_mul(2).min(cap);
            out.reserve_exact(grown - filled);
            out.resize(grown, 0);
        }
        match reader.read(&mut out[filled..]) {
            Ok(0) => {
                out.truncate(filled);
                return Ok(Some(out));
            }
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(crate) fn gzip(level: Option<i32>, plain: &[u8]) -> Result<Vec<u8>> {
    let level = level
        .and_then(|level| u32::try_from(level).ok())
        .map_or_else(flate2::Compression::default, |level| flate2::Compression::new(level.clamp(1, 9)));
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(plain.len() / 2), level);
    encoder.write_all(plain)?;
    encoder.finish()
}

pub(crate) fn gunzip(packed: &[u8], limit: usize) -> Result<Option<Vec<u8>>> {
    // Several members in a row are one stream, as java.util.zip reads them.
    read_bounded(flate2::bufread::MultiGzDecoder::new(packed), packed.len().saturating_mul(4), limit)
}

pub(crate) fn lz4(plain: &[u8]) -> Result<Vec<u8>> {
    // The Java client refuses linked blocks, and allocates by the block size: 64 KiB is its own.
    let mut info = lz4_flex::frame::FrameInfo::new();
    info.block_mode = lz4_flex::frame::BlockMode::Independent;
    info.block_size = lz4_flex::frame::BlockSize::Max64KB;
    let mut encoder =
        lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::with_capacity(plain.len() / 2));
    encoder.write_all(plain)?;
    encoder.finish().map_err(Error::from)
}

pub(crate) fn unlz4(packed: &[u8], limit: usize) -> Result<Option<Vec<u8>>> {
    read_bounded(lz4_flex::frame::FrameDecoder::new(packed), packed.len().saturating_mul(3), limit)
}

pub(crate) fn zstd(level: Option<i32>, plain: &[u8]) -> Result<Vec<u8>> {
    zstd::bulk::compress(plain, level.unwrap_or(ZSTD_LEVEL))
}

pub(crate) fn unzstd(packed: &[u8], limit: usize) -> Result<Option<Vec<u8>>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    read_bounded(decoder, packed.len().saturating_mul(4), limit)
}

pub(crate) fn snappy(plain: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(XERIAL_HEADER_BYTES + plain.len() / 2);
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&1u32.to_be_bytes());
    out.extend_from_slice(&1u32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(XERIAL_BLOCK_BYTES) {
        let packed = encoder.compress_vec(block)?;
        // A block is 32 KiB, so its packed form fits easily.
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(out)
}

pub(crate) fn unsnappy(packed: &[u8], limit: usize) -> Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    if !packed.starts_with(&XERIAL_MAGIC) {
        return Ok(unsnappy_block(packed, limit, &mut out)?.then_some(out));
    }
    let mut rest =
        packed.get(XERIAL_HEADER_BYTES..).ok_or_else(|| invalid("the stream header is cut off"))?;
    while !rest.is_empty() {
        if rest.starts_with(&XERIAL_MAGIC) {
            // Streams written one after the other are one stream, as Java reads them.
            rest = rest.get(XERIAL_HEADER_BYTES..).ok_or_else(|| invalid("the stream header is cut off"))?;
            continue;
        }
        let (length, behind) =
            rest.split_first_chunk::<4>().ok_or_else(|| invalid("a block length is cut off"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let block = behind.get(..length).ok_or_else(|| invalid("a block is cut off"))?;
        if !unsnappy_block(block, limit, &mut out)? {
            return Ok(None);
        }
        rest = &behind[length..];
    }
    Ok(Some(out))
}

/// Appends one raw block to `out`; false when `out` would grow over `limit`.
fn unsnappy_block(block: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<bool> {
    let length = snap::raw::decompress_len(block)?;
    if length / SNAPPY_GROWTH > block.len() {
        return Err(invalid("a block claims more bytes than it can hold"));
    }
    let from = out.len();
    if length > limit.saturating_sub(from) {
        return Ok(false);
    }
    if out.capacity() - from < length {
        // Doubling, but never over the limit.
        let wanted = (from + length).max(from.saturating_mul(2).min(limit));
        out.reserve_exact(wanted - from);
    }
    out.resize(from + length, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[from..])?;
    Ok(true)
}

fn invalid(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, reason)
}
