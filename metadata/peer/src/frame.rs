//! Frames, as they stand on the wire.
//!
//! ```text
//!   payload length u32 | kind u8 | channel u8 | 0 u16 | id u64 | CRC32C u32 | payload
//! ```
//!
//! Big-endian. The CRC covers all but itself; where TLS already protects the bytes it is 0.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

pub(crate) const HEADER_BYTES: usize = 20;
const CRC_AT: usize = 16;
/// Room for many small frames with one read.
const READ_BYTES: usize = 16 << 10;
/// What a large frame's announced length may reserve before its bytes arrive: the frames of the WAL fit.
const TRUSTED_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// First frame each way.
    Hello = 1,
    /// Instead of an answer: not acted upon, with the reason as text.
    Declined = 2,
    Request = 3,
    Reply = 4,
    /// "I am here", from a side with nothing else to say. Wants no answer.
    Ping = 5,
    /// Opens a stream; answered by `Opened` or `Declined`.
    Open = 6,
    Opened = 7,
    Data = 8,
    /// The sender's direction of a stream is complete.
    End = 9,
    /// The connection is closed on purpose.
    Goodbye = 10,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        use Kind::*;
        [Hello, Declined, Request, Reply, Ping, Open, Opened, Data, End, Goodbye]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) channel: u8,
    pub(crate) id: u64,
    pub(crate) length: usize,
}

/// A frame to be written; the payload in pieces that are never joined.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) channel: u8,
    pub(crate) id: u64,
    pub(crate) payload: Payload,
}

/// One piece is by far the most common.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Payload {
    fn pieces(&self) -> &[Bytes] {
        match self {
            Self::One(piece) => std::slice::from_ref(piece),
            Self::Many(pieces) => pieces,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces().iter().map(Bytes::len).sum()
    }
}

impl Frame {
    pub(crate) fn bare(kind: Kind) -> Self {
        Self::new(kind, 0, 0, Bytes::new())
    }

    pub(crate) fn new(kind: Kind, channel: u8, id: u64, payload: Bytes) -> Self {
        Self { kind, channel, id, payload: Payload::One(payload) }
    }

    fn header(&self, sealed: bool) -> Bytes {
        let length = u32::try_from(self.payload.len()).expect("payloads are limited by their channel");
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&length.to_be_bytes());
        header[4] = self.kind as u8;
        header[5] = self.channel;
        header[8..CRC_AT].copy_from_slice(&self.id.to_be_bytes());
        if !sealed {
            let crc = crc32c::crc32c(&header[..CRC_AT]);
            let crc = self.payload.pieces().iter().fold(crc, |crc, piece| crc32c::crc32c_append(crc, piece));
            header[CRC_AT..].copy_from_slice(&crc.to_be_bytes());
        }
        Bytes::copy_from_slice(&header)
    }
}

/// Writes frames; pieces go out by vectored writes, uncopied.
pub(crate) struct FrameWriter<W> {
    io: W,
    sealed: bool,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub(crate) fn new(io: W, sealed: bool) -> Self {
        Self { io, sealed }
    }

    /// Writes all of `frames`. Not cancel-safe: a frame may have been written in part.
    pub(crate) async fn write(&mut self, frames: impl IntoIterator<Item = Frame>) -> io::Result<()> {
        let mut pieces = Pieces(VecDeque::new());
        for frame in frames {
            pieces.push(frame.header(self.sealed));
            match frame.payload {
                Payload::One(piece) => pieces.push(piece),
                Payload::Many(many) => many.into_iter().for_each(|piece| pieces.push(piece)),
            }
        }
        self.io.write_all_buf(&mut pieces).await?;
        self.io.flush().await
    }

    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        self.io.shutdown().await
    }
}

/// Pieces to be written in order; none is empty.
struct Pieces(VecDeque<Bytes>);

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.0.push_back(piece);
        }
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.0);
        filled.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn has_remaining(&self) -> bool {
        !self.0.is_empty()
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let front = self.0.front_mut().expect("no more is consumed than remains");
            if count < front.len() {
                return front.advance(count);
            }
            count -= front.len();
            self.0.pop_front();
        }
    }
}

/// Reads frames. A payload is a slice of what the socket was read into.
pub(crate) struct FrameReader<R> {
    io: R,
    sealed: bool,
    buffer: BytesMut,
    /// How long nothing at all may come.
    silence: Option<Duration>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(io: R, sealed: bool) -> Self {
        Self { io, sealed, buffer: BytesMut::new(), silence: None }
    }

    /// From now on it is an error (`TimedOut`) if nothing comes for so long.
    pub(crate) fn limit_silence(&mut self, limit: Duration) {
        self.silence = Some(limit);
    }

    /// The next frame, or `None` if the other side closed between two frames. Cancel-safe.
    ///
    /// `limit` says the largest payload that a header may announce.
    ///
    /// # Errors
    /// The socket's, or `InvalidData` for what is no frame.
    pub(crate) async fn read(
        &mut self,
        limit: impl Fn(&Header) -> usize,
    ) -> io::Result<Option<(Header, Bytes)>> {
        loop {
            let missing = match self.header()? {
                None => READ_BYTES,
                Some(header) => {
                    let limit = limit(&header);
                    if header.length > limit {
                        return Err(invalid(format!("a frame of {} bytes, at most {limit}", header.length)));
                    }
                    let whole = HEADER_BYTES + header.length;
                    if self.buffer.len() >= whole {
                        return self.take(header, whole).map(Some);
                    }
                    whole - self.buffer.len()
                }
            };
            // Large frames grow with what really arrived.
            self.buffer.reserve(missing.min(self.buffer.len().max(TRUSTED_BYTES)).max(READ_BYTES));
            let read = self.io.read_buf(&mut self.buffer);
            let read = match self.silence {
                None => read.await?,
                Some(limit) => tokio::time::timeout(limit, read).await.map_err(|_| {
                    io::Error::new(io::ErrorKind::TimedOut, format!("silent for {limit:?}"))
                })??,
            };
            if read == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    fn header(&self) -> io::Result<Option<Header>> {
        let Some(mut bytes) = self.buffer.get(..HEADER_BYTES) else { return Ok(None) };
        let length = bytes.get_u32() as usize;
        let kind = bytes.get_u8();
        let kind = Kind::from_byte(kind).ok_or_else(|| invalid(format!("a frame of kind {kind}")))?;
        let channel = bytes.get_u8();
        bytes.advance(2);
        Ok(Some(Header { kind, channel, id: bytes.get_u64(), length }))
    }

    fn take(&mut self, header: Header, whole: usize) -> io::Result<(Header, Bytes)> {
        let frame = self.buffer.split_to(whole).freeze();
        if !self.sealed {
            let (expected, found) = (
                (&frame[CRC_AT..HEADER_BYTES]).get_u32(),
                crc32c::crc32c_append(crc32c::crc32c(&frame[..CRC_AT]), &frame[HEADER_BYTES..]),
            );
            if expected != found {
                return Err(invalid(format!("CRC32C is {found:08x}, the frame says {expected:08x}")));
            }
        }
        Ok((header, frame.slice(HEADER_BYTES..)))
    }
}

pub(crate) fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn written(frames: Vec<Frame>, sealed: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        FrameWriter::new(&mut bytes, sealed).write(frames).await.expect("a vector takes all");
        bytes
    }

    fn data(pieces: &[&'static [u8]]) -> Frame {
        let payload = Payload::Many(pieces.iter().map(|piece| Bytes::from_static(piece)).collect());
        Frame { kind: Kind::Data, channel: 7, id: 9, payload }
    }

    #[tokio::test]
    async fn frames_come_back_whole_and_in_order() {
        for sealed in [false, true] {
            let bytes = written(vec![data(&[b"ab", b"", b"cde"]), Frame::bare(Kind::Ping)], sealed).await;
            let mut reader = FrameReader::new(&*bytes, sealed);
            let (header, payload) = reader.read(|_| 5).await.expect("well-formed").expect("a frame");
            assert_eq!((header.kind, header.channel, header.id), (Kind::Data, 7, 9));
            assert_eq!(payload, "abcde");
            let (header, payload) = reader.read(|_| 5).await.expect("well-formed").expect("a frame");
            assert_eq!((header.kind, payload.len()), (Kind::Ping, 0));
            assert!(reader.read(|_| 5).await.expect("closed in between").is_none());
        }
    }

    #[tokio::test]
    async fn every_flipped_bit_is_found() {
        let bytes = written(vec![data(&[b"payload"])], false).await;
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let read = FrameReader::new(&*damaged, false).read(|_| 64).await;
            assert!(read.is_err(), "bit {bit}");
        }
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_is_refused_by_its_header() {
        let bytes = written(vec![data(&[b"payload"])], false).await;
        let error = FrameReader::new(&bytes[..HEADER_BYTES], false).read(|_| 6).await.expect_err("too large");
        assert_eq!(error.to_string(), "a frame of 7 bytes, at most 6");
    }

    #[tokio::test]
    async fn a_frame_cut_short_is_not_the_end() {
        let bytes = written(vec![data(&[b"payload"])], false).await;
        let error = FrameReader::new(&bytes[..bytes.len() - 1], false).read(|_| 64).await.expect_err("cut");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
