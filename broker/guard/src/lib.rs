//! The frame guard: no request reaches a decoder before its every length and count was held against
//! the bytes that really arrived.
//!
//! The decoder of `kafka-protocol` allocates what a count on the wire asks for and panics on short
//! headers. The guard walks the frame along a table of the API's layout first; it is a pure function
//! of (layout, version, bytes), allocates nothing and cannot panic. What it lets through decodes into
//! at most [`Passed::decoded_bytes`] bytes beside the frame itself.
//!
//! ```text
//!   frame ── parse_header ──> header, body ── check(layout, version) ──> a decoder
//!                                                                  └──> produce::parse, which copies no records
//! ```
//!
//! It does not know: connections, budgets, handlers, what a request means. `tests/fuzz` holds it against the decoders.

mod header;
pub mod produce;
mod shape;
pub mod shapes;
mod walk;

#[cfg(test)]
mod tests;

pub use header::{Header, HeaderError, parse_header, parse_prefix};
pub use shape::{Field, Kind, Shape};

/// Elements (list items and tagged fields) that one request may hold in total.
///
/// A fetch of 100 000 partitions is the largest honest request; it has as many elements.
pub const MAX_ELEMENTS: usize = 200_000;

/// Tagged fields that one struct may hold.
pub const MAX_TAGGED_FIELDS: u32 = 64;

/// What one decoded element takes at most: the largest struct of the decoder, or a node of a tag map, which has room for
/// eleven tags however few there are.
pub const DECODED_ELEMENT_BYTES: usize = 416;

/// The guard's verdict on a body that may be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// List items and tagged fields in the request.
    pub elements: usize,
    /// Bytes after the last field; Kafka ignores them, so do we.
    pub trailing: usize,
}

impl Passed {
    /// Upper bound of the memory that decoding takes beside the frame (strings and bytes stay in it).
    pub fn decoded_bytes(self) -> usize {
        self.elements * DECODED_ELEMENT_BYTES
    }
}

/// Why a body was not let through, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {api} request version {version}: {problem} in field {field} at byte {at} of its body")]
pub struct GuardError {
    api: &'static str,
    version: i16,
    field: &'static str,
    at: usize,
    problem: Problem,
}

/// What is wrong with a length, a count or a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A length or count claims more than arrived.
    #[error("{wanted} bytes wanted, {left} left")]
    Beyond {
        /// Bytes that the claim needs at least.
        wanted: usize,
        /// Bytes left in the frame.
        left: usize,
    },
    /// A length below -1.
    #[error("negative length {0}")]
    Negative(i64),
    /// A variable-length number of more than 32 bits.
    #[error("a variable-length number of more than 32 bits")]
    LongVarint,
    /// More elements than [`MAX_ELEMENTS`].
    #[error("{0} elements, more than the {MAX_ELEMENTS} that a request may hold")]
    TooManyElements(usize),
    /// More tags than [`MAX_TAGGED_FIELDS`].
    #[error("{0} tagged fields, more than the {MAX_TAGGED_FIELDS} that a struct may hold")]
    TooManyTaggedFields(u32),
    /// Tags must ascend.
    #[error("tag {0} is out of order")]
    TagOrder(u32),
    /// A known tag whose value does not fill its declared size.
    #[error("tag {0} has a size that is not its value's")]
    TagSize(u32),
}

/// Checks a request body. Pure.
pub fn check(shape: &'static Shape, version: i16, body: &[u8]) -> Result<Passed, GuardError> {
    walk::walk(shape, version, body)
}
