//! The decoder of each request, as its handler calls it.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, Message};

/// What became of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// It is a request: so many bytes were left.
    Request {
        /// Bytes after its last field.
        left: usize,
    },
    /// The decoder refuses it.
    Refused,
}

/// Decodes a body, and gives it back as the decoder's crate encodes it, if that is asked for.
pub type Decoder = fn(Bytes, i16, Option<&mut BytesMut>) -> Decoded;

/// The decoder for a key.
///
/// # Panics
/// If there is none: a request that is served is fuzzed.
pub fn decoder(key: i16) -> Decoder {
    match key {
        0 => decoded::<ProduceRequest>,
        1 => decoded::<FetchRequest>,
        2 => decoded::<ListOffsetsRequest>,
        3 => decoded::<MetadataRequest>,
        8 => decoded::<OffsetCommitRequest>,
        9 => decoded::<OffsetFetchRequest>,
        10 => decoded::<FindCoordinatorRequest>,
        11 => decoded::<JoinGroupRequest>,
        12 => decoded::<HeartbeatRequest>,
        13 => decoded::<LeaveGroupRequest>,
        14 => decoded::<SyncGroupRequest>,
        15 => decoded::<DescribeGroupsRequest>,
        16 => decoded::<ListGroupsRequest>,
        18 => decoded::<ApiVersionsRequest>,
        19 => decoded::<CreateTopicsRequest>,
        20 => decoded::<DeleteTopicsRequest>,
        21 => decoded::<DeleteRecordsRequest>,
        22 => decoded::<InitProducerIdRequest>,
        23 => decoded::<OffsetForLeaderEpochRequest>,
        32 => decoded::<DescribeConfigsRequest>,
        33 => decoded::<AlterConfigsRequest>,
        35 => decoded::<DescribeLogDirsRequest>,
        37 => decoded::<CreatePartitionsRequest>,
        42 => decoded::<DeleteGroupsRequest>,
        43 => decoded::<ElectLeadersRequest>,
        44 => decoded::<IncrementalAlterConfigsRequest>,
        45 => decoded::<AlterPartitionReassignmentsRequest>,
        46 => decoded::<ListPartitionReassignmentsRequest>,
        47 => decoded::<OffsetDeleteRequest>,
        60 => decoded::<DescribeClusterRequest>,
        75 => decoded::<DescribeTopicPartitionsRequest>,
        key => panic!("add the decoder for API key {key} to tests/fuzz/src/decoders.rs"),
    }
}

/// The crate knows ListOffsets up to version 10; 11 has its layout, and the handler decodes it so.
fn decoded<M: Decodable + Encodable + Message>(
    mut body: Bytes,
    version: i16,
    again: Option<&mut BytesMut>,
) -> Decoded {
    let version = version.min(M::VERSIONS.max);
    let Ok(message) = M::decode(&mut body, version) else { return Decoded::Refused };
    if let Some(again) = again {
        // Not all that decodes encodes: some fields have values that a version cannot say.
        let _ = message.encode(again, version);
    }
    Decoded::Request { left: body.len() }
}
