//! A Produce request without copies: each partition's records are split off the frame, to be patched in place.

use bytes::{Buf, BytesMut};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// A topic as the version names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicKey {
    /// Up to version 12.
    Name(StrBytes),
    /// From version 13 on.
    Id(Uuid),
}

/// One topic's partitions and their batches.
#[derive(Debug)]
pub struct TopicData {
    /// The topic.
    pub key: TopicKey,
    /// Index and records of each partition; null records count as none.
    pub partitions: Vec<(i32, BytesMut)>,
}

/// A parsed request.
#[derive(Debug)]
pub struct ProduceRequest {
    /// Set by transactional producers.
    pub transactional_id: Option<StrBytes>,
    /// 0, 1, or -1 for all.
    pub acks: i16,
    /// How long the producer waits.
    pub timeout_ms: i32,
    /// In the order of the request.
    pub topics: Vec<TopicData>,
}

impl ProduceRequest {
    /// Bytes of all batches.
    pub fn record_bytes(&self) -> usize {
        self.topics.iter().flat_map(|topic| &topic.partitions).map(|(_, records)| records.len()).sum()
    }
}

/// From here on topics are named by id.
const IDS_FROM: i16 = 13;

/// Parses a body that passed the guard. What the guard saw to is checked again here, as an error.
/// # Errors
/// What does not fit, in words.
pub fn parse(body: BytesMut, version: i16, flexible_from: i16) -> Result<ProduceRequest, &'static str> {
    let mut parser = Parser { body, flexible: version >= flexible_from };
    let transactional_id = parser.text()?;
    let acks = parser.body.try_get_i16().map_err(|_| CUT)?;
    let timeout_ms = parser.body.try_get_i32().map_err(|_| CUT)?;
    let count = parser.length()?.ok_or("the topics are null")?;
    // The guard held the counts against the bytes that arrived.
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let key = if version >= IDS_FROM {
            TopicKey::Id(Uuid::from_u128(parser.body.try_get_u128().map_err(|_| CUT)?))
        } else {
            TopicKey::Name(parser.text()?.ok_or("a topic's name is null")?)
        };
        let count = parser.length()?.ok_or("a topic's partitions are null")?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            let index = parser.body.try_get_i32().map_err(|_| CUT)?;
            let records = match parser.length()? {
                None => BytesMut::new(),
                Some(size) => parser.split(size)?,
            };
            parser.skip_tags()?;
            partitions.push((index, records));
        }
        parser.skip_tags()?;
        topics.push(TopicData { key, partitions });
    }
    Ok(ProduceRequest { transactional_id, acks, timeout_ms, topics })
}

const CUT: &str = "the request ends inside a field";

struct Parser {
    body: BytesMut,
    flexible: bool,
}

impl Parser {
    fn split(&mut self, size: usize) -> Result<BytesMut, &'static str> {
        if size > self.body.len() {
            return Err(CUT);
        }
        Ok(self.body.split_to(size))
    }

    fn text(&mut self) -> Result<Option<StrBytes>, &'static str> {
        let length = if self.flexible {
            self.length()?
        } else {
            optional(i64::from(self.body.try_get_i16().map_err(|_| CUT)?))?
        };
        let Some(length) = length else { return Ok(None) };
        // Copied: it must not keep the frame alive, nor the frame's records from being patched.
        let text = self.split(length)?;
        let text = std::str::from_utf8(&text).map_err(|_| "a string is not UTF-8")?;
        Ok(Some(StrBytes::from_string(text.to_owned())))
    }

    fn length(&mut self) -> Result<Option<usize>, &'static str> {
        if self.flexible {
            return Ok((self.uvarint()? as usize).checked_sub(1));
        }
        optional(i64::from(self.body.try_get_i32().map_err(|_| CUT)?))
    }

    fn skip_tags(&mut self) -> Result<(), &'static str> {
        if self.flexible {
            for _ in 0..self.uvarint()? {
                self.uvarint()?;
                let size = self.uvarint()? as usize;
                self.split(size)?;
            }
        }
        Ok(())
    }

    fn uvarint(&mut self) -> Result<u32, &'static str> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.body.try_get_u8().map_err(|_| CUT)?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a variable-length number is too long")
    }
}

fn optional(length: i64) -> Result<Option<usize>, &'static str> {
    match length {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| "a length is negative"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::messages::{self, TopicName, TransactionalId};
    use kafka_protocol::protocol::Encodable;
    use proptest::prelude::*;

    use super::*;

    const FLEXIBLE_FROM: i16 = 9;

    fn message(version: i16, topics: &[Vec<Vec<u8>>], transactional: bool) -> messages::ProduceRequest {
        let topics = topics.iter().enumerate().map(|(number, partitions)| {
            let data = partitions.iter().enumerate().map(|(index, records)| {
                PartitionProduceData::default()
                    .with_index(index as i32)
                    .with_records((!records.is_empty()).then(|| Bytes::copy_from_slice(records)))
            });
            let topic = TopicProduceData::default().with_partition_data(data.collect());
            if version >= IDS_FROM {
                topic.with_topic_id(Uuid::from_u128(number as u128))
            } else {
                topic.with_name(TopicName(StrBytes::from_string(format!("topic-{number}"))))
            }
        });
        messages::ProduceRequest::default()
            .with_transactional_id(transactional.then(|| TransactionalId(StrBytes::from_static_str("tx"))))
            .with_acks(-1)
            .with_timeout_ms(1_500)
            .with_topic_data(topics.collect())
    }

    proptest! {
        #[test]
        fn parses_what_the_wire_crate_encodes_in_every_version(
            topics in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..4), 0..4),
            transactional: bool,
        ) {
            for version in 3..=13 {
                let mut body = BytesMut::new();
                message(version, &topics, transactional).encode(&mut body, version).expect("valid");
                let request = parse(body, version, FLEXIBLE_FROM).expect("valid");
                prop_assert_eq!((request.acks, request.timeout_ms), (-1, 1_500));
                prop_assert_eq!(request.transactional_id.is_some(), transactional);
                prop_assert_eq!(request.topics.len(), topics.len());
                for (number, (parsed, sent)) in request.topics.iter().zip(&topics).enumerate() {
                    let key = if version >= IDS_FROM {
                        TopicKey::Id(Uuid::from_u128(number as u128))
                    } else {
                        TopicKey::Name(StrBytes::from_string(format!("topic-{number}")))
                    };
                    prop_assert_eq!(&parsed.key, &key);
                    let records: Vec<Vec<u8>> = parsed.partitions.iter().map(|(_, r)| r.to_vec()).collect();
                    prop_assert_eq!(&records, sent);
                }
            }
        }

        #[test]
        fn cut_requests_are_errors(cut in 0..100usize) {
            for version in 3..=13 {
                let mut body = BytesMut::new();
                message(version, &[vec![vec![7; 30]]], true).encode(&mut body, version).expect("valid");
                let end = cut.min(body.len().saturating_sub(2));
                body.truncate(end);
                prop_assert!(parse(body, version, FLEXIBLE_FROM).is_err());
            }
        }
    }
}
