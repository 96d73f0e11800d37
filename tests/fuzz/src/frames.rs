//! Whole frames: header, guard, decoder.

use aquifer_guard::shapes::{REQUESTS, Request};
use aquifer_guard::{DECODED_ELEMENT_BYTES, Passed, check, parse_header, parse_prefix, produce};
use bytes::{BufMut, Bytes, BytesMut};
use rand::Rng;
use rand::rngs::SmallRng;

use crate::decoders::{Decoded, decoder};
use crate::mutate::mutate;
use crate::tally::{Tally, peak_bytes};
use crate::writer::Writer;

/// What a decoder may allocate beside the bound of the guard: a shared handle to the frame.
const HANDLE_BYTES: usize = 64;
/// And if it refuses: an error, which keeps the call stack where `RUST_BACKTRACE` asks for that.
const ERROR_BYTES: usize = 16 * 1024;
/// Most bytes of an input without structure.
const RAW_BYTES: usize = 300;

/// A frame as a client might send it, or might not.
pub fn frame(random: &mut SmallRng) -> Vec<u8> {
    let request = &REQUESTS[random.random_range(0..REQUESTS.len())];
    let version = random.random_range(request.served.clone());
    let mut frame = valid(request, version, random);
    match random.random_range(0..8) {
        0 => {}
        1 => {
            let kept = if random.random() { header_bytes(request, version, &frame) } else { 0 };
            frame.truncate(kept);
            let more = random.random_range(0..RAW_BYTES);
            frame.extend((0..more).map(|_| random.random::<u8>()));
        }
        _ => mutate(&mut frame, random),
    }
    frame
}

fn header_bytes(request: &Request, version: i16, frame: &[u8]) -> usize {
    parse_header(frame, version >= request.shape.flexible_from).expect("it was written so").body
}

/// A valid frame: written along the layout, or encoded by the crate whose decoder it will meet.
pub fn valid(request: &Request, version: i16, random: &mut SmallRng) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_i16(request.key);
    frame.put_i16(version);
    frame.put_i32(random.random());
    let client: &[u8] = [b"".as_slice(), b"c", b"a client of some name"][random.random_range(0..3)];
    frame.put_i16(client.len() as i16);
    frame.put_slice(client);
    if version >= request.shape.flexible_from {
        frame.put_u8(0);
    }
    let body = Writer::request(request.shape, version, random);
    let mut encoded = BytesMut::new();
    if random.random() {
        decoder(request.key)(Bytes::from(body.clone()), version, Some(&mut encoded));
    }
    frame.extend(if encoded.is_empty() { &body[..] } else { &encoded[..] });
    frame
}

/// Takes a frame the way of the server, up to its handler.
///
/// # Panics
/// If anything on the way panics, allocates over its bound, or disagrees with the guard: a finding.
pub fn take(frame: &[u8], tally: &mut Tally) {
    let Some((request, version, body)) = header(frame) else {
        tally.refused += 1;
        return;
    };
    let (checked, guard_bytes) = peak_bytes(|| check(request.shape, version, body));
    assert_eq!(guard_bytes, 0, "the guard allocates nothing");
    let Ok(passed) = checked else {
        tally.refused += 1;
        return;
    };
    tally.passed += 1;
    assert!(passed.elements <= body.len(), "an element takes a byte at least");
    let shared = Bytes::copy_from_slice(body);
    let (decoded, peak) = peak_bytes(|| decoder(request.key)(shared, version, None));
    hold(&decoded, passed, peak, frame.len(), tally);
    if request.shape.api == "Produce" {
        let body = BytesMut::from(body);
        // It copies texts.
        let bound = passed.decoded_bytes() + body.len() + HANDLE_BYTES;
        let (parsed, peak) = peak_bytes(|| produce::parse(body, version, request.shape.flexible_from));
        assert!(peak <= bound, "Produce took {peak} bytes, {bound} are allowed");
        assert_eq!(
            parsed.is_ok(),
            decoded != Decoded::Refused,
            "two parsers of Produce disagree: {parsed:?}"
        );
    }
}

/// The request that a header names, if it is served.
fn header(frame: &[u8]) -> Option<(&'static Request, i16, &[u8])> {
    let (key, version, _) = parse_prefix(frame).ok()?;
    let request = REQUESTS.iter().find(|request| request.key == key)?;
    if !request.served.contains(&version) {
        return None;
    }
    let header = parse_header(frame, version >= request.shape.flexible_from).ok()?;
    Some((request, version, &frame[header.body..]))
}

fn hold(decoded: &Decoded, passed: Passed, peak: usize, frame_bytes: usize, tally: &mut Tally) {
    let constant = if *decoded == Decoded::Refused { ERROR_BYTES } else { HANDLE_BYTES };
    let bound = passed.decoded_bytes() + constant;
    assert!(peak <= bound, "decoding took {peak} bytes, the guard allowed for {bound}");
    assert!(peak <= frame_bytes * DECODED_ELEMENT_BYTES + constant, "the multiple that is stated");
    if let Decoded::Request { left } = *decoded {
        tally.decoded += 1;
        assert_eq!(left, passed.trailing, "the guard and the decoder disagree where the request ends");
        tally.frame_multiple = tally.frame_multiple.max(peak as f64 / frame_bytes as f64);
        tally.bound_share = tally.bound_share.max(peak as f64 / bound as f64);
    }
}
