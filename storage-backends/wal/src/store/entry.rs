//! What the store's own log holds: frames of segments, as their owners wrote them, and seals.

use bytes::Bytes;

use crate::frame::Header;
use crate::{Lsn, Record};

/// No frame has this number.
const SEAL: u64 = u64::MAX - 1;
/// Bytes of a seal: epoch and owner.
const SEAL_BYTES: usize = 8 + 4;

/// One record of the store's log.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A frame of a segment.
    Frame { segment: u64, frame: Frame },
    /// A promise to take no more frames of a segment.
    Seal { segment: u64, owner: u32, epoch: u64 },
}

/// A frame whose checksums were found right, and what its header tells.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    pub(crate) header: Header,
    pub(crate) checksum: u32,
    /// The LSN after the last record that ends in it.
    pub(crate) whole_end: u64,
}

impl Frame {
    /// Checks a frame from its first to its last byte.
    pub(crate) fn check(bytes: Bytes) -> Result<Self, String> {
        if bytes.len() < aquifer_disk::BLOCK {
            return Err("it is shorter than a block".to_owned());
        }
        let (header, checksum) = Header::open(&bytes).map_err(|fault| fault.to_string())?;
        if header.frame_length() != bytes.len() {
            return Err("its length is not what its header says".to_owned());
        }
        let fragments = header.check_body(bytes.clone()).map_err(|fault| fault.to_string())?;
        let whole = fragments.iter().filter(|fragment| fragment.last()).count() as u64;
        Ok(Self { whole_end: header.lsn + whole, bytes, header, checksum })
    }
}

impl Entry {
    /// The entry as the log takes it.
    pub(crate) fn record(&self) -> Record {
        let (stream, number, payload) = match self {
            Self::Frame { segment, frame } => (*segment, frame.header.sequence, frame.bytes.clone()),
            Self::Seal { segment, owner, epoch } => {
                let mut payload = Vec::with_capacity(SEAL_BYTES);
                payload.extend(epoch.to_le_bytes());
                payload.extend(owner.to_le_bytes());
                (*segment, SEAL, payload.into())
            }
        };
        Record { stream, first_offset: number, end_offset: number + 1, payload }
    }

    /// Reads an entry back. The log's own checksums cover it, so that what is wrong here was written wrong.
    pub(crate) fn read(lsn: Lsn, record: Record) -> Result<Self, String> {
        let segment = record.stream;
        if record.first_offset != SEAL {
            let frame = Frame::check(record.payload).map_err(|reason| format!("entry {lsn}: {reason}"))?;
            return Ok(Self::Frame { segment, frame });
        }
        let seal: [u8; SEAL_BYTES] =
            record.payload[..].try_into().map_err(|_| format!("entry {lsn}: not a seal"))?;
        let (epoch, owner) = seal.split_first_chunk().expect("eight of twelve bytes");
        let owner = u32::from_le_bytes(owner.try_into().expect("the other four"));
        Ok(Self::Seal { segment, owner, epoch: u64::from_le_bytes(*epoch) })
    }
}
