//! The walk over untrusted bytes along a [`Shape`].

use super::shape::{Field, Kind, Shape};
use super::{GuardError, MAX_ELEMENTS, MAX_TAGGED_FIELDS, Passed, Problem};

/// Walks a request body. Reads every length and count, allocates nothing, cannot panic.
pub(super) fn walk(shape: &'static Shape, version: i16, body: &[u8]) -> Result<Passed, GuardError> {
    let mut walker =
        Walker { rest: body, version, flexible: version >= shape.flexible_from, elements: 0, field: "" };
    match walker.fields(shape.fields) {
        Ok(()) => Ok(Passed { elements: walker.elements, trailing: walker.rest.len() }),
        Err(problem) => Err(GuardError {
            api: shape.api,
            version,
            field: walker.field,
            at: body.len() - walker.rest.len(),
            problem,
        }),
    }
}

struct Walker<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements: usize,
    field: &'static str,
}

impl Walker<'_> {
    fn fields(&mut self, fields: &'static [Field]) -> Result<(), Problem> {
        for field in fields {
            if field.tag.is_none() && self.carries(field) {
                self.field = field.name;
                self.value(&field.kind)?;
            }
        }
        if self.flexible { self.tagged(fields) } else { Ok(()) }
    }

    fn carries(&self, field: &Field) -> bool {
        field.from <= self.version && self.version <= field.to
    }

    fn value(&mut self, kind: &'static Kind) -> Result<(), Problem> {
        match kind {
            Kind::Fixed(size) => self.skip(*size),
            Kind::Text => {
                let length = self.text_length()?;
                self.skip(length)
            }
            Kind::Blob => {
                let length = self.length()?;
                self.skip(length)
            }
            Kind::FixedList(size) => {
                let count = self.count(*size)?;
                // `count` proved that count * size bytes are there, so this cannot overflow.
                self.skip(count * size)
            }
            Kind::TextList => {
                let count = self.count(if self.flexible { 1 } else { 2 })?;
                for _ in 0..count {
                    let length = self.text_length()?;
                    self.skip(length)?;
                }
                Ok(())
            }
            Kind::List(fields) => {
                let count = self.count(self.least_size(fields))?;
                for _ in 0..count {
                    self.fields(fields)?;
                }
                Ok(())
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::Optional(fields) => {
                // The decoder takes 1 as present and anything else as null.
                if self.byte()? == 1 { self.fields(fields) } else { Ok(()) }
            }
        }
    }

    /// The tagged section of a struct: known tags are walked and must fill their declared size.
    fn tagged(&mut self, fields: &'static [Field]) -> Result<(), Problem> {
        self.field = "tagged_fields";
        let count = self.uvarint()?;
        if count > MAX_TAGGED_FIELDS {
            return Err(Problem::TooManyTaggedFields(count));
        }
        self.grow(count as usize)?;
        let mut previous = None;
        for _ in 0..count {
            self.field = "tagged_fields";
            let tag = self.uvarint()?;
            if previous.is_some_and(|previous| tag <= previous) {
                return Err(Problem::TagOrder(tag));
            }
            previous = Some(tag);
            let size = self.uvarint()? as usize;
            if size > self.rest.len() {
                return Err(Problem::Beyond { wanted: size, left: self.rest.len() });
            }
            let known = fields.iter().find(|field| field.tag == Some(tag) && self.carries(field));
            match known {
                None => self.skip(size)?,
                Some(field) => {
                    let end = self.rest.len() - size;
                    self.field = field.name;
                    self.value(&field.kind)?;
                    if self.rest.len() != end {
                        return Err(Problem::TagSize(tag));
                    }
                }
            }
        }
        Ok(())
    }

    /// A count of elements of at least `least` bytes each, checked against what arrived.
    fn count(&mut self, least: usize) -> Result<usize, Problem> {
        let count = self.length()?;
        let wanted = count.saturating_mul(least.max(1));
        if wanted > self.rest.len() {
            return Err(Problem::Beyond { wanted, left: self.rest.len() });
        }
        self.grow(count)?;
        Ok(count)
    }

    fn grow(&mut self, count: usize) -> Result<(), Problem> {
        self.elements = self.elements.saturating_add(count);
        if self.elements > MAX_ELEMENTS {
            return Err(Problem::TooManyElements(self.elements));
        }
        Ok(())
    }

    /// The least number of bytes that one struct of these fields takes in this version.
    fn least_size(&self, fields: &'static [Field]) -> usize {
        let text = if self.flexible { 1 } else { 2 };
        let length = if self.flexible { 1 } else { 4 };
        let body: usize = fields
            .iter()
            .filter(|field| field.tag.is_none() && self.carries(field))
            .map(|field| match &field.kind {
                Kind::Fixed(size) => *size,
                Kind::Text => text,
                Kind::Blob | Kind::FixedList(_) | Kind::TextList | Kind::List(_) => length,
                Kind::Struct(fields) => self.least_size(fields),
                Kind::Optional(_) => 1,
            })
            .sum();
        body + usize::from(self.flexible)
    }

    /// Length of a string; null counts as empty.
    fn text_length(&mut self) -> Result<usize, Problem> {
        if self.flexible {
            return self.length();
        }
        let length = i16::from_be_bytes(self.take()?);
        Self::signed(i64::from(length))
    }

    /// Length of bytes or a list; null counts as empty.
    fn length(&mut self) -> Result<usize, Problem> {
        if self.flexible {
            return Ok(self.uvarint()?.saturating_sub(1) as usize);
        }
        let length = i32::from_be_bytes(self.take()?);
        Self::signed(i64::from(length))
    }

    fn signed(length: i64) -> Result<usize, Problem> {
        match length {
            -1 => Ok(0),
            length => usize::try_from(length).map_err(|_| Problem::Negative(length)),
        }
    }

    fn uvarint(&mut self) -> Result<u32, Problem> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                return Err(Problem::LongVarint);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Problem::LongVarint)
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        let [byte] = self.take()?;
        Ok(byte)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(Problem::Beyond { wanted: N, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(*head)
    }

    fn skip(&mut self, size: usize) -> Result<(), Problem> {
        let Some((_, rest)) = self.rest.split_at_checked(size) else {
            return Err(Problem::Beyond { wanted: size, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(())
    }
}
