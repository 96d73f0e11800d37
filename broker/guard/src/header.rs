//! The request header, versions 1 and 2 (2 has tagged fields).

use super::MAX_TAGGED_FIELDS;

/// A parsed request header; `body` is where the request's body begins in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// API key as sent.
    pub api_key: i16,
    /// API version as sent.
    pub api_version: i16,
    /// Echoed in the response.
    pub correlation_id: i32,
    /// The client's id, null or not.
    pub client_id: Option<&'a str>,
    /// Offset of the body in the frame.
    pub body: usize,
}

/// Why a header could not be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The frame ends inside the header.
    #[error("the frame of {0} bytes ends inside the request header")]
    Short(usize),
    /// The client id is not UTF-8 or has a negative length.
    #[error("the client id in the request header is not a string")]
    ClientId,
    /// The tagged fields of the header are malformed.
    #[error("the tagged fields of the request header are malformed")]
    TaggedFields,
}

/// Parses the key, version and correlation id, which all header versions share.
pub fn parse_prefix(frame: &[u8]) -> Result<(i16, i16, i32), HeaderError> {
    let Some((head, _)) = frame.split_first_chunk::<8>() else {
        return Err(HeaderError::Short(frame.len()));
    };
    let [k0, k1, v0, v1, c0, c1, c2, c3] = *head;
    Ok((i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]), i32::from_be_bytes([c0, c1, c2, c3])))
}

/// Parses the whole header; `flexible` says that the API's version uses header version 2.
pub fn parse_header(frame: &[u8], flexible: bool) -> Result<Header<'_>, HeaderError> {
    let short = || HeaderError::Short(frame.len());
    let (api_key, api_version, correlation_id) = parse_prefix(frame)?;
    let (length, rest) = frame[8..].split_first_chunk::<2>().ok_or_else(short)?;
    // The client id keeps its two-byte length in every header version.
    let (client_id, rest) = match i16::from_be_bytes(*length) {
        -1 => (None, rest),
        length => {
            let length = usize::try_from(length).map_err(|_| HeaderError::ClientId)?;
            let (text, rest) = rest.split_at_checked(length).ok_or_else(short)?;
            (Some(std::str::from_utf8(text).map_err(|_| HeaderError::ClientId)?), rest)
        }
    };
    let rest = if flexible { skip_tagged(rest)? } else { rest };
    Ok(Header { api_key, api_version, correlation_id, client_id, body: frame.len() - rest.len() })
}

fn skip_tagged(mut rest: &[u8]) -> Result<&[u8], HeaderError> {
    let count = uvarint(&mut rest)?;
    if count > MAX_TAGGED_FIELDS {
        return Err(HeaderError::TaggedFields);
    }
    for _ in 0..count {
        uvarint(&mut rest)?;
        let size = uvarint(&mut rest)? as usize;
        rest = rest.get(size..).ok_or(HeaderError::TaggedFields)?;
    }
    Ok(rest)
}

fn uvarint(rest: &mut &[u8]) -> Result<u32, HeaderError> {
    let mut value = 0u32;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, tail) = rest.split_first().ok_or(HeaderError::TaggedFields)?;
        *rest = tail;
        let bits = u32::from(byte & 0x7f);
        if shift == 28 && bits > 0x0f {
            break;
        }
        value |= bits << shift;
        if *byte < 0x80 {
            return Ok(value);
        }
    }
    Err(HeaderError::TaggedFields)
}
