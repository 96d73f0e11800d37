//! What every transport must do.

use aquifer_peer::{CallError, Caller, Declined, End, Probe};
use aquifer_types::NodeId;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::certificates::Authority;
use crate::support::{BULK, CONTROL, LONG, Net, STREAM, echo, news};

/// Runs every scenario on every kind of network.
macro_rules! conformance {
    ($($scenario:ident)*) => {
        mod plain {
            $(#[tokio::test] async fn $scenario() { super::$scenario(super::Net::Plain).await; })*
        }
        mod tls {
            $(#[tokio::test] async fn $scenario() { super::$scenario(super::Net::Tls(Box::new(super::Authority::new()))).await; })*
        }
        mod simulated {
            $(#[tokio::test(start_paused = true)] async fn $scenario() { super::$scenario(super::Net::simulated()).await; })*
        }
    };
}

conformance! {
    a_call_is_answered
    calls_of_all_sizes_come_back_whole
    a_caller_is_who_it_is
    a_slow_call_delays_no_other
    what_is_declined_was_not_delivered
    what_has_no_handler_is_declined
    a_handler_may_come_later
    nobody_listening_is_not_delivered
    the_wrong_node_is_not_talked_to
    a_call_to_itself_goes_to_its_handler
    nodes_are_found_by_address
    a_probe_tells_a_live_process_from_an_ended_one
    a_process_that_dies_is_told_at_once
    a_graceful_stop_says_goodbye
    a_link_comes_back
    a_stream_is_ordered_both_ways
    a_stream_ends_on_purpose
    a_stream_that_breaks_is_an_error
    a_stream_may_be_declined
}

async fn a_call_is_answered(net: Net) {
    let (one, two) = net.pair().await;
    let answer = one.peers.call(NodeId(2), &CONTROL, Bytes::from_static(b"hi"), LONG).await;
    assert_eq!(answer.expect("answered"), "hi");
    one.stop().await;
    two.stop().await;
}

async fn calls_of_all_sizes_come_back_whole(net: Net) {
    let (one, two) = net.pair().await;
    for size in [0, 1, 4_095, 65_536, 1_048_577, BULK.max_bytes] {
        // Of a length that divides no buffer's, and cheap to make in a debug build.
        let pattern: Vec<u8> = (0..251).collect();
        let request = Bytes::from(pattern.repeat(size / 251 + 1)).slice(..size);
        let answer = one.peers.call(NodeId(2), &BULK, request.clone(), LONG).await.expect("answered");
        assert!(answer == request, "{size} bytes");
    }
    one.stop().await;
    two.stop().await;
}

async fn a_caller_is_who_it_is(net: Net) {
    let (one, two) = net.pair().await;
    two.listener.serve(&CONTROL, |caller: Caller, _: Bytes| async move {
        Ok(Bytes::from(format!("{} {}", caller.node, caller.instance)))
    });
    let answer = one.peers.call(NodeId(2), &CONTROL, Bytes::new(), LONG).await;
    assert_eq!(answer.expect("answered"), "1 101");
}

async fn a_slow_call_delays_no_other(net: Net) {
    let (one, two) = net.pair().await;
    let (release, held) = mpsc::channel::<()>(1);
    let held = std::sync::Arc::new(tokio::sync::Mutex::new(held));
    two.listener.serve(&CONTROL, move |_: Caller, request: Bytes| {
        let held = held.clone();
        async move {
            if request == "slow" {
                held.lock().await.recv().await;
            }
            Ok(request)
        }
    });
    let slow = one.peers.call(NodeId(2), &CONTROL, Bytes::from_static(b"slow"), LONG);
    let quick = async {
        let answer = one.peers.call(NodeId(2), &CONTROL, Bytes::from_static(b"quick"), LONG).await;
        drop(release);
        answer
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert_eq!((slow.expect("answered"), quick.expect("answered")), ("slow".into(), "quick".into()));
}

async fn what_is_declined_was_not_delivered(net: Net) {
    let (one, two) = net.pair().await;
    two.listener.serve(&CONTROL, |_: Caller, _: Bytes| async { Err(Declined("not the leader".to_owned())) });
    let answer = one.peers.call(NodeId(2), &CONTROL, Bytes::new(), LONG).await;
    assert_eq!(answer, Err(CallError::NotDelivered("not the leader".to_owned())));
}

async fn what_has_no_handler_is_declined(net: Net) {
    let (one, two) = net.pair().await;
    let answer = two.peers.call(NodeId(1), &CONTROL, Bytes::new(), LONG).await;
    assert!(matches!(answer, Err(CallError::NotDelivered(_))), "{answer:?}");
    one.stop().await;
}

async fn a_handler_may_come_later(net: Net) {
    let (one, two) = net.pair().await;
    two.peers.call(NodeId(1), &CONTROL, Bytes::new(), LONG).await.expect_err("not served yet");
    one.listener.serve(&CONTROL, echo);
    let answer = two.peers.call(NodeId(1), &CONTROL, Bytes::from_static(b"now"), LONG).await;
    assert_eq!(answer.expect("served"), "now");
}

async fn nobody_listening_is_not_delivered(net: Net) {
    let (one, two) = net.pair().await;
    two.stop().await;
    let answer = one.peers.call(NodeId(2), &CONTROL, Bytes::new(), LONG).await;
    assert!(matches!(answer, Err(CallError::NotDelivered(_))), "{answer:?}");
    let answer = one.peers.call(NodeId(3), &CONTROL, Bytes::new(), LONG).await;
    assert!(matches!(answer, Err(CallError::NotDelivered(_))), "{answer:?}");
}

async fn the_wrong_node_is_not_talked_to(net: Net) {
    let (one, two) = net.pair().await;
    one.peers.set_address(NodeId(3), &two.address);
    let answer = one.peers.call(NodeId(3), &CONTROL, Bytes::new(), LONG).await;
    let Err(CallError::NotDelivered(reason)) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("this is node 2, not node 3"), "{reason}");
}

async fn a_call_to_itself_goes_to_its_handler(net: Net) {
    let (_, two) = net.pair().await;
    let answer = two.peers.call(NodeId(2), &CONTROL, Bytes::from_static(b"me"), LONG).await;
    assert_eq!(answer.expect("answered"), "me");
}

async fn nodes_are_found_by_address(net: Net) {
    let (one, two, three) = (net.node(1).await, net.node(2).await, net.node(3).await);
    assert_eq!(one.peers.discover(&two.address, LONG).await, Ok(NodeId(2)));
    assert_eq!(one.peers.discover(&one.address, LONG).await, Ok(NodeId(1)), "a node may find itself");
    assert_eq!(one.peers.address(NodeId(2)), Some(two.address.clone()));
    let address = three.address.clone();
    three.stop().await;
    one.peers.discover(&address, LONG).await.expect_err("gone");
    two.stop().await;
}

async fn a_probe_tells_a_live_process_from_an_ended_one(net: Net) {
    let (one, two) = net.pair().await;
    let address = two.address.clone();
    // Nobody listens where it is believed to be; what counts is the address that is asked about.
    one.peers.set_address(NodeId(2), "127.0.0.1:1");
    assert_eq!(one.peers.probe(NodeId(2), &address, LONG).await, Probe::Alive { instance: 102 });
    two.stop().await;
    assert_eq!(one.peers.probe(NodeId(2), &address, LONG).await, Probe::Refused);
}

async fn a_process_that_dies_is_told_at_once(net: Net) {
    let (one, two) = net.pair().await;
    let mut gone = one.peers.gone();
    let (_frames, mut acks) = one.peers.open(NodeId(2), &STREAM, Bytes::new(), LONG).await.expect("opened");
    // All that a process's death does to a connection is that its end is dropped, without a goodbye.
    two.stop().await;
    acks.receive().await.expect_err("broken");
    let news = news(&mut gone, 2).await;
    assert_eq!((news.instance, news.end), (102, End::Reset));
}

async fn a_graceful_stop_says_goodbye(net: Net) {
    let (one, two) = net.pair().await;
    let (mut of_two, mut of_one) = (one.peers.gone(), two.peers.gone());
    one.peers.call(NodeId(2), &CONTROL, Bytes::new(), LONG).await.expect("answered");
    two.stop().await;
    assert_eq!(news(&mut of_two, 2).await.end, End::Goodbye);

    let three = net.node(2).await;
    three.peers.set_address(NodeId(1), &one.address);
    one.listener.serve(&CONTROL, echo);
    three.peers.call(NodeId(1), &CONTROL, Bytes::new(), LONG).await.expect("answered");
    three.stop().await;
    assert_eq!(news(&mut of_two, 2).await.end, End::Goodbye, "also of a caller");
    assert!(of_one.try_recv().is_err(), "its own stop is no news to a node");
}

async fn a_link_comes_back(net: Net) {
    let (one, two) = net.pair().await;
    one.peers.call(NodeId(2), &CONTROL, Bytes::new(), LONG).await.expect("answered");
    two.stop().await;
    let two = net.node(2).await;
    two.listener.serve(&CONTROL, echo);
    one.peers.set_address(NodeId(2), &two.address);
    let mut gone = one.peers.gone();
    let answer = loop {
        match one.peers.call(NodeId(2), &CONTROL, Bytes::from_static(b"again"), LONG).await {
            Ok(answer) => break answer,
            // The old connection may not have been missed yet.
            Err(_) => drop(gone.try_recv()),
        }
    };
    assert_eq!(answer, "again");
}

async fn a_stream_is_ordered_both_ways(net: Net) {
    let (one, _two) = net.pair().await;
    let (mut frames, mut acks) =
        one.peers.open(NodeId(2), &STREAM, Bytes::new(), LONG).await.expect("opened");
    let send = async {
        for number in 0..2_000_u32 {
            let body = Bytes::from(vec![7; usize::try_from(number % 50).expect("small") * 100]);
            frames.send(&[number.to_be_bytes().to_vec().into(), body]).await.expect("sent");
        }
        frames.end().await.expect("ended");
    };
    let receive = async {
        for number in 0..2_000_u32 {
            let frame = acks.receive().await.expect("whole").expect("not the end");
            assert_eq!(frame[..4], number.to_be_bytes());
            assert_eq!(frame.len(), 4 + usize::try_from(number % 50).expect("small") * 100);
        }
        assert!(acks.receive().await.expect("whole").is_none());
    };
    tokio::join!(send, receive);
}

async fn a_stream_ends_on_purpose(net: Net) {
    let (one, two) = net.pair().await;
    let mut gone = one.peers.gone();
    let (frames, mut acks) = one.peers.open(NodeId(2), &STREAM, Bytes::new(), LONG).await.expect("opened");
    frames.end().await.expect("ended");
    assert!(acks.receive().await.expect("whole").is_none());
    assert!(acks.receive().await.expect("for ever").is_none());
    two.stop().await;
    assert!(gone.try_recv().is_err(), "an end is no news");
}

async fn a_stream_that_breaks_is_an_error(net: Net) {
    let (one, two) = net.pair().await;
    let mut gone = two.peers.gone();
    let (broken, mut ends) = mpsc::channel(1);
    two.listener.serve_streams(&STREAM, move |_: Caller, _: Bytes| {
        let broken = broken.clone();
        async move {
            let serve: aquifer_peer::Serve = Box::new(|_acks, mut frames| {
                Box::pin(async move {
                    let mut received = 0;
                    while let Ok(Some(_)) = frames.receive().await {
                        received += 1;
                    }
                    broken.send(received).await.expect("the test waits");
                })
            });
            Ok(serve)
        }
    });
    let (mut frames, acks) = one.peers.open(NodeId(2), &STREAM, Bytes::new(), LONG).await.expect("opened");
    frames.send(&[Bytes::from_static(b"one")]).await.expect("sent");
    drop((frames, acks));
    assert_eq!(ends.recv().await, Some(1));
    assert_eq!(news(&mut gone, 1).await.end, End::Reset);
}

async fn a_stream_may_be_declined(net: Net) {
    let (one, two) = net.pair().await;
    two.listener.serve_streams(&STREAM, |_: Caller, _: Bytes| async { Err(Declined("sealed".to_owned())) });
    let opened = one.peers.open(NodeId(2), &STREAM, Bytes::new(), LONG).await;
    assert_eq!(opened.err(), Some(CallError::NotDelivered("sealed".to_owned())));
}
