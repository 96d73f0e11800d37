//! The guard against the decoder that it stands before, on generated, mutated and random requests.

use aquifer_runtime::Random;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable};
use proptest::prelude::*;

use super::shape::{Field, Kind, Shape};
use super::{DECODED_ELEMENT_BYTES, MAX_ELEMENTS, Problem, check, parse_header, shapes};

type Decode = fn(Bytes, i16) -> Result<(usize, Bytes), String>;

/// A layout, the versions to try, and its decoder: gives back what it left and its own encoding.
struct Case(&'static Shape, i16, i16, Decode);

fn decode<M: Decodable + Encodable + PartialEq + std::fmt::Debug>(
    mut body: Bytes,
    version: i16,
) -> Result<(usize, Bytes), String> {
    let message = M::decode(&mut body, version).map_err(|error| error.to_string())?;
    let mut encoded = BytesMut::new();
    message.encode(&mut encoded, version).map_err(|error| format!("encode: {error}"))?;
    let encoded = encoded.freeze();
    let again = M::decode(&mut encoded.clone(), version).map_err(|error| format!("again: {error}"))?;
    assert_eq!(message, again);
    Ok((body.len(), encoded))
}

fn cases() -> Vec<Case> {
    vec![
        Case(&shapes::PRODUCE, 3, 13, decode::<ProduceRequest>),
        Case(&shapes::FETCH, 4, 18, decode::<FetchRequest>),
        Case(&shapes::LIST_OFFSETS, 1, 10, decode::<ListOffsetsRequest>),
        Case(&shapes::OFFSET_FOR_LEADER_EPOCH, 2, 4, decode::<OffsetForLeaderEpochRequest>),
        Case(&shapes::DELETE_RECORDS, 0, 2, decode::<DeleteRecordsRequest>),
        Case(&shapes::INIT_PRODUCER_ID, 0, 5, decode::<InitProducerIdRequest>),
        Case(&shapes::API_VERSIONS, 0, 4, decode::<ApiVersionsRequest>),
        Case(&shapes::METADATA, 0, 13, decode::<MetadataRequest>),
        Case(&shapes::DESCRIBE_CLUSTER, 0, 2, decode::<DescribeClusterRequest>),
        Case(&shapes::DESCRIBE_TOPIC_PARTITIONS, 0, 0, decode::<DescribeTopicPartitionsRequest>),
        Case(&shapes::DESCRIBE_LOG_DIRS, 1, 4, decode::<DescribeLogDirsRequest>),
        Case(&shapes::FIND_COORDINATOR, 0, 6, decode::<FindCoordinatorRequest>),
        Case(&shapes::ALTER_PARTITION_REASSIGNMENTS, 0, 1, decode::<AlterPartitionReassignmentsRequest>),
        Case(&shapes::ELECT_LEADERS, 0, 2, decode::<ElectLeadersRequest>),
        Case(&shapes::LIST_PARTITION_REASSIGNMENTS, 0, 0, decode::<ListPartitionReassignmentsRequest>),
        Case(&shapes::CREATE_TOPICS, 2, 7, decode::<CreateTopicsRequest>),
        Case(&shapes::DELETE_TOPICS, 1, 6, decode::<DeleteTopicsRequest>),
        Case(&shapes::CREATE_PARTITIONS, 0, 3, decode::<CreatePartitionsRequest>),
        Case(&shapes::DESCRIBE_CONFIGS, 1, 4, decode::<DescribeConfigsRequest>),
        Case(&shapes::ALTER_CONFIGS, 0, 2, decode::<AlterConfigsRequest>),
        Case(&shapes::INCREMENTAL_ALTER_CONFIGS, 0, 1, decode::<IncrementalAlterConfigsRequest>),
        Case(&shapes::JOIN_GROUP, 0, 9, decode::<JoinGroupRequest>),
        Case(&shapes::SYNC_GROUP, 0, 5, decode::<SyncGroupRequest>),
        Case(&shapes::HEARTBEAT, 0, 4, decode::<HeartbeatRequest>),
        Case(&shapes::LEAVE_GROUP, 0, 5, decode::<LeaveGroupRequest>),
        Case(&shapes::OFFSET_COMMIT, 2, 9, decode::<OffsetCommitRequest>),
        Case(&shapes::OFFSET_FETCH, 1, 9, decode::<OffsetFetchRequest>),
        Case(&shapes::LIST_GROUPS, 0, 5, decode::<ListGroupsRequest>),
        Case(&shapes::DESCRIBE_GROUPS, 0, 6, decode::<DescribeGroupsRequest>),
        Case(&shapes::DELETE_GROUPS, 0, 2, decode::<DeleteGroupsRequest>),
        Case(&shapes::OFFSET_DELETE, 0, 0, decode::<OffsetDeleteRequest>),
    ]
}

/// Writes a valid request along its layout.
struct Writer {
    random: Random,
    version: i16,
    flexible: bool,
    out: BytesMut,
}

impl Writer {
    fn request(shape: &'static Shape, version: i16, random: Random) -> Bytes {
        let flexible = version >= shape.flexible_from;
        let mut writer = Self { random, version, flexible, out: BytesMut::new() };
        writer.fields(shape.fields);
        writer.out.freeze()
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
            .filter(|_| self.random.below(2) == 0)
            .collect();
        if self.random.below(8) == 0 {
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
                let text = "a-topic".repeat(self.random.below(3) as usize);
                self.length(text.len(), true);
                self.out.put_slice(text.as_bytes());
            }
            Kind::Blob => {
                let size = self.random.below(40) as usize;
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
                if self.random.below(2) == 0 {
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
            self.out.put_u8(self.random.next_u64() as u8);
        }
    }

    fn count(&mut self) -> usize {
        let count = self.random.below(4) as usize;
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every layout is the decoder's: it reads all of what was written along it, and no more; and what
    /// the decoder's crate encodes passes.
    #[test]
    fn layouts_are_those_of_the_decoder(seed: u64) {
        let random = Random::seeded(seed);
        for Case(shape, first, last, decode) in cases() {
            for version in first..=last {
                let body = Writer::request(shape, version, random.clone());
                let passed = check(shape, version, &body);
                prop_assert_eq!(passed.as_ref().map(|passed| passed.trailing), Ok(0));
                let (left, encoded) = decode(body, version)
                    .map_err(|error| TestCaseError::fail(format!("{} v{version}: {error}", shape.api)))?;
                prop_assert_eq!(left, 0, "{} v{}", shape.api, version);
                prop_assert!(check(shape, version, &encoded).is_ok());
            }
        }
    }

    /// Whatever passes after a mutation decodes without a panic and without claiming more than was said.
    #[test]
    fn mutated_requests_neither_panic_nor_claim(seed: u64) {
        let random = Random::seeded(seed);
        for Case(shape, first, last, decode) in cases() {
            for version in first..=last {
                let mut body = Writer::request(shape, version, random.clone()).to_vec();
                for _ in 0..=random.below(3) {
                    if body.is_empty() {
                        break;
                    }
                    let at = random.below(body.len() as u64) as usize;
                    match random.below(4) {
                        0 => body.truncate(at),
                        1 => body[at] = 0xff,
                        2 => body[at] = 0x7f,
                        _ => body[at] ^= 1 << random.below(8),
                    }
                }
                if let Ok(passed) = check(shape, version, &body) {
                    prop_assert!(passed.elements <= body.len().min(MAX_ELEMENTS));
                    let _verdict = decode(Bytes::from(body), version);
                }
            }
        }
    }

    #[test]
    fn random_bytes_neither_panic_nor_claim(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _header = parse_header(&bytes, true);
        let _header = parse_header(&bytes, false);
        for Case(shape, first, last, decode) in cases() {
            for version in first..=last {
                if check(shape, version, &bytes).is_ok() {
                    let _verdict = decode(Bytes::copy_from_slice(&bytes), version);
                }
            }
        }
    }
}

#[test]
fn a_count_of_two_billion_topics_is_refused() {
    let error = check(&shapes::METADATA, 1, &i32::MAX.to_be_bytes()).expect_err("claims too much");
    assert_eq!(
        error.to_string(),
        "malformed Metadata request version 1: 4294967294 bytes wanted, 0 left in field topics at byte 4 of \
         its body"
    );
    let compact = [0xff, 0xff, 0xff, 0xff, 0x0f, 1, 1];
    assert!(
        matches!(check(&shapes::METADATA, 9, &compact), Err(error) if matches!(error.problem, Problem::Beyond { .. }))
    );
}

#[test]
fn many_small_elements_are_refused_by_number() {
    let count = MAX_ELEMENTS + 1;
    let mut body = BytesMut::new();
    body.put_i32(i32::try_from(count).expect("fits"));
    body.put_bytes(0, 2 * count);
    let error = check(&shapes::METADATA, 1, &body).expect_err("too many");
    assert_eq!(error.problem, Problem::TooManyElements(count));
}

#[test]
fn short_headers_are_errors() {
    for length in 0..10 {
        assert!(parse_header(&vec![0; length], false).is_err(), "{length}");
    }
    let header = parse_header(&[0, 3, 0, 9, 0, 0, 0, 7, 0, 1, b'c', 0, 42], true).expect("valid");
    assert_eq!((header.api_key, header.api_version, header.correlation_id), (3, 9, 7));
    assert_eq!((header.client_id, header.body), (Some("c"), 12));
}

#[test]
fn no_decoded_element_is_larger_than_stated() {
    use kafka_protocol::messages::{
        create_topics_request as create, fetch_request as fetch, join_group_request as join,
        list_offsets_request as offsets, offset_commit_request as commit, offset_fetch_request as groups,
        produce_request as produce,
    };
    let sizes = [
        size_of::<create::CreatableTopic>(),
        size_of::<create::CreatableReplicaAssignment>(),
        size_of::<create::CreatableTopicConfig>(),
        size_of::<fetch::FetchTopic>(),
        size_of::<fetch::FetchPartition>(),
        size_of::<fetch::ForgottenTopic>(),
        size_of::<produce::TopicProduceData>(),
        size_of::<produce::PartitionProduceData>(),
        size_of::<join::JoinGroupRequestProtocol>(),
        size_of::<offsets::ListOffsetsTopic>(),
        size_of::<commit::OffsetCommitRequestPartition>(),
        size_of::<groups::OffsetFetchRequestGroup>(),
        size_of::<metadata_request::MetadataRequestTopic>(),
        size_of::<describe_configs_request::DescribeConfigsResource>(),
        size_of::<leave_group_request::MemberIdentity>(),
        size_of::<sync_group_request::SyncGroupRequestAssignment>(),
    ];
    assert!(sizes.into_iter().all(|size| size <= DECODED_ELEMENT_BYTES), "{sizes:?}");
}
