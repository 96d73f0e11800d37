//! The compression types of Kafka, by name and code, with bounds.

use crate::codec;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, in the xerial framing that Java writes; reading takes raw snappy too.
    Snappy,
    /// LZ4 frames with independent blocks.
    Lz4,
    /// RFC 8878.
    Zstd,
}

/// Why records cannot be compressed or decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// More comes out than the caller allows.
    #[error("more than {limit} bytes after decompression")]
    TooLarge {
        /// The caller's limit.
        limit: usize,
    },
    /// The bytes are not what the codec writes.
    #[error("{codec}: {reason}")]
    Codec {
        /// The codec's name.
        codec: &'static str,
        /// Its first complaint.
        reason: String,
    },
}

impl Compression {
    /// By the three low bits of a batch's attributes; the code back when Kafka knows none such.
    pub fn from_code(code: i16) -> Result<Self, i16> {
        match code {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            other => Err(other),
        }
    }

    /// The code in the attributes of a batch.
    pub fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The name that configurations use; `none` is also called `uncompressed` there.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Compresses `plain`. `level` is the codec's own scale (gzip 1-9, zstd up to 22) and `None` its default; snappy
/// and LZ4 have only one level here.
pub fn compress(
    compression: Compression,
    level: Option<i32>,
    plain: &[u8],
) -> Result<Vec<u8>, CompressionError> {
    let done = match compression {
        Compression::None => Ok(plain.to_vec()),
        Compression::Gzip => codec::gzip(level, plain),
        Compression::Snappy => codec::snappy(plain),
        Compression::Lz4 => codec::lz4(plain),
        Compression::Zstd => codec::zstd(level, plain),
    };
    done.map_err(|error| failed(compression, &error))
}

/// Decompresses `packed`. Output beyond `limit` bytes is an error, and the output buffer never grows over `limit`.
/// Beside it a codec needs its own window: 32 KiB for gzip, 4 MiB for LZ4, and for zstd what the frame asks for,
/// at most 128 MiB (the highest level of the Java client writes such frames), touched only as far as data arrives.
pub fn decompress(
    compression: Compression,
    packed: &[u8],
    limit: usize,
) -> Result<Vec<u8>, CompressionError> {
    let outcome = match compression {
        Compression::None => codec::read_bounded(packed, packed.len(), limit),
        Compression::Gzip => codec::gunzip(packed, limit),
        Compression::Snappy => codec::unsnappy(packed, limit),
        Compression::Lz4 => codec::unlz4(packed, limit),
        Compression::Zstd => codec::unzstd(packed, limit),
    };
    match outcome {
        Ok(Some(plain)) => Ok(plain),
        Ok(None) => Err(CompressionError::TooLarge { limit }),
        Err(error) => Err(failed(compression, &error)),
    }
}

fn failed(compression: Compression, error: &std::io::Error) -> CompressionError {
    CompressionError::Codec { codec: compression.name(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    #[test]
    fn output_over_the_limit_is_refused_by_every_codec() {
        let plain = vec![7u8; 1 << 20];
        for compression in ALL {
            let packed = compress(compression, None, &plain).unwrap();
            assert_eq!(decompress(compression, &packed, 1 << 20).unwrap(), plain, "{compression:?}");
            let refused = decompress(compression, &packed, (1 << 20) - 1);
            assert_eq!(refused, Err(CompressionError::TooLarge { limit: (1 << 20) - 1 }), "{compression:?}");
        }
    }

    #[test]
    fn snappy_without_framing_is_read() {
        let plain = b"some clients write raw snappy".repeat(9);
        let packed = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        assert_eq!(decompress(Compression::Snappy, &packed, 4096).unwrap(), plain);
    }

    #[test]
    fn a_snappy_length_that_its_bytes_cannot_give_sizes_no_allocation() {
        // Claims 2^31 bytes in a six-byte message.
        let packed = [0x80, 0x80, 0x80, 0x80, 0x08, 0x00];
        assert!(decompress(Compression::Snappy, &packed, usize::MAX).is_err());
    }

    #[test]
    fn lz4_as_the_java_client_reads_it_has_independent_blocks() {
        let packed = compress(Compression::Lz4, None, &[1; 200_000]).unwrap();
        assert_eq!(packed[..4], [0x04, 0x22, 0x4d, 0x18]);
        let flags = packed[4];
        assert_eq!(flags >> 6, 1, "version");
        assert_eq!(flags & 0x20, 0x20, "block independence");
    }

    #[test]
    fn lz4_with_linked_blocks_and_checksums_is_read() {
        use std::io::Write;
        let mut info = lz4_flex::frame::FrameInfo::new();
        info.block_mode = lz4_flex::frame::BlockMode::Linked;
        info.content_checksum = true;
        info.block_checksums = true;
        let plain = b"librdkafka links its blocks ".repeat(9000);
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&plain).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(decompress(Compression::Lz4, &packed, 1 << 20).unwrap(), plain);
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(plain: Vec<u8>, level in prop::option::of(1..9i32)) {
            for compression in ALL {
                let packed = compress(compression, level, &plain).unwrap();
                prop_assert_eq!(&decompress(compression, &packed, plain.len()).unwrap(), &plain);
            }
        }

        #[test]
        fn any_bytes_are_decompressed_without_panic(bytes: Vec<u8>) {
            for compression in ALL {
                let _ = decompress(compression, &bytes, 1 << 16);
                // A cut frame: starts well and ends anywhere.
                let packed = compress(compression, None, &bytes).unwrap();
                let _ = decompress(compression, &packed[..packed.len() / 2], 1 << 16);
            }
        }
    }
}
