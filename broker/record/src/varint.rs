//! Kafka's variable-length integers: zigzag, seven bits a byte, least significant first.

/// Reads an unsigned LEB128 number of at most `max_bytes` bytes; `None` when it is cut off or too long.
#[inline]
fn unsigned(buffer: &[u8], at: &mut usize, max_bytes: usize) -> Option<u64> {
    // One byte is by far the usual case: deltas and short lengths.
    let first = *buffer.get(*at)?;
    *at += 1;
    if first < 0x80 {
        return Some(u64::from(first));
    }
    let mut value = u64::from(first & 0x7f);
    let mut shift = 7;
    for _ in 1..max_bytes {
        let byte = *buffer.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
        shift += 7;
    }
    None
}

/// Reads a 32-bit varint at `*at` and moves `*at` behind it.
#[inline]
pub(crate) fn read_i32(buffer: &[u8], at: &mut usize) -> Option<i32> {
    let raw = unsigned(buffer, at, 5)? as u32;
    Some(((raw >> 1) as i32) ^ -((raw & 1) as i32))
}

/// Reads a 64-bit varint at `*at` and moves `*at` behind it.
#[inline]
pub(crate) fn read_i64(buffer: &[u8], at: &mut usize) -> Option<i64> {
    let raw = unsigned(buffer, at, 10)?;
    Some(((raw >> 1) as i64) ^ -((raw & 1) as i64))
}

/// Appends a varint; 32-bit values have the same encoding as 64-bit ones.
pub(crate) fn write(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push((raw as u8) | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Bytes that [`write`] appends for `value`.
pub(crate) fn size(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    (64 - raw.leading_zeros()).max(1).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value: i64) {
            let mut out = Vec::new();
            write(&mut out, value);
            prop_assert_eq!(out.len(), size(value));
            let mut at = 0;
            prop_assert_eq!(read_i64(&out, &mut at), Some(value));
            prop_assert_eq!(at, out.len());
            if let Ok(small) = i32::try_from(value) {
                let mut at = 0;
                prop_assert_eq!(read_i32(&out, &mut at), Some(small));
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut at = 0;
            let _ = read_i32(&bytes, &mut at);
            let mut at = 0;
            let _ = read_i64(&bytes, &mut at);
        }
    }

    #[test]
    fn an_endless_number_is_refused() {
        let mut at = 0;
        assert_eq!(read_i64(&[0xff; 11], &mut at), None);
        let mut at = 0;
        assert_eq!(read_i32(&[0x80; 6], &mut at), None);
    }
}
