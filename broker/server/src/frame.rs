//! Frames from a byte stream: a four-byte size, then that many bytes.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout};

use crate::budget::{Claim, RequestMemory};
use crate::config::Limits;
use crate::pace::{HURRIED_BYTES, HURRY, Pace, Verdict};
use crate::slabs::Slabs;

/// Frames up to this size go through the connection's read buffer and claim memory only once whole.
pub(crate) const SMALL_FRAME_BYTES: usize = 64 << 10;

/// A connection that is quiet holds a read buffer of this size.
const LEAST_BUFFER_BYTES: usize = 2 << 10;

/// A large frame's buffer never has more than this many times the bytes that arrived for it.
const GROWTH: usize = 16;

/// A request as it arrived, without its size.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Header and body.
    pub(crate) bytes: BytesMut,
    /// The allocation holds this frame alone, so parts of it may be kept without pinning others.
    pub(crate) alone: bool,
    /// Its memory.
    pub(crate) claim: Claim,
}

/// Why no further frame can be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer closed in the middle of a frame.
    #[error("the peer closed in the middle of a request")]
    Truncated,
    /// The announced size is negative or beyond `socket.request.max.bytes`.
    #[error("a request of {size} bytes was announced; socket.request.max.bytes is {limit}")]
    Size {
        /// As announced.
        size: i32,
        /// The option.
        limit: usize,
    },
    /// Nothing arrived for the idle time.
    #[error("no request for {0:?}")]
    Idle(Duration),
    /// A frame began and did not go on.
    #[error("a request stopped arriving for {0:?}")]
    Stalled(Duration),
    /// It came so slowly that others waited for its memory.
    #[error(
        "a request brought less than {HURRIED_BYTES} bytes in {HURRY:?} while others waited for its memory"
    )]
    HoldsUp,
}

/// Reads frames in order.
pub(crate) struct FrameReader<R> {
    reader: R,
    buffer: BytesMut,
    /// Size of the next read buffer: doubles while reads fill it, shrinks when they do not.
    room: usize,
    max_request_bytes: usize,
    idle: Duration,
    stall: Duration,
    memory: RequestMemory,
    slabs: Slabs,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(reader: R, limits: &Limits, memory: RequestMemory, slabs: Slabs) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            room: LEAST_BUFFER_BYTES,
            max_request_bytes: limits.max_request_bytes,
            idle: limits.idle,
            stall: limits.stall,
            memory,
            slabs,
        }
    }

    /// The next frame; `None` when the peer closed between two frames.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(size) = self.size().await? else { return Ok(None) };
        if size <= SMALL_FRAME_BYTES {
            self.fill(size).await?;
            let claim = self.memory.of_frame(self.api_key(size)).claim(size).await;
            return Ok(Some(Frame { bytes: self.buffer.split_to(size), alone: false, claim }));
        }
        // A size that is only announced claims nothing: real bytes come first.
        self.fill(SMALL_FRAME_BYTES).await?;
        let claim = self.memory.of_frame(self.api_key(size)).claim(size).await;
        let bytes = self.large(size, &claim).await?;
        Ok(Some(Frame { bytes, alone: true, claim }))
    }

    async fn size(&mut self) -> Result<Option<usize>, FrameError> {
        if self.buffer.is_empty() {
            let first = timeout(self.idle, self.read_more(0)).await;
            if first.map_err(|_| FrameError::Idle(self.idle))?? == 0 {
                return Ok(None);
            }
        }
        self.fill(4).await?;
        let size = self.buffer.get_i32();
        match usize::try_from(size) {
            Ok(bytes) if bytes <= self.max_request_bytes => Ok(Some(bytes)),
            _ => Err(FrameError::Size { size, limit: self.max_request_bytes }),
        }
    }

    /// The API of the frame at the buffer's start, as it claims to be; a frame too short to say is no Produce.
    fn api_key(&self, size: usize) -> i16 {
        match *self.buffer {
            [high, low, ..] if size >= 2 => i16::from_be_bytes([high, low]),
            _ => -1,
        }
    }

    /// Reads until the buffer holds `wanted` bytes, which is at most a small frame.
    async fn fill(&mut self, wanted: usize) -> Result<(), FrameError> {
        while self.buffer.len() < wanted {
            let more = timeout(self.stall, self.read_more(wanted - self.buffer.len())).await;
            if more.map_err(|_| FrameError::Stalled(self.stall))?? == 0 {
                return Err(FrameError::Truncated);
            }
        }
        Ok(())
    }

    async fn read_more(&mut self, wanted: usize) -> io::Result<usize> {
        let room = self.room.max(wanted.min(4 * self.buffer.len().max(LEAST_BUFFER_BYTES)));
        self.buffer.reserve(room);
        let read = (&mut self.reader).take(room as u64).read_buf(&mut self.buffer).await?;
        if read == room {
            self.room = (room * 2).min(SMALL_FRAME_BYTES);
        } else if read < room / 4 {
            self.room = (room / 2).max(LEAST_BUFFER_BYTES);
        }
        Ok(read)
    }

    /// Reads a large frame straight into memory of its own, which `claim` holds.
    async fn large(&mut self, size: usize, claim: &Claim) -> Result<BytesMut, FrameError> {
        let arrived = self.buffer.len().min(size);
        // The largest slab is not much more than what the growth allows at once.
        let slab = self.slabs.take(size);
        let mut bytes = slab.unwrap_or_else(|| BytesMut::with_capacity(size.min(arrived * GROWTH)));
        bytes.extend_from_slice(&self.buffer[..arrived]);
        self.buffer.advance(arrived);
        let mut pace = Pace::new(self.stall, Instant::now());
        while bytes.len() < size {
            if bytes.len() == bytes.capacity() {
                bytes.reserve((bytes.len() * (GROWTH - 1)).min(size - bytes.len()));
            }
            let room = bytes.capacity().min(size) - bytes.len();
            let mut target = (&mut bytes).limit(room);
            let more = match timeout(pace.patience(), self.reader.read_buf(&mut target)).await {
                Ok(read) => match read? {
                    0 => return Err(FrameError::Truncated),
                    more => more,
                },
                Err(_) => 0,
            };
            match pace.judge(Instant::now(), more, claim.is_wanted()) {
                Verdict::GoOn => {}
                Verdict::Stalled => return Err(FrameError::Stalled(self.stall)),
                Verdict::HoldsUp => return Err(FrameError::HoldsUp),
            }
        }
        self.slabs.hand_out(&mut bytes, size);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { max_request_bytes: 1 << 20, ..Limits::default() }
    }

    fn framed(bodies: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for body in bodies {
            out.put_i32(i32::try_from(body.len()).expect("small"));
            out.extend_from_slice(body);
        }
        out
    }

    #[tokio::test]
    async fn frames_of_all_sizes_arrive_whole_and_in_order() {
        let large: Vec<u8> = (0..300_000u32).map(|i| i as u8).collect();
        let bytes = framed(&[b"one", &large, b"", b"three"]);
        let budget = RequestMemory::new(1 << 20);
        let mut reader = FrameReader::new(&bytes[..], &limits(), budget.clone(), Slabs::default());
        let mut seen = Vec::new();
        while let Some(frame) = reader.next().await.expect("well formed") {
            seen.push(frame.bytes.to_vec());
        }
        assert_eq!(seen, [b"one".to_vec(), large, Vec::new(), b"three".to_vec()]);
        assert_eq!(budget.claimed(), 0);
    }

    #[tokio::test]
    async fn an_announced_size_alone_takes_neither_buffer_nor_budget() {
        let (mut client, server) = tokio::io::duplex(64);
        let budget = RequestMemory::new(1 << 20);
        let mut reader = FrameReader::new(server, &limits(), budget.clone(), Slabs::default());
        tokio::io::AsyncWriteExt::write_all(&mut client, &(1i32 << 20).to_be_bytes()).await.expect("open");
        {
            let mut next = Box::pin(reader.next());
            assert!(futures::poll!(&mut next).is_pending());
        }
        assert_eq!(budget.claimed(), 0);
        assert!(reader.buffer.capacity() <= 4 * LEAST_BUFFER_BYTES);
    }

    #[tokio::test]
    async fn sizes_out_of_range_and_cut_frames_are_errors() {
        for (bytes, text) in [
            ((-1i32).to_be_bytes().to_vec(), "a request of -1 bytes was announced"),
            (i32::MAX.to_be_bytes().to_vec(), "a request of 2147483647 bytes was announced"),
            (vec![0, 0], "the peer closed in the middle"),
            (vec![0, 0, 0, 9, 1], "the peer closed in the middle"),
        ] {
            let mut reader =
                FrameReader::new(&bytes[..], &limits(), RequestMemory::new(1 << 20), Slabs::default());
            let error = reader.next().await.expect_err("malformed").to_string();
            assert!(error.starts_with(text), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_trickles_in_gives_its_memory_to_others() {
        let memory = RequestMemory::new(1 << 20);
        let (mut client, server) = tokio::io::duplex(200_000);
        let mut slow = FrameReader::new(server, &limits(), memory.clone(), Slabs::default());
        let mut begun = vec![0; SMALL_FRAME_BYTES + 4];
        begun[..4].copy_from_slice(&(1_i32 << 20).to_be_bytes());
        tokio::io::AsyncWriteExt::write_all(&mut client, &begun).await.expect("open");
        let trickle = async {
            for _ in 0..300 {
                tokio::time::sleep(HURRY).await;
                if tokio::io::AsyncWriteExt::write_u8(&mut client, 0).await.is_err() {
                    break;
                }
            }
        };
        let other = async {
            tokio::time::sleep(HURRY * 100).await;
            memory.of_frame(0).claim(1_000).await
        };
        let (slow, _, _) = tokio::join!(slow.next(), trickle, other);
        assert!(matches!(slow, Err(FrameError::HoldsUp)), "{slow:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_connection_and_a_stalled_frame_end_after_their_time() {
        let (client, server) = tokio::io::duplex(64);
        let mut reader = FrameReader::new(server, &limits(), RequestMemory::new(1 << 20), Slabs::default());
        assert!(matches!(reader.next().await, Err(FrameError::Idle(_))));
        drop(client);
        let (mut client, server) = tokio::io::duplex(64);
        let mut reader = FrameReader::new(server, &limits(), RequestMemory::new(1 << 20), Slabs::default());
        tokio::io::AsyncWriteExt::write_all(&mut client, &[0, 0]).await.expect("open");
        assert!(matches!(reader.next().await, Err(FrameError::Stalled(_))));
    }
}
