//! The format of a frame, the unit of the log's I/O.
//!
//! ```text
//!   0        128                                                        n * 4096
//!   | header | fragment | payload | fragment | payload | … | zeros ...... |
//! ```
//!
//! All numbers are little-endian. A fragment is a record, or a part of one that did not fit into its frame. The header's
//! checksum covers the header, which holds the body's; the padding must be zeros.

use aquifer_disk::{AlignedBuf, BLOCK};
use bytes::Bytes;

use crate::{Identity, Record};

/// The version of this format.
pub(crate) const VERSION: u16 = 1;
/// The largest frame in bytes.
pub(crate) const MAX_FRAME: usize = 1 << 20;
/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 128;
/// Bytes of a fragment's header.
pub(crate) const FRAGMENT: usize = 40;

const MAGIC: u32 = u32::from_le_bytes(*b"AqWF");
/// The first fragment goes on with the last record of the frame before.
const CONTINUES: u32 = 1;

/// The header of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) identity: Identity,
    /// Whether the first fragment goes on with the record that the frame before left unfinished.
    pub(crate) continues: bool,
    /// The writer's epoch, a raft log index. As long as segments have one writer: the segment's id.
    pub(crate) epoch: u64,
    pub(crate) segment: u64,
    /// 0, 1, 2, … in the segment.
    pub(crate) sequence: u64,
    /// LSN of the record that the first fragment belongs to; of the next record if there is none.
    pub(crate) lsn: u64,
    /// The lowest sequence number that was not durable when this frame was issued.
    pub(crate) oldest_in_flight: u64,
    /// The end of what was durable when this frame was issued.
    pub(crate) commit_lsn: u64,
    /// Everything below was trimmed when this frame was issued.
    pub(crate) trim_lsn: u64,
    pub(crate) body_length: u32,
    pub(crate) fragments: u32,
    /// The checksum of the header of the frame before, also across segments.
    pub(crate) previous_checksum: u32,
    pub(crate) body_checksum: u32,
}

/// Why bytes are not the frame that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NotAFrame,
    HeaderChecksum,
    Version(u16),
    Length,
    BodyChecksum,
    Padding,
    Fragments,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotAFrame => "there is no frame",
            Self::HeaderChecksum => "the header's checksum does not match",
            Self::Version(_) => "the frame has another format version",
            Self::Length => "the frame's length is impossible",
            Self::BodyChecksum => "the body's checksum does not match",
            Self::Padding => "the padding is not zeros",
            Self::Fragments => "the body's records do not fit its length",
        })
    }
}

impl Header {
    /// Bytes of the whole frame on disk.
    pub(crate) fn frame_length(&self) -> usize {
        frame_length(self.body_length as usize)
    }

    /// The LSN after the last record with bytes in the frame before this one.
    pub(crate) fn end_before(&self) -> u64 {
        self.lsn + u64::from(self.continues)
    }

    /// The LSN after the last record that this frame touches.
    pub(crate) fn touched_end(&self) -> u64 {
        self.lsn + u64::from(self.fragments)
    }

    /// Writes the header over the frame's first bytes, pads the frame and returns the header's checksum.
    pub(crate) fn seal(mut self, frame: &mut AlignedBuf) -> u32 {
        let body = frame.len() - HEADER;
        self.body_length = u32::try_from(body).expect("a frame is far below 4 GiB");
        self.body_checksum = crc32c::crc32c(&frame[HEADER..]);
        frame.extend_zeros(frame_length(body) - HEADER - body);
        let mut out = Writer { bytes: &mut frame[..HEADER] };
        out.put(&MAGIC.to_le_bytes());
        out.put(&VERSION.to_le_bytes());
        out.put(&(HEADER as u16).to_le_bytes());
        out.put(&self.identity.cluster.to_le_bytes());
        out.put(&self.identity.disk.to_le_bytes());
        out.put(&self.identity.owner.to_le_bytes());
        out.put(&(if self.continues { CONTINUES } else { 0 }).to_le_bytes());
        for number in [
            self.epoch,
            self.segment,
            self.sequence,
            self.lsn,
            self.oldest_in_flight,
            self.commit_lsn,
            self.trim_lsn,
        ] {
            out.put(&number.to_le_bytes());
        }
        for number in [self.body_length, self.fragments, self.previous_checksum, self.body_checksum] {
            out.put(&number.to_le_bytes());
        }
        out.put(&[0; 12]);
        let checksum = crc32c::crc32c(&frame[..HEADER - 4]);
        frame[HEADER - 4..HEADER].copy_from_slice(&checksum.to_le_bytes());
        checksum
    }

    /// Reads a header and its checksum from the beginning of a block.
    pub(crate) fn open(block: &[u8]) -> Result<(Self, u32), Fault> {
        let mut input = Reader { bytes: &block[..HEADER] };
        if input.u32() != MAGIC {
            return Err(Fault::NotAFrame);
        }
        let checksum = u32::from_le_bytes(block[HEADER - 4..HEADER].try_into().expect("4 bytes"));
        if crc32c::crc32c(&block[..HEADER - 4]) != checksum {
            return Err(Fault::HeaderChecksum);
        }
        let version = input.u16();
        if version != VERSION {
            return Err(Fault::Version(version));
        }
        let _header_length = input.u16();
        let identity = Identity { cluster: input.u64(), disk: input.u128(), owner: input.u32() };
        let flags = input.u32();
        let header = Self {
            identity,
            continues: flags & CONTINUES != 0,
            epoch: input.u64(),
            segment: input.u64(),
            sequence: input.u64(),
            lsn: input.u64(),
            oldest_in_flight: input.u64(),
            commit_lsn: input.u64(),
            trim_lsn: input.u64(),
            body_length: input.u32(),
            fragments: input.u32(),
            previous_checksum: input.u32(),
            body_checksum: input.u32(),
        };
        if header.frame_length() > MAX_FRAME {
            return Err(Fault::Length);
        }
        Ok((header, checksum))
    }

    /// Whether a damaged block still says that it is this frame.
    pub(crate) fn claims(block: &[u8], segment: u64, sequence: u64) -> bool {
        block[..4] == MAGIC.to_le_bytes()
            && block[48..56] == segment.to_le_bytes()
            && block[56..64] == sequence.to_le_bytes()
    }

    /// Checks a whole frame's body and gives its fragments.
    pub(crate) fn check_body(&self, frame: Bytes) -> Result<Vec<Fragment>, Fault> {
        let end = HEADER + self.body_length as usize;
        if crc32c::crc32c(&frame[HEADER..end]) != self.body_checksum {
            return Err(Fault::BodyChecksum);
        }
        if frame[end..].iter().any(|byte| *byte != 0) {
            return Err(Fault::Padding);
        }
        let fragments = Fragment::read_all(&frame.slice(HEADER..end));
        if fragments.len() != self.fragments as usize || fragments.iter().any(|fragment| !fragment.whole()) {
            return Err(Fault::Fragments);
        }
        Ok(fragments)
    }
}

/// Bytes on disk of a frame with a body of `body` bytes.
pub(crate) fn frame_length(body: usize) -> usize {
    (HEADER + body).next_multiple_of(BLOCK)
}

/// A record, or a part of one.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    pub(crate) stream: u64,
    pub(crate) first_offset: u64,
    pub(crate) end_offset: u64,
    /// Bytes of the whole record's payload.
    pub(crate) payload_length: u32,
    /// Where this part begins in it.
    pub(crate) position: u32,
    /// This part's length, as its header says.
    pub(crate) length: u32,
    pub(crate) bytes: Bytes,
}

impl Fragment {
    /// Appends the part of `record` that begins at `position`, as much of it as `length` says.
    pub(crate) fn write(frame: &mut AlignedBuf, record: &Record, position: usize, length: usize) {
        let mut header = [0; FRAGMENT];
        let mut out = Writer { bytes: &mut header };
        for number in [record.stream, record.first_offset, record.end_offset] {
            out.put(&number.to_le_bytes());
        }
        for number in [record.payload.len(), position, length, 0] {
            let number = u32::try_from(number).expect("a payload is at most Record::MAX_PAYLOAD");
            out.put(&number.to_le_bytes());
        }
        frame.extend_from_slice(&header);
        frame.extend_from_slice(&record.payload[position..position + length]);
    }

    /// Reads what can be read; in a body with a good checksum that is all of it.
    pub(crate) fn read_all(body: &Bytes) -> Vec<Self> {
        let mut fragments = Vec::new();
        let mut at = 0;
        while body.len() - at >= FRAGMENT {
            let mut input = Reader { bytes: &body[at..at + FRAGMENT] };
            let (stream, first_offset, end_offset) = (input.u64(), input.u64(), input.u64());
            let (payload_length, position, length) = (input.u32(), input.u32(), input.u32());
            at += FRAGMENT;
            let Some(end) = at.checked_add(length as usize).filter(|end| *end <= body.len()) else { break };
            let bytes = body.slice(at..end);
            fragments.push(Self {
                stream,
                first_offset,
                end_offset,
                payload_length,
                position,
                length,
                bytes,
            });
            at = end;
        }
        fragments
    }

    /// Whether this is the last part of its record.
    pub(crate) fn last(&self) -> bool {
        self.position + self.length == self.payload_length
    }

    fn whole(&self) -> bool {
        self.position.checked_add(self.length).is_some_and(|end| end <= self.payload_length)
    }
}

struct Writer<'a> {
    bytes: &'a mut [u8],
}

impl Writer<'_> {
    fn put(&mut self, value: &[u8]) {
        let (here, rest) = std::mem::take(&mut self.bytes).split_at_mut(value.len());
        here.copy_from_slice(value);
        self.bytes = rest;
    }
}

/// Reads numbers from a slice that is known to be long enough.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (here, rest) = self.bytes.split_first_chunk().expect("the caller gave a whole header");
        self.bytes = rest;
        *here
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn u128(&mut self) -> u128 {
        u128::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use aquifer_disk::BufferPool;
    use proptest::prelude::*;

    use super::*;

    fn header(fragments: u32) -> Header {
        Header {
            identity: Identity { cluster: 1, disk: 2, owner: 3 },
            continues: true,
            epoch: 4,
            segment: 5,
            sequence: 6,
            lsn: 7,
            oldest_in_flight: 8,
            commit_lsn: 9,
            trim_lsn: 10,
            body_length: 0,
            fragments,
            previous_checksum: 11,
            body_checksum: 0,
        }
    }

    fn sealed(payloads: &[Vec<u8>]) -> (AlignedBuf, u32) {
        let mut frame = BufferPool::new().take(MAX_FRAME);
        frame.extend_zeros(HEADER);
        for (stream, payload) in (0..).zip(payloads) {
            let payload = Bytes::from(payload.clone());
            let record = Record { stream, first_offset: 20, end_offset: 30, payload };
            Fragment::write(&mut frame, &record, 0, record.payload.len());
        }
        let checksum = header(payloads.len() as u32).seal(&mut frame);
        (frame, checksum)
    }

    /// The places of the fields are the format: releases to come must read them.
    #[test]
    fn an_empty_frame_is_these_bytes() {
        let (frame, checksum) = sealed(&[]);
        assert_eq!(frame.len(), BLOCK);
        let mut expected = Vec::new();
        expected.extend(b"AqWF\x01\0\x80\0");
        expected.extend(1_u64.to_le_bytes());
        expected.extend(2_u128.to_le_bytes());
        expected.extend(3_u32.to_le_bytes());
        expected.extend(1_u32.to_le_bytes());
        (4..=10_u64).for_each(|number| expected.extend(number.to_le_bytes()));
        [0_u32, 0, 11, 0].iter().for_each(|number| expected.extend(number.to_le_bytes()));
        expected.extend([0; 12]);
        expected.extend(checksum.to_le_bytes());
        expected.resize(BLOCK, 0);
        assert_eq!(frame[..], expected[..]);
        assert!(Header::claims(&frame, 5, 6) && !Header::claims(&frame, 5, 7));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_sealed_is_opened(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..6)) {
            let (frame, checksum) = sealed(&payloads);
            let (opened, found) = Header::open(&frame).expect("whole");
            prop_assert_eq!(found, checksum);
            prop_assert_eq!(opened.frame_length(), frame.len());
            let fragments = opened.check_body(Bytes::copy_from_slice(&frame)).expect("whole");
            let read: Vec<_> = fragments.iter().map(|fragment| fragment.bytes.to_vec()).collect();
            prop_assert_eq!(read, payloads);
        }

        #[test]
        fn no_flipped_bit_goes_unnoticed(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..4),
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let (frame, _) = sealed(&payloads);
            let mut bytes = frame.to_vec();
            bytes[at.index(frame.len())] ^= 1_u8 << bit;
            let whole = Header::open(&bytes).and_then(|(header, _)| header.check_body(bytes.into()));
            prop_assert!(whole.is_err());
        }
    }
}
