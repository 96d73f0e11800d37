use bytes::{BufMut, BytesMut};

use super::{MAX_ELEMENTS, Problem, check, parse_header, shapes};

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
fn requests_are_listed_once_and_by_key() {
    assert!(shapes::REQUESTS.windows(2).all(|pair| pair[0].key < pair[1].key));
}
