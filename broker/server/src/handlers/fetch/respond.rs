//! The response, written here instead of by the wire crate so that records are sent by reference.

use std::collections::BTreeSet;

use aquifer_image::Image;
use aquifer_partition::ReadResult;
use aquifer_types::NodeId;
use bytes::{BufMut, BytesMut};
use kafka_protocol::ResponseError as Code;

use super::read::{Outcome, Pass, Refused};
use crate::dispatch::{Call, Refusal};
use crate::errors::NONE;
use crate::reply::{Reply, ReplyBuilder};
use crate::sessions::{Fetching, Telling, Told, TopicKey};
use crate::wire;

const LOG_START_FROM: i16 = 5;
const SESSIONS_FROM: i16 = 7;
const REPLICAS_FROM: i16 = 11;
const FLEXIBLE_FROM: i16 = 12;
const ENDPOINTS_FROM: i16 = 16;

/// Bytes of a partition's fields beside its records, generously.
const PARTITION_BYTES: usize = 80;

/// An answer without partitions: the request as a whole failed.
pub(super) fn failed(call: &Call, code: Code) -> Result<Reply, Refusal> {
    let mut writer = Writer::new(call, 0);
    // Only sessions fail as a whole, so the version has the field.
    writer.head(code.code(), 0);
    writer.length(0);
    writer.finish(&BTreeSet::new())
}

/// The answer with the outcomes of a pass, in the order of `fetching`.
pub(super) fn respond(call: &Call, fetching: &Fetching, pass: Pass) -> Result<Reply, Refusal> {
    let Pass { outcomes, bytes, claims, .. } = pass;
    let tellings: Vec<_> = fetching.wanted.iter().zip(&outcomes).map(telling).collect();
    let news = if fetching.session == 0 {
        vec![true; tellings.len()]
    } else {
        call.context.sessions.tell(fetching.session, &tellings)
    };
    let told: Vec<(&TopicKey, i32, &Outcome)> = fetching
        .wanted
        .iter()
        .zip(&outcomes)
        .zip(news)
        .filter(|(_, new)| *new || !fetching.incremental)
        .map(|((wanted, outcome), _)| (&wanted.topic, wanted.index, outcome))
        .collect();
    call.context.metrics.fetched_bytes.add(bytes);
    let mut writer = Writer::new(call, told.len());
    writer.head(NONE, fetching.session);
    let topics: Vec<_> = told.chunk_by(|a, b| a.0 == b.0).collect();
    writer.length(topics.len());
    let mut leaders = BTreeSet::new();
    for partitions in topics {
        writer.topic(partitions[0].0);
        writer.length(partitions.len());
        for (_, index, outcome) in partitions {
            writer.partition(*index, outcome, &mut leaders);
        }
        writer.no_tags();
    }
    let mut reply = writer.finish(&leaders)?;
    reply.claims = claims;
    Ok(reply)
}

fn telling<'a>((wanted, outcome): (&'a crate::sessions::Wanted, &Outcome)) -> Telling<'a> {
    let (told, has_records, urgent) = match outcome {
        Ok(result) => {
            let told =
                Told { high_watermark: result.high_watermark, log_start_offset: result.log_start_offset };
            (Some(told), result.bytes > 0, result.diverging_epoch.is_some())
        }
        Err(_) => (None, false, true),
    };
    Telling { topic: &wanted.topic, index: wanted.index, told, has_records, urgent }
}

struct Writer<'a> {
    call: &'a Call,
    flexible: bool,
    reply: ReplyBuilder,
}

impl<'a> Writer<'a> {
    fn new(call: &'a Call, partitions: usize) -> Self {
        let reply = ReplyBuilder::new(call.header, 64 + partitions * PARTITION_BYTES);
        Self { call, flexible: call.version >= FLEXIBLE_FROM, reply }
    }

    fn out(&mut self) -> &mut BytesMut {
        self.reply.tail()
    }

    fn head(&mut self, code: i16, session: i32) {
        let sessions = self.call.version >= SESSIONS_FROM;
        let out = self.out();
        out.put_i32(0); // throttle time
        if sessions {
            out.put_i16(code);
            out.put_i32(session);
        }
    }

    fn length(&mut self, length: usize) {
        let flexible = self.flexible;
        wire::put_length(self.out(), flexible, length);
    }

    fn no_tags(&mut self) {
        if self.flexible {
            self.out().put_u8(0);
        }
    }

    fn topic(&mut self, key: &TopicKey) {
        let flexible = self.flexible;
        match key {
            TopicKey::Name(name) => wire::put_text(self.out(), flexible, name),
            TopicKey::Id(id) => self.out().put_slice(id.as_bytes()),
        }
    }

    fn partition(&mut self, index: i32, outcome: &Outcome, leaders: &mut BTreeSet<NodeId>) {
        match outcome {
            Ok(result) => self.records(index, result),
            Err(refused) => self.refused(index, refused, leaders),
        }
    }

    fn records(&mut self, index: i32, result: &ReadResult) {
        let offsets = [result.high_watermark, result.last_stable_offset, result.log_start_offset];
        self.fixed(index, NONE, offsets);
        self.length(result.bytes);
        for records in &result.records {
            self.reply.share(records.clone());
        }
        if self.flexible {
            let out = self.out();
            match result.diverging_epoch {
                None => out.put_u8(0),
                Some(diverging) => {
                    out.put_slice(&[1, 0, 4 + 8 + 1]); // one tag, number 0, its size
                    out.put_i32(diverging.epoch);
                    out.put_i64(diverging.end_offset);
                    out.put_u8(0);
                }
            }
        }
    }

    fn refused(&mut self, index: i32, refused: &Refused, leaders: &mut BTreeSet<NodeId>) {
        self.fixed(index, refused.failure.code, [refused.high_watermark, -1, refused.log_start_offset]);
        self.length(0);
        if self.flexible {
            let hint = refused.leader.filter(|_| self.call.version >= ENDPOINTS_FROM);
            let out = self.out();
            match hint {
                None => out.put_u8(0),
                Some((node, epoch)) => {
                    out.put_slice(&[1, 1, 4 + 4 + 1]); // one tag, number 1, its size
                    out.put_i32(node.to_kafka().unwrap_or(-1));
                    out.put_i32(epoch);
                    out.put_u8(0);
                    leaders.insert(node);
                }
            }
        }
    }

    /// Everything of a partition before its records.
    fn fixed(&mut self, index: i32, code: i16, [high_watermark, last_stable, log_start]: [i64; 3]) {
        let (version, flexible) = (self.call.version, self.flexible);
        let out = self.out();
        out.put_i32(index);
        out.put_i16(code);
        out.put_i64(high_watermark);
        out.put_i64(last_stable);
        if version >= LOG_START_FROM {
            out.put_i64(log_start);
        }
        wire::put_null_list(out, flexible); // aborted transactions: there are none yet
        if version >= REPLICAS_FROM {
            out.put_i32(-1); // preferred read replica
        }
    }

    fn finish(mut self, leaders: &BTreeSet<NodeId>) -> Result<Reply, Refusal> {
        if self.flexible {
            if leaders.is_empty() || self.call.version < ENDPOINTS_FROM {
                self.out().put_u8(0);
            } else {
                let image = self.call.context.image();
                let endpoints = endpoints(&image, &self.call.peer.listener, leaders);
                let out = self.out();
                out.put_slice(&[1, 0]);
                wire::put_uvarint(out, endpoints.len());
                out.put_slice(&endpoints);
            }
        }
        let (api, version) = (self.call.api.shape.api, self.call.version);
        self.reply.finish().ok_or_else(|| Refusal::Encode {
            api,
            version,
            reason: "it does not fit a frame".to_owned(),
        })
    }
}

/// The value of the tag that tells where the leaders in the answer are.
fn endpoints(image: &Image, listener: &str, leaders: &BTreeSet<NodeId>) -> BytesMut {
    let found: Vec<_> = leaders
        .iter()
        .filter_map(|node| image.broker(*node))
        .filter_map(|broker| Some((broker, broker.endpoint(listener)?)))
        .collect();
    let mut out = BytesMut::new();
    wire::put_length(&mut out, true, found.len());
    for (broker, endpoint) in found {
        out.put_i32(broker.node.to_kafka().unwrap_or(-1));
        wire::put_text(&mut out, true, &endpoint.host);
        out.put_i32(i32::from(endpoint.port));
        match &broker.rack {
            Some(rack) => wire::put_text(&mut out, true, rack),
            None => out.put_u8(0),
        }
        out.put_u8(0);
    }
    out
}
