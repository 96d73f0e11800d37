//! The bytes that a later release must still read. The golden files are those that releases wrote: when a
//! field is added on purpose, keep the old file and add one for the new release beside it.

use std::fmt::Write as _;

use aquifer_image::*;
use aquifer_types::{BrokerEpoch, ClusterId, DiskId, LogIndex, ObjectId, SegmentId, StreamId, TopicId};
use uuid::Uuid;

use crate::fixture::{Cluster, NODE, OTHER, create_topic, range, register};

/// One command of each kind, every field different from its default.
fn one_of_each() -> Vec<Command> {
    let (node, broker_epoch, now_ms) = (NODE, BrokerEpoch(2), 1_700_000_000_000);
    let segment = SegmentId(9);
    let configs = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
    let handed_over =
        HandedOver { topic: TopicId(Uuid::from_u128(3)), index: 1, asked_at: LogIndex(8), end: 300 };
    let mirror = SegmentMember { node: OTHER, disk: DiskId(Uuid::from_u128(12)) };
    let checkpoint = StreamRange { max_timestamp_ms: -1, replaces_older: true, ..range(StreamId(2), 0, 1) };
    vec![
        Bootstrap { cluster_id: ClusterId(Uuid::from_u128(7)) }.into(),
        register(NODE, 11).into(),
        CreateTopic { configs, ..create_topic("orders", &[NODE, OTHER]) }.into(),
        DeleteTopic { id: TopicId(Uuid::from_u128(3)), now_ms }.into(),
        CreatePartitions { id: TopicId(Uuid::from_u128(3)), total: 3, leaders: vec![NODE] }.into(),
        alter(ConfigResource::Topic("orders".to_owned())),
        alter(ConfigResource::Broker(None)),
        alter(ConfigResource::Broker(Some(NODE))),
        alter(ConfigResource::Group("readers".to_owned())),
        AllocateProducerIds { node, broker_epoch, count: 1_000 }.into(),
        OpenSegment {
            node,
            broker_epoch,
            disk: DiskId(Uuid::from_u128(5)),
            members: vec![mirror],
            needed: 0,
        }
        .into(),
        MovePartitions {
            moves: vec![MovePartition {
                topic: TopicId(Uuid::from_u128(3)),
                index: 1,
                to: Some(OTHER),
                replicas: Some(vec![OTHER, NODE]),
            }],
        }
        .into(),
        HandOver { node, broker_epoch, partitions: vec![handed_over] }.into(),
        CloseSegment { segment, node, broker_epoch, end_lsn: 4_096 }.into(),
        ReleaseSegment { segment, node, broker_epoch }.into(),
        PrepareObjects { node, broker_epoch, count: 2, now_ms, time_limit_ms: 60_000 }.into(),
        CommitObject {
            node,
            broker_epoch,
            object: ObjectId(1),
            size_bytes: 8_192,
            now_ms,
            ranges: vec![range(StreamId(1), 0, 300), checkpoint],
        }
        .into(),
        TrimStreams { node, broker_epoch, now_ms, trims: vec![(StreamId(1), 20)] }.into(),
        ExpirePrepared { now_ms }.into(),
        RemoveObjects { objects: vec![ObjectId(1), ObjectId(2)] }.into(),
    ]
}

/// The same for what the release with mirrored segments added.
fn one_of_each_added() -> Vec<Command> {
    let (node, owner, broker_epoch, now_ms) = (NODE, OTHER, BrokerEpoch(2), 1_700_000_000_000);
    let disk = DiskId(Uuid::from_u128(5));
    let members = vec![SegmentMember { node: OTHER, disk: DiskId(Uuid::from_u128(12)) }];
    let (segment, end_lsn) = (SegmentId(9), 4_096);
    let ranges = vec![range(StreamId(1), 0, 300)];
    vec![
        OfferMirror { node, broker_epoch, disk }.into(),
        FenceBroker { node, broker_epoch }.into(),
        OpenSegment { node, broker_epoch, disk, members: members.clone(), needed: 2 }.into(),
        RollSegment { segment, end_lsn, node, broker_epoch, disk, members, needed: 2 }.into(),
        TakeOver {
            node,
            broker_epoch,
            owner,
            segments: vec![
                SegmentEnd { segment, sealed_at: Some(LogIndex(30)), end_lsn },
                SegmentEnd { segment: SegmentId(8), sealed_at: None, end_lsn: 17 },
            ],
            objects: vec![RecoveredObject { object: ObjectId(4), size_bytes: 8_192, ranges }],
            leaders: vec![(TopicId(Uuid::from_u128(3)), 1, NODE)],
            now_ms,
        }
        .into(),
    ]
}

/// The same for what the release in which brokers leave gracefully added.
fn one_of_each_leaving() -> Vec<Command> {
    let (node, broker_epoch) = (NODE, BrokerEpoch(2));
    vec![
        StopBroker { node, broker_epoch }.into(),
        DrainBroker { node, for_good: true }.into(),
        ResumeBroker { node }.into(),
        UnregisterBroker { node }.into(),
    ]
}

fn alter(resource: ConfigResource) -> Command {
    let changes = vec![("retention.ms".to_owned(), Some("1".to_owned())), ("segment.ms".to_owned(), None)];
    AlterConfigs { resource, changes }.into()
}

/// An image with at least one thing of each kind and in each state.
fn one_of_everything() -> Image {
    let mut cluster = Cluster::new();
    cluster.ok(alter(ConfigResource::Topic("t".to_owned())));
    cluster.ok(alter(ConfigResource::Broker(None)));
    let (a, b) = (cluster.data(0), cluster.data(1));
    cluster.commit(vec![range(a, 0, 10), range(b, 0, 5)]);
    cluster.commit(vec![range(a, 10, 30)]);
    cluster.prepare();
    cluster.ok(ExpirePrepared { now_ms: 100 });
    cluster.prepare();
    let trim = cluster.trim(b, 6);
    cluster.ok(trim);
    let (node, broker_epoch, disk) = (NODE, cluster.epoch(NODE), DiskId(Uuid::from_u128(5)));
    for closed in [true, false] {
        let mirror = SegmentMember { node: OTHER, disk };
        cluster.ok(OpenSegment { node, broker_epoch, disk, members: vec![mirror], needed: 0 });
        let segment = SegmentId::from(cluster.image.applied());
        if closed {
            cluster.ok(CloseSegment { segment, node, broker_epoch, end_lsn: 77 });
        }
    }
    cluster.ok(AllocateProducerIds { node, broker_epoch, count: 5 });
    let (topic, replicas) = (cluster.topic("t"), Some(vec![OTHER, NODE]));
    let moves = vec![MovePartition { topic, index: 1, to: Some(OTHER), replicas }];
    cluster.ok(MovePartitions { moves });
    cluster.image
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes every text");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]).expect("hex") << 4 | digit(pair[1]).expect("hex"))
        .collect()
}

const GOLDEN_COMMANDS: &str = include_str!("../golden/commands-v1.txt");
const GOLDEN_ADDED: &str = include_str!("../golden/commands-v1-mirrors.txt");
const GOLDEN_LEAVING: &str = include_str!("../golden/commands-v1-leaving.txt");
const GOLDEN_SNAPSHOT: &str = include_str!("../golden/snapshot-v1.txt");

#[test]
fn commands_of_the_first_release_are_read() {
    let read: Vec<Command> = GOLDEN_COMMANDS
        .lines()
        .map(|line| decode_command(&unhex(line.split_once(' ').unwrap().1)).unwrap())
        .collect();
    assert_eq!(read, one_of_each());
}

#[test]
fn commands_are_written_as_in_the_first_release() {
    let written: String =
        one_of_each().iter().map(|c| format!("{} {}\n", c.name(), hex(&encode_command(c)))).collect();
    assert!(written == GOLDEN_COMMANDS, "the command format changed; it is now:\n{written}");
}

#[test]
fn commands_of_later_releases_stay_as_they_are() {
    for (added, golden) in [(one_of_each_added(), GOLDEN_ADDED), (one_of_each_leaving(), GOLDEN_LEAVING)] {
        let written: String =
            added.iter().map(|c| format!("{} {}\n", c.name(), hex(&encode_command(c)))).collect();
        assert!(written == golden, "the command format changed; it is now:\n{written}");
        let decode = |line: &str| decode_command(&unhex(line.split_once(' ').unwrap().1)).unwrap();
        assert_eq!(golden.lines().map(decode).collect::<Vec<_>>(), added);
    }
}

#[test]
fn a_snapshot_of_the_first_release_is_read() {
    assert_eq!(decode_snapshot(&unhex(GOLDEN_SNAPSHOT.trim())).unwrap(), one_of_everything());
}

#[test]
fn a_snapshot_is_written_as_in_the_first_release() {
    let written = hex(&encode_snapshot(&one_of_everything()));
    assert!(written == GOLDEN_SNAPSHOT.trim(), "the snapshot format changed; it is now:\n{written}");
}

#[test]
fn a_field_that_this_release_does_not_know_is_passed_over() {
    // {"ExpirePrepared": {"now_ms": 5, "why": "x"}}
    let mut bytes = b"C\x01\x81\xaeExpirePrepared\x82\xa6now_ms\x05\xa3why\xa1x".to_vec();
    assert_eq!(decode_command(&bytes), Ok(ExpirePrepared { now_ms: 5 }.into()));
    // A kind of command that it does not know cannot be passed over.
    bytes[4] = b'X';
    let error = decode_command(&bytes).unwrap_err();
    assert!(error.to_string().contains("unknown variant `XxpirePrepared`"), "{error}");
}

#[test]
fn a_later_format_is_refused_with_the_remedy() {
    let mut bytes = encode_snapshot(&Image::new());
    bytes[1] = 2;
    let error = decode_snapshot(&bytes).unwrap_err();
    assert_eq!(error, DecodeError::UnknownVersion { kind: "snapshot", found: 2, newest: 1 });
    assert!(error.to_string().contains("written by a later release"), "{error}");
}

#[test]
fn a_snapshot_is_not_a_command_and_nothing_is_neither() {
    let snapshot = encode_snapshot(&Image::new());
    assert!(matches!(decode_command(&snapshot), Err(DecodeError::NotThis { kind: "command", .. })));
    assert!(matches!(decode_snapshot(b""), Err(DecodeError::NotThis { kind: "snapshot", .. })));
    assert!(matches!(decode_snapshot(b"S\x01\0\0"), Err(DecodeError::NotThis { .. })));
    assert!(matches!(decode_command(b"C\x01"), Err(DecodeError::Malformed { kind: "command", .. })));
}

#[test]
fn every_damaged_byte_of_a_snapshot_is_noticed() {
    let bytes = encode_snapshot(&one_of_everything());
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x10;
        assert!(decode_snapshot(&damaged).is_err(), "byte {position}");
    }
    for length in 0..bytes.len() {
        assert!(decode_snapshot(&bytes[..length]).is_err(), "cut to {length}");
    }
}

#[test]
fn a_snapshot_that_contradicts_itself_is_refused() {
    let mut bytes = encode_snapshot(&one_of_everything());
    // The count of stream ids goes back to zero, and the checksum agrees.
    let field = b"next_stream";
    let at = bytes.windows(field.len()).position(|window| window == field).unwrap() + field.len();
    bytes[at] = 0;
    let crc = crc32c::crc32c(&bytes[6..]);
    bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    let error = decode_snapshot(&bytes).unwrap_err();
    assert!(error.to_string().contains("stream 1 was never given out"), "{error}");
}
