//! A stream: frames both ways in order, on a connection of its own.

use std::fmt;
use std::io;

use aquifer_types::NodeId;
use bytes::Bytes;

use crate::channel::Channel;
use crate::error::StreamError;
use crate::frame::{Frame, Header, Kind, Payload, invalid};
use crate::gone::{End, Report};
use crate::link::{Reader, Writer};

/// The sending half. TCP is its backpressure: when the other end does not read, [`StreamSender::send`] waits.
///
/// Dropping it without [`StreamSender::end`] breaks the stream for the other end as soon as the receiving half is
/// dropped too.
pub struct StreamSender {
    pub(crate) node: NodeId,
    pub(crate) channel: Channel,
    pub(crate) writer: Writer,
    /// A write was begun and did not end: the other end would take the next frame for the rest of it.
    pub(crate) torn: bool,
}

impl StreamSender {
    /// The node at the other end.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Sends one frame, whose `pieces` go out one after the other without being copied together.
    ///
    /// Returns when the socket has taken it, not when it has arrived. If this future is dropped in between, the
    /// stream is broken.
    ///
    /// # Errors
    /// [`StreamError::Broken`], and for ever after.
    pub async fn send(&mut self, pieces: &[Bytes]) -> Result<(), StreamError> {
        let payload = Payload::Many(pieces.to_vec());
        let (bytes, limit) = (payload.len(), self.channel.max_bytes);
        if bytes > limit {
            return Err(StreamError::TooLarge { bytes, limit, channel: self.channel.name });
        }
        self.write(Frame { kind: Kind::Data, channel: self.channel.id, id: 0, payload }).await
    }

    /// Says that nothing more will come: the other end's [`StreamReceiver::receive`] gives `None`.
    ///
    /// # Errors
    /// As [`StreamSender::send`].
    pub async fn end(mut self) -> Result<(), StreamError> {
        self.write(Frame::bare(Kind::End)).await?;
        self.writer.shutdown().await.map_err(|source| StreamError::Broken { node: self.node, source })
    }

    async fn write(&mut self, frame: Frame) -> Result<(), StreamError> {
        let broken = |source| StreamError::Broken { node: self.node, source };
        if self.torn {
            return Err(broken(io::Error::other("an earlier frame was not sent whole")));
        }
        self.torn = true;
        self.writer.write([frame]).await.map_err(broken)?;
        self.torn = false;
        Ok(())
    }
}

/// The receiving half.
pub struct StreamReceiver {
    pub(crate) node: NodeId,
    pub(crate) channel: Channel,
    pub(crate) reader: Reader,
    pub(crate) report: Report,
    pub(crate) ended: bool,
}

impl StreamReceiver {
    /// The node at the other end.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The next frame, a slice of what the socket was read into; `None` after the other end's
    /// [`StreamSender::end`]. Cancel-safe.
    ///
    /// # Errors
    /// [`StreamError::Broken`]. What had arrived before was given.
    pub async fn receive(&mut self) -> Result<Option<Bytes>, StreamError> {
        if self.ended {
            return Ok(None);
        }
        let limit = |header: &Header| match header.kind {
            Kind::Data => self.channel.max_bytes,
            _ => 0,
        };
        let read = match self.reader.read(limit).await {
            Ok(Some((header, payload))) => match header.kind {
                Kind::Data => return Ok(Some(payload)),
                Kind::End => Ok(()),
                kind => Err(invalid(format!("a frame of kind {kind:?} in a stream"))),
            },
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(error),
        };
        self.ended = true;
        match read {
            Ok(()) => Ok(None),
            Err(source) => {
                self.report.ended(End::of(&source));
                Err(StreamError::Broken { node: self.node, source })
            }
        }
    }
}

impl fmt::Debug for StreamSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSender").field("node", &self.node).finish_non_exhaustive()
    }
}

impl fmt::Debug for StreamReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReceiver").field("node", &self.node).finish_non_exhaustive()
    }
}
