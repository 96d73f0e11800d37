//! Writing the few wire types of the responses that we encode ourselves.

use bytes::{BufMut, BytesMut};

/// An unsigned variable-length number.
pub(crate) fn put_uvarint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// The length of bytes or of a list.
///
/// # Panics
/// If it does not fit four bytes, which no frame can hold.
pub(crate) fn put_length(out: &mut BytesMut, flexible: bool, length: usize) {
    if flexible {
        put_uvarint(out, length + 1);
    } else {
        out.put_i32(i32::try_from(length).expect("a response is smaller than a frame"));
    }
}

/// A list that is null.
pub(crate) fn put_null_list(out: &mut BytesMut, flexible: bool) {
    if flexible { out.put_u8(0) } else { out.put_i32(-1) }
}

/// A string; what is longer than its length field can say is cut.
pub(crate) fn put_text(out: &mut BytesMut, flexible: bool, text: &str) {
    if flexible {
        put_uvarint(out, text.len() + 1);
        out.put_slice(text.as_bytes());
    } else {
        let length = i16::try_from(text.len()).unwrap_or(i16::MAX);
        out.put_i16(length);
        out.put_slice(&text.as_bytes()[..length.unsigned_abs() as usize]);
    }
}
