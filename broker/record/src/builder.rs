//! Making a batch, for the broker's own topics and for tests.

use bytes::BytesMut;

use crate::header::{
    BatchHeader, HEADER_BYTES, LOG_OVERHEAD_BYTES, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP,
};
use crate::header::{TimestampType, batch_crc};
use crate::{Compression, compress, varint};

/// A record to be put into a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// `None` is null.
    pub key: Option<&'a [u8]>,
    /// `None` is null, a tombstone.
    pub value: Option<&'a [u8]>,
    /// Key and value of each header.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// Collects records and makes one batch of them, with base offset 0 and leader epoch -1 as a producer sends it.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
    level: Option<i32>,
    producer: (i64, i16, i32),
    transactional: bool,
    control: bool,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    records: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            level: None,
            producer: (NO_PRODUCER_ID, -1, NO_SEQUENCE),
            transactional: false,
            control: false,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            count: 0,
            records: Vec::new(),
        }
    }

    /// Compresses at this level of the codec instead of its default.
    #[must_use]
    pub fn level(mut self, level: i32) -> Self {
        self.level = Some(level);
        self
    }

    /// Makes it a batch of an idempotent producer.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.producer = (id, epoch, base_sequence);
        self
    }

    /// Makes it part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.transactional = true;
        self
    }

    /// Makes it a control batch.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.control = true;
        self
    }

    /// Adds a record behind the others.
    pub fn push(&mut self, record: NewRecord<'_>) {
        if self.count == 0 {
            self.base_timestamp = record.timestamp_ms;
        }
        self.max_timestamp = self.max_timestamp.max(record.timestamp_ms);
        let timestamp_delta = record.timestamp_ms.wrapping_sub(self.base_timestamp);
        let offset_delta = i64::from(self.count);
        let headers: usize = record
            .headers
            .iter()
            .map(|(key, value)| field_size(Some(key.as_bytes())) + field_size(*value))
            .sum();
        let length = 1
            + varint::size(timestamp_delta)
            + varint::size(offset_delta)
            + field_size(record.key)
            + field_size(record.value)
            + varint::size(record.headers.len() as i64)
            + headers;
        let out = &mut self.records;
        varint::write(out, length as i64);
        out.push(0);
        varint::write(out, timestamp_delta);
        varint::write(out, offset_delta);
        put_field(out, record.key);
        put_field(out, record.value);
        varint::write(out, record.headers.len() as i64);
        for (key, value) in record.headers {
            put_field(out, Some(key.as_bytes()));
            put_field(out, *value);
        }
        self.count += 1;
    }

    /// Number of records so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch before compression.
    pub fn plain_size(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The finished batch.
    pub fn build(self) -> BytesMut {
        let packed;
        let records = match self.compression {
            Compression::None => &self.records,
            compression => {
                packed = compress(compression, self.level, &self.records)
                    .expect("compressing from memory into memory fails only for a bug of the codec");
                &packed
            }
        };
        let (producer_id, producer_epoch, base_sequence) = self.producer;
        let mut header = BatchHeader {
            base_offset: 0,
            batch_length: (HEADER_BYTES - LOG_OVERHEAD_BYTES + records.len()) as i32,
            partition_leader_epoch: -1,
            crc: 0,
            attributes: BatchHeader::attributes_of(
                self.compression,
                TimestampType::CreateTime,
                self.transactional,
                self.control,
            ),
            last_offset_delta: (self.count - 1).max(0),
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            records_count: self.count,
        };
        seal(&mut header, records)
    }
}

/// Puts `header` and `records` together, with the CRC of both.
pub(crate) fn seal(header: &mut BatchHeader, records: &[u8]) -> BytesMut {
    let mut head = [0; HEADER_BYTES];
    header.write(&mut head);
    let mut batch = BytesMut::with_capacity(HEADER_BYTES + records.len());
    batch.extend_from_slice(&head);
    batch.extend_from_slice(records);
    header.crc = batch_crc(&batch);
    batch[17..21].copy_from_slice(&header.crc.to_be_bytes());
    batch
}

fn field_size(field: Option<&[u8]>) -> usize {
    field.map_or(1, |field| varint::size(field.len() as i64) + field.len())
}

fn put_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => varint::write(out, -1),
        Some(field) => {
            varint::write(out, field.len() as i64);
            out.extend_from_slice(field);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Header, Records};
    use bytes::Bytes;
    use proptest::prelude::*;

    type Wanted = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

    fn record() -> impl Strategy<Value = Wanted> {
        let field = || prop::option::of(prop::collection::vec(any::<u8>(), 0..200));
        (0..i64::MAX / 2, field(), field(), prop::collection::vec((".{0,8}", field()), 0..3))
    }

    proptest! {
        #[test]
        fn every_record_is_read_as_it_was_put(
            records in prop::collection::vec(record(), 1..20),
            codec in 0..5i16,
        ) {
            let mut builder = BatchBuilder::new(Compression::from_code(codec).unwrap());
            for (timestamp_ms, key, value, headers) in &records {
                let headers: Vec<_> = headers.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
                let (key, value) = (key.as_deref(), value.as_deref());
                builder.push(NewRecord { timestamp_ms: *timestamp_ms, key, value, headers: &headers });
            }
            let batch = builder.build().freeze();
            let read: Vec<_> = Records::new(&batch).unwrap().map(Result::unwrap).collect();
            prop_assert_eq!(read.len(), records.len());
            for (index, (read, put)) in read.into_iter().zip(records).enumerate() {
                prop_assert_eq!(read.offset, index as i64);
                prop_assert_eq!(read.timestamp_ms, put.0);
                prop_assert_eq!(read.key, put.1.map(Bytes::from));
                prop_assert_eq!(read.value, put.2.map(Bytes::from));
                let headers: Vec<_> = put.3.into_iter()
                    .map(|(key, value)| Header { key: key.into(), value: value.map(Bytes::from) }).collect();
                prop_assert_eq!(read.headers, headers);
            }
        }
    }
}
