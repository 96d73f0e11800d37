use aquifer_fuzz::decoders::{Decoded, decoder};
use aquifer_fuzz::tally::peak_bytes;
use aquifer_fuzz::writer::Writer;
use aquifer_guard::shapes::REQUESTS;
use aquifer_guard::{DECODED_ELEMENT_BYTES, check};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every layout is the decoder's: it reads all of what was written along it, and no more; and what
    /// the decoder's crate encodes passes.
    #[test]
    fn layouts_are_those_of_the_decoder(seed: u64) {
        let mut random = SmallRng::seed_from_u64(seed);
        for request in REQUESTS {
            for version in request.served.clone() {
                let body = Writer::request(request.shape, version, &mut random);
                let passed = check(request.shape, version, &body);
                prop_assert_eq!(passed.as_ref().map(|passed| passed.trailing), Ok(0));
                let mut encoded = BytesMut::new();
                let decoded = decoder(request.key)(Bytes::from(body), version, Some(&mut encoded));
                prop_assert_eq!(decoded, Decoded::Request { left: 0 }, "{} v{}", request.shape.api, version);
                let passed = check(request.shape, version, &encoded);
                prop_assert_eq!(passed.map(|passed| passed.trailing), Ok(0), "{} v{}", request.shape.api, version);
                let mut again = BytesMut::new();
                let same = decoder(request.key)(encoded.clone().freeze(), version, Some(&mut again));
                prop_assert_eq!((same, again), (Decoded::Request { left: 0 }, encoded));
            }
        }
    }
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

/// A map with one entry takes a whole node.
#[test]
fn a_single_unknown_tag_takes_no_more_than_stated() {
    let list = REQUESTS.iter().find(|request| request.shape.api == "ListGroups").expect("it is served");
    // ListGroups 3: nothing but tags, here one of them, 77, with an empty value.
    let body = [1, 77, 0];
    let passed = check(list.shape, 3, &body).expect("valid");
    let body = Bytes::copy_from_slice(&body);
    let (decoded, peak) = peak_bytes(|| decoder(list.key)(body, 3, None));
    assert_eq!(decoded, Decoded::Request { left: 0 });
    assert!(peak <= passed.decoded_bytes() + 64, "{peak} bytes for {passed:?}");
}
