//! Where the parts of one record lie.

use std::ops::Range;

use crate::varint;

/// The parts of one record, as positions in the records section.
pub(crate) struct Layout {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    /// Position behind the offset: key, value and headers.
    rest: usize,
    pub(crate) key: Option<Range<usize>>,
    pub(crate) value: Option<Range<usize>>,
    /// Header count and position of the first header.
    pub(crate) headers: (usize, usize),
    /// Position behind the record.
    pub(crate) end: usize,
}

/// Reads the record that starts at `start`; its headers are left to [`walk_headers`]. Nothing is allocated, and every
/// length is checked against the bytes that are there. The error says which part is wrong.
#[inline]
pub(crate) fn record(bytes: &[u8], start: usize) -> Result<Layout, &'static str> {
    let mut at = start;
    let length = varint::read_i32(bytes, &mut at).ok_or("its length is cut off")?;
    let length = usize::try_from(length).map_err(|_| "its length is negative")?;
    let end = at.checked_add(length).filter(|end| *end <= bytes.len()).ok_or("it is cut off")?;
    let bytes = &bytes[..end];
    // One byte of attributes, of which Kafka uses none.
    at += 1;
    let timestamp_delta = varint::read_i64(bytes, &mut at).ok_or("its timestamp is cut off")?;
    let offset_delta = varint::read_i32(bytes, &mut at).ok_or("its offset is cut off")?;
    let rest = at;
    let key = nullable(bytes, &mut at).ok_or("its key does not fit")?;
    let value = nullable(bytes, &mut at).ok_or("its value does not fit")?;
    let count = varint::read_i32(bytes, &mut at).ok_or("its header count is cut off")?;
    let count = usize::try_from(count).map_err(|_| "its header count is negative")?;
    // A header takes two bytes or more.
    if count > (end - at) / 2 {
        return Err("it claims more headers than it has bytes for");
    }
    if count == 0 && at != end {
        return Err("it is longer than its parts");
    }
    Ok(Layout { timestamp_delta, offset_delta, rest, key, value, headers: (count, at), end })
}

/// Walks the headers of `layout` and gives each one's key and value to `each`.
pub(crate) fn walk_headers(
    bytes: &[u8],
    layout: &Layout,
    mut each: impl FnMut(Range<usize>, Option<Range<usize>>),
) -> Result<(), &'static str> {
    let bytes = &bytes[..layout.end];
    let (count, mut at) = layout.headers;
    for _ in 0..count {
        let key = nullable(bytes, &mut at).flatten().ok_or("a header's key does not fit")?;
        let value = nullable(bytes, &mut at).ok_or("a header's value does not fit")?;
        each(key, value);
    }
    if at == layout.end { Ok(()) } else { Err("it is longer than its parts") }
}

/// A records section that was walked, with offsets that count from 0.
pub(crate) fn numbered(section: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(section.len());
    let mut at = 0;
    for offset_delta in 0i64.. {
        let Some(layout) = (at < section.len()).then(|| record(section, at)) else { break };
        let layout = layout.expect("the section was walked before");
        let rest = &section[layout.rest..layout.end];
        let length = 1 + varint::size(layout.timestamp_delta) + varint::size(offset_delta) + rest.len();
        varint::write(&mut out, length as i64);
        out.push(0);
        varint::write(&mut out, layout.timestamp_delta);
        varint::write(&mut out, offset_delta);
        out.extend_from_slice(rest);
        at = layout.end;
    }
    out
}

/// A length and as many bytes; -1 is null. The outer `None` says that it does not fit.
#[inline]
#[expect(clippy::option_option, reason = "null and malformed are different answers")]
fn nullable(bytes: &[u8], at: &mut usize) -> Option<Option<Range<usize>>> {
    let length = varint::read_i32(bytes, at)?;
    if length == -1 {
        return Some(None);
    }
    let end = at.checked_add(usize::try_from(length).ok()?).filter(|end| *end <= bytes.len())?;
    let range = *at..end;
    *at = end;
    Some(Some(range))
}
