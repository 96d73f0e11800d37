//! A reply on its way out: a frame in parts, some of them shared with caches.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;

use crate::budget::Claim;

/// Sent bytes of one response: its size, its header and its body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) parts: Vec<Bytes>,
    pub(crate) bytes: usize,
    /// Memory that its parts hold.
    pub(crate) claims: [Claim; 2],
}

/// Collects a reply; what is written by reference is never copied.
#[derive(Debug)]
pub(crate) struct ReplyBuilder {
    parts: Vec<Bytes>,
    /// Bytes in `parts`.
    shared: usize,
    tail: BytesMut,
}

/// Parts below this size are copied together: a `writev` takes few parts, and each costs the kernel time.
const SHARED_FROM: usize = 2 << 10;

/// Which response header a reply carries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyHeader {
    pub(crate) correlation_id: i32,
    /// Version 1 of the header, with a (here always empty) tagged section.
    pub(crate) tagged: bool,
}

impl ReplyBuilder {
    /// A reply with its header; `capacity` estimates what is written into it by value.
    pub(crate) fn new(header: ReplyHeader, capacity: usize) -> Self {
        let mut tail = BytesMut::with_capacity(capacity + 16);
        // The size is patched in `finish`.
        tail.put_i32(0);
        tail.put_i32(header.correlation_id);
        if header.tagged {
            tail.put_u8(0);
        }
        Self { parts: Vec::new(), shared: 0, tail }
    }

    /// Where values are written.
    pub(crate) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Appends bytes by reference; a few bytes are copied, which costs less than a part of their own.
    pub(crate) fn share(&mut self, bytes: Bytes) {
        if bytes.len() < SHARED_FROM {
            self.tail.extend_from_slice(&bytes);
            return;
        }
        if !self.tail.is_empty() {
            let written = self.tail.split().freeze();
            self.shared += written.len();
            self.parts.push(written);
        }
        self.shared += bytes.len();
        self.parts.push(bytes);
    }

    /// The reply with its size filled in; `None` if it does not fit Kafka's four-byte size.
    pub(crate) fn finish(mut self) -> Option<Reply> {
        let bytes = self.shared + self.tail.len();
        let size = i32::try_from(bytes - 4).ok()?.to_be_bytes();
        if self.parts.is_empty() {
            self.tail[..4].copy_from_slice(&size);
        } else {
            // The first part shares its allocation with the tail by now: replace its place holder.
            self.parts[0].advance(4);
            self.parts.insert(0, Bytes::copy_from_slice(&size));
        }
        if !self.tail.is_empty() {
            self.parts.push(self.tail.freeze());
        }
        Some(Reply { parts: self.parts, bytes, claims: Default::default() })
    }
}

/// Encodes a response message of the wire crate.
///
/// # Errors
/// The message sets a field that its version does not have, or is too large: a bug of the handler.
pub(crate) fn encode<M: Encodable>(header: ReplyHeader, version: i16, message: &M) -> Result<Reply, String> {
    let size = message.compute_size(version).map_err(|error| error.to_string())?;
    let mut builder = ReplyBuilder::new(header, size);
    message.encode(builder.tail(), version).map_err(|error| error.to_string())?;
    builder.finish().ok_or_else(|| format!("a response of {size} bytes does not fit a frame"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_counts_shared_and_written_parts() {
        let mut builder = ReplyBuilder::new(ReplyHeader { correlation_id: 7, tagged: true }, 0);
        builder.tail().put_u8(1);
        let records = vec![9; SHARED_FROM];
        builder.share(Bytes::from(records.clone()));
        builder.share(Bytes::from_static(b"few"));
        builder.share(Bytes::new());
        builder.tail().put_u8(2);
        let reply = builder.finish().expect("small");
        assert_eq!(reply.parts.len(), 4, "size, head, records, rest");
        let bytes = reply.parts.concat();
        let size = u32::try_from(bytes.len() - 4).expect("small").to_be_bytes();
        assert_eq!(bytes, [&size[..], &[0, 0, 0, 7, 0, 1], &records, b"few", &[2]].concat());
        assert_eq!(reply.bytes, bytes.len());
    }
}
