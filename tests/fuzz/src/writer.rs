use aquifer_guard::{Field, Kind, Shape};
use bytes::{BufMut, BytesMut};
use rand::Rng;
use rand::rngs::SmallRng;

/// Writes a valid request along its layout.
pub struct Writer<'a> {
    random: &'a mut SmallRng,
    version: i16,
    flexible: bool,
    out: BytesMut,
}

impl<'a> Writer<'a> {
    /// The body of a request in this version.
    pub fn request(shape: &'static Shape, version: i16, random: &'a mut SmallRng) -> Vec<u8> {
        let flexible = version >= shape.flexible_from;
        let mut writer = Self { random, version, flexible, out: BytesMut::new() };
        writer.fields(shape.fields);
        writer.out.to_vec()
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.random_range(0..bound)
    }

    fn carries(&self, field: &Field) -> bool {
        field.from <= self.version && self.version <= field.to
    }

    fn fields(&mut self, fields: &'static [Field]) {
        for field in fields.iter().filter(|field| field.tag.is_none()) {
            if self.carries(field) {
                self.value(&field.kind);
            }
        }
        if self.flexible {
            self.tagged(fields);
        }
    }

    fn tagged(&mut self, fields: &'static [Field]) {
        let mut tags: Vec<(u32, Option<&'static Field>)> = fields
            .iter()
            .filter(|field| self.carries(field))
            .filter_map(|field| Some((field.tag?, Some(field))))
            .collect();
        tags.retain(|_| self.random.random());
        if self.below(8) == 0 {
            tags.push((1_000, None));
        }
        tags.sort_by_key(|(tag, _)| *tag);
        self.uvarint(tags.len());
        for (tag, field) in tags {
            self.uvarint(tag as usize);
            let outer = std::mem::take(&mut self.out);
            match field {
                Some(field) => self.value(&field.kind),
                None => self.out.put_slice(b"unknown"),
            }
            let value = std::mem::replace(&mut self.out, outer);
            self.uvarint(value.len());
            self.out.extend_from_slice(&value);
        }
    }

    fn value(&mut self, kind: &'static Kind) {
        match kind {
            Kind::Fixed(size) => self.bytes(*size),
            Kind::Text => {
                let text = "a-topic".repeat(self.below(3));
                self.length(text.len(), true);
                self.out.put_slice(text.as_bytes());
            }
            Kind::Blob => {
                let size = self.below(40);
                self.length(size, false);
                self.bytes(size);
            }
            Kind::FixedList(size) => {
                for _ in 0..self.count() {
                    self.bytes(*size);
                }
            }
            Kind::TextList => {
                for _ in 0..self.count() {
                    self.value(&Kind::Text);
                }
            }
            Kind::List(fields) => {
                for _ in 0..self.count() {
                    self.fields(fields);
                }
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::Optional(fields) => {
                if self.below(2) == 0 {
                    self.out.put_i8(-1);
                } else {
                    self.out.put_i8(1);
                    self.fields(fields);
                }
            }
        }
    }

    fn bytes(&mut self, size: usize) {
        for _ in 0..size {
            self.out.put_u8(self.random.random());
        }
    }

    fn count(&mut self) -> usize {
        let count = self.below(4);
        self.length(count, false);
        count
    }

    fn length(&mut self, length: usize, short: bool) {
        if self.flexible {
            self.uvarint(length + 1);
        } else if short {
            self.out.put_i16(i16::try_from(length).expect("short"));
        } else {
            self.out.put_i32(i32::try_from(length).expect("short"));
        }
    }

    fn uvarint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }
}
