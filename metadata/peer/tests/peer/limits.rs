//! The limits of channels, on real connections.

use std::sync::Arc;
use std::time::Duration;

use aquifer_peer::{CallError, Caller, StreamError};
use aquifer_types::NodeId;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::{BULK, CONTROL, LONG, Net, STREAM};

#[tokio::test]
async fn a_request_over_the_limit_is_not_sent() {
    let (one, _two) = Net::Plain.pair().await;
    let request = Bytes::from(vec![0; CONTROL.max_bytes + 1]);
    let answer = one.peers.call(NodeId(2), &CONTROL, request, LONG).await;
    assert!(matches!(answer, Err(CallError::NotDelivered(_))), "{answer:?}");
}

#[tokio::test]
async fn a_stream_frame_over_the_limit_is_not_sent_and_breaks_nothing() {
    let (one, _two) = Net::Plain.pair().await;
    let (mut frames, mut acks) =
        one.peers.open(NodeId(2), &STREAM, Bytes::new(), LONG).await.expect("opened");
    let sent = frames.send(&[Bytes::from(vec![0; STREAM.max_bytes]), Bytes::from_static(b"!")]).await;
    assert!(matches!(sent, Err(StreamError::TooLarge { .. })), "{sent:?}");
    frames.send(&[Bytes::from_static(b"fits")]).await.expect("sent");
    assert_eq!(acks.receive().await.expect("whole").expect("not the end"), "fits");
}

#[tokio::test]
async fn calls_beyond_the_number_wait_for_room_and_other_classes_do_not() {
    let (one, two) = Net::Plain.pair().await;
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    two.listener.serve(&BULK, move |_: Caller, request: Bytes| {
        let held = held.clone();
        async move {
            held.acquire().await.expect("open").forget();
            Ok(request)
        }
    });
    let call = |limit| one.peers.call(NodeId(2), &BULK, Bytes::from_static(b"bulk"), limit);
    let full = async {
        let waiting: Vec<_> = (0..BULK.in_flight_calls).map(|_| call(LONG)).collect();
        futures::future::join_all(waiting).await
    };
    let over = async {
        // In order: those before have the room.
        let control = one.peers.call(NodeId(2), &CONTROL, Bytes::new(), LONG).await;
        let over = call(Duration::from_millis(100)).await;
        gate.add_permits(BULK.in_flight_calls);
        (control, over)
    };
    let (full, (control, over)) = tokio::join!(full, over);
    control.expect("another class is not delayed");
    assert!(matches!(over, Err(CallError::NotDelivered(_))), "{over:?}");
    assert!(full.iter().all(Result::is_ok), "{full:?}");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_no_answer() {
    let (one, two) = Net::Plain.pair().await;
    two.listener.serve(&CONTROL, |_: Caller, _: Bytes| std::future::pending());
    let answer = one.peers.call(NodeId(2), &CONTROL, Bytes::new(), Duration::from_millis(50)).await;
    assert!(matches!(answer, Err(CallError::NoAnswer(_))), "{answer:?}");
}

#[tokio::test]
async fn what_speaks_another_protocol_is_turned_away() {
    let two = Net::Plain.node(2).await;
    for words in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0; 64]] {
        let mut socket = TcpStream::connect(&two.address).await.expect("accepted");
        socket.write_all(words).await.expect("sent");
        socket.shutdown().await.expect("sent");
        let mut answer = Vec::new();
        // A reset is as good as an end.
        let _ = socket.read_to_end(&mut answer).await;
        assert_eq!(answer, [0; 0]);
    }
    two.stop().await;
}
