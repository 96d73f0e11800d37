//! Kafka's primitive encodings, checked against the bytes that are there.

use bytes::Bytes;
use thiserror::Error;

/// A record of `__consumer_offsets` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum SchemaError {
    /// The bytes end inside a field.
    #[error("the {what} ends after {have} bytes, inside a field")]
    Truncated { what: &'static str, have: usize },
    /// A length is negative where the field may not be null, or a text is not UTF-8.
    #[error("the {what} has an invalid length or text at byte {at}")]
    Invalid { what: &'static str, at: usize },
    /// Written by a newer Kafka or Aquifer.
    #[error("the {what} has version {version}, newer than this release can read")]
    UnknownVersion { what: &'static str, version: i16 },
}

pub(super) struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes, at: 0 }
    }

    pub(super) fn unknown_version(&self, version: i16) -> SchemaError {
        SchemaError::UnknownVersion { what: self.what, version }
    }

    pub(super) fn int16(&mut self) -> Result<i16, SchemaError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(super) fn int32(&mut self) -> Result<i32, SchemaError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn int64(&mut self) -> Result<i64, SchemaError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(super) fn string(&mut self) -> Result<String, SchemaError> {
        self.nullable_string()?.ok_or_else(|| self.invalid())
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<String>, SchemaError> {
        let length = self.int16()?;
        self.text(i64::from(length))
    }

    pub(super) fn byte_array(&mut self) -> Result<Bytes, SchemaError> {
        let length = self.int32()?;
        let length = usize::try_from(length).map_err(|_| self.invalid())?;
        Ok(Bytes::copy_from_slice(self.take(length)?))
    }

    /// Length plus one as an unsigned varint; 0 is null.
    pub(super) fn compact_nullable_string(&mut self) -> Result<Option<String>, SchemaError> {
        let length = self.unsigned_varint()?;
        self.text(i64::from(length) - 1)
    }

    pub(super) fn compact_string(&mut self) -> Result<String, SchemaError> {
        self.compact_nullable_string()?.ok_or_else(|| self.invalid())
    }

    pub(super) fn compact_byte_array(&mut self) -> Result<Bytes, SchemaError> {
        let length = self.unsigned_varint()?.checked_sub(1).ok_or_else(|| self.invalid())?;
        Ok(Bytes::copy_from_slice(self.take(length as usize)?))
    }

    /// The count of an array, never larger than the bytes that are left (every element has one at least).
    pub(super) fn count(&mut self) -> Result<usize, SchemaError> {
        let count = self.int32()?;
        let count = usize::try_from(count).map_err(|_| self.invalid())?;
        self.bounded(count)
    }

    pub(super) fn compact_count(&mut self) -> Result<usize, SchemaError> {
        let count = self.unsigned_varint()?.checked_sub(1).ok_or_else(|| self.invalid())?;
        self.bounded(count as usize)
    }

    /// Tagged fields carry nothing that we keep.
    pub(super) fn skip_tagged_fields(&mut self) -> Result<(), SchemaError> {
        for _ in 0..self.unsigned_varint()? {
            self.unsigned_varint()?;
            let length = self.unsigned_varint()?;
            self.take(length as usize)?;
        }
        Ok(())
    }

    fn bounded(&self, count: usize) -> Result<usize, SchemaError> {
        if count > self.bytes.len() - self.at { Err(self.truncated()) } else { Ok(count) }
    }

    fn unsigned_varint(&mut self) -> Result<u32, SchemaError> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                return Err(self.invalid());
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.invalid())
    }

    /// A negative length is null.
    fn text(&mut self, length: i64) -> Result<Option<String>, SchemaError> {
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        let at = self.at;
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| SchemaError::Invalid { what: self.what, at })?;
        Ok(Some(text.to_owned()))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SchemaError> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take returns exactly N bytes"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], SchemaError> {
        let rest = &self.bytes[self.at..];
        let bytes = rest.get(..length).ok_or_else(|| self.truncated())?;
        self.at += length;
        Ok(bytes)
    }

    fn invalid(&self) -> SchemaError {
        SchemaError::Invalid { what: self.what, at: self.at }
    }

    fn truncated(&self) -> SchemaError {
        SchemaError::Truncated { what: self.what, have: self.bytes.len() }
    }
}

#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn int16(&mut self, value: i16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn int32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn int64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn string(&mut self, text: &str) {
        // Every text comes from a request, where its length is 16 bits too, or is a UUID longer: checked on entry.
        let length = i16::try_from(text.len()).expect("texts were bounded when they were accepted");
        self.int16(length);
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.int16(-1),
        }
    }

    pub(super) fn byte_array(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn count(&mut self, count: usize) {
        self.int32(i32::try_from(count).expect("a request is shorter than 2 GiB"));
    }

    pub(super) fn finish(self) -> Bytes {
        Bytes::from(self.0)
    }
}
