use proptest::prelude::*;

use super::*;

fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition }
}

#[test]
fn an_offset_commit_has_kafkas_bytes() {
    let key = Key::OffsetCommit { group: "g".into(), partition: partition("orders", 7) };
    assert_eq!(&key.encode()[..], b"\x00\x01\x00\x01g\x00\x06orders\x00\x00\x00\x07");
    let value = OffsetCommitValue {
        offset: 258,
        leader_epoch: 5,
        metadata: "note".into(),
        commit_timestamp_ms: 1_700_000_000_000,
        expire_timestamp_ms: None,
    };
    let bytes =
        b"\x00\x03\x00\x00\x00\x00\x00\x00\x01\x02\x00\x00\x00\x05\x00\x04note\x00\x00\x01\x8b\xcf\xe5h\x00";
    assert_eq!(&value.encode()[..], bytes);
    assert_eq!(OffsetCommitValue::decode(bytes), Ok(value));
}

#[test]
fn an_explicit_expiry_is_kept_in_version_1() {
    let value = OffsetCommitValue {
        offset: 1,
        leader_epoch: -1,
        metadata: String::new(),
        commit_timestamp_ms: 2,
        expire_timestamp_ms: Some(3),
    };
    let bytes = b"\x00\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03";
    assert_eq!(&value.encode()[..], bytes);
    assert_eq!(OffsetCommitValue::decode(bytes), Ok(value));
}

#[test]
fn group_metadata_has_kafkas_bytes() {
    assert_eq!(&Key::GroupMetadata { group: "g1".into() }.encode()[..], b"\x00\x02\x00\x02g1");
    let value = GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 2,
        protocol: Some("range".into()),
        leader: Some("m".into()),
        current_state_timestamp_ms: 9,
        members: vec![MemberMetadata {
            member_id: "m".into(),
            instance_id: None,
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"as"),
        }],
    };
    let bytes =
        b"\x00\x03\x00\x08consumer\x00\x00\x00\x02\x00\x05range\x00\x01m\x00\x00\x00\x00\x00\x00\x00\x09\
        \x00\x00\x00\x01\x00\x01m\xff\xff\x00\x01c\x00\x02/h\x00\x04\x93\xe0\x00\x00\xaf\xc8\
        \x00\x00\x00\x03sub\x00\x00\x00\x02as";
    assert_eq!(&value.encode()[..], bytes);
    assert_eq!(GroupMetadataValue::decode(bytes), Ok(value));
}

#[test]
fn an_empty_group_has_null_protocol_and_leader() {
    let value = GroupMetadataValue {
        protocol_type: String::new(),
        generation: 0,
        protocol: None,
        leader: None,
        current_state_timestamp_ms: 0,
        members: vec![],
    };
    let bytes = b"\x00\x03\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(&value.encode()[..], bytes);
    assert_eq!(GroupMetadataValue::decode(bytes), Ok(value));
}

#[test]
fn the_flexible_version_of_a_newer_kafka_is_read() {
    // Version 4 of an offset with one tagged field: tag 0, the topic id.
    let mut bytes = b"\x00\x04\0\0\0\0\0\0\0\x2a\0\0\0\x01\x03hi\0\0\0\0\0\0\0\x05\x01\x00\x10".to_vec();
    bytes.extend_from_slice(&[7; 16]);
    let value = OffsetCommitValue::decode(&bytes).expect("readable");
    assert_eq!((value.offset, value.leader_epoch, value.metadata.as_str()), (42, 1, "hi"));
    let newer = b"\x00\x05\0\0";
    assert!(matches!(OffsetCommitValue::decode(newer), Err(SchemaError::UnknownVersion { version: 5, .. })));
}

#[test]
fn keys_of_other_kinds_are_recognised_and_left_alone() {
    assert_eq!(Key::decode(b"\x00\x03\x00\x01g"), Ok(Key::Other { version: 3 }));
    assert_eq!(
        Key::decode(b"\x00\x00\x00\x01g\x00\x01t\0\0\0\x01"),
        Ok(Key::OffsetCommit { group: "g".into(), partition: partition("t", 1) })
    );
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// What `MessageUtil.toVersionPrefixedBytes` of Kafka 4.3.1 prints for one value in each version.
#[test]
fn every_version_that_kafka_ever_wrote_is_read() {
    let printed = [
        "0000000000000000010200046e6f74650000018bcfe56800",
        "0001000000000000010200046e6f74650000018bcfe56800ffffffffffffffff",
        "0002000000000000010200046e6f74650000018bcfe56800",
        "000300000000000001020000000500046e6f74650000018bcfe56800",
        "0004000000000000010200000005056e6f74650000018bcfe5680000",
    ];
    for (version, hex) in printed.into_iter().enumerate() {
        let expected = OffsetCommitValue {
            offset: 258,
            leader_epoch: if version >= 3 { 5 } else { -1 },
            metadata: "note".into(),
            commit_timestamp_ms: 1_700_000_000_000,
            expire_timestamp_ms: None,
        };
        assert_eq!(OffsetCommitValue::decode(&bytes_of(hex)), Ok(expected));
    }
    let head = "0008636f6e73756d657200000002000572616e676500016d";
    let tail = "0000afc800000003737562000000026173";
    let printed = [
        format!("0000{head}0000000100016d00016300022f68{tail}"),
        format!("0001{head}0000000100016d00016300022f68000493e0{tail}"),
        format!("0002{head}00000000000000090000000100016d00016300022f68000493e0{tail}"),
        format!("0003{head}00000000000000090000000100016dffff00016300022f68000493e0{tail}"),
        "000409636f6e73756d6572000000020672616e6765026d000000000000000902026d000263032f68000493e00000afc8\
         047375620361730000"
            .to_owned(),
    ];
    for (version, hex) in printed.into_iter().enumerate() {
        let expected = GroupMetadataValue {
            protocol_type: "consumer".into(),
            generation: 2,
            protocol: Some("range".into()),
            leader: Some("m".into()),
            current_state_timestamp_ms: if version >= 2 { 9 } else { -1 },
            members: vec![MemberMetadata {
                member_id: "m".into(),
                instance_id: None,
                client_id: "c".into(),
                client_host: "/h".into(),
                rebalance_timeout_ms: if version >= 1 { 300_000 } else { -1 },
                session_timeout_ms: 45_000,
                subscription: Bytes::from_static(b"sub"),
                assignment: Bytes::from_static(b"as"),
            }],
        };
        assert_eq!(GroupMetadataValue::decode(&bytes_of(&hex)), Ok(expected), "version {version}");
    }
}

prop_compose! {
    fn member()(
        member_id in ".{0,20}", instance_id in proptest::option::of(".{0,9}"), client_id in ".{0,9}",
        client_host in ".{0,9}", rebalance_timeout_ms: i32, session_timeout_ms: i32,
        subscription in proptest::collection::vec(any::<u8>(), 0..40),
        assignment in proptest::collection::vec(any::<u8>(), 0..40),
    ) -> MemberMetadata {
        MemberMetadata {
            member_id, instance_id, client_id, client_host, rebalance_timeout_ms, session_timeout_ms,
            subscription: subscription.into(), assignment: assignment.into(),
        }
    }
}

proptest! {
    #[test]
    fn offset_commits_round_trip(
        group in ".{0,30}", topic in ".{0,30}", index: i32, offset: i64, epoch: i32, metadata in ".{0,60}",
        commit: i64, expire in proptest::option::of(0..i64::MAX),
    ) {
        let key = Key::OffsetCommit { group, partition: partition(&topic, index) };
        prop_assert_eq!(Key::decode(&key.encode()), Ok(key));
        let value = OffsetCommitValue {
            offset,
            leader_epoch: if expire.is_some() { -1 } else { epoch },
            metadata, commit_timestamp_ms: commit, expire_timestamp_ms: expire,
        };
        prop_assert_eq!(OffsetCommitValue::decode(&value.encode()), Ok(value));
    }

    #[test]
    fn group_metadata_round_trips(
        protocol_type in ".{0,9}", generation: i32, protocol in proptest::option::of(".{0,9}"),
        leader in proptest::option::of(".{0,9}"), at: i64, members in proptest::collection::vec(member(), 0..4),
    ) {
        let value = GroupMetadataValue {
            protocol_type, generation, protocol, leader, current_state_timestamp_ms: at, members,
        };
        let bytes = value.encode();
        prop_assert_eq!(GroupMetadataValue::decode(&bytes), Ok(value));
        for end in 0..bytes.len() {
            prop_assert!(GroupMetadataValue::decode(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = Key::decode(&bytes);
        let _ = OffsetCommitValue::decode(&bytes);
        let _ = GroupMetadataValue::decode(&bytes);
    }
}
