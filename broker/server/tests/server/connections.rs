//! What a connection survives, and what it does not.

use std::sync::Arc;

use aquifer_server::ServerConfig;
use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::MetadataRequest;

use crate::client::{batch, fetch, produce};
use crate::node::{LISTENER, NODE, Node};

#[tokio::test(start_paused = true)]
async fn malformed_frames_close_their_connection_and_nothing_else() {
    let node = Node::start().await;
    let mut well = node.client();
    let frames: Vec<Vec<u8>> = vec![
        vec![],
        vec![0, 3, 0],
        vec![0; 7],
        vec![0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff], // 2^31-1 topics
        vec![0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xfe],                         // a client id of length -2
        vec![0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0, 0],                         // an unknown API
        vec![0, 3, 0, 99, 0, 0, 0, 1, 0, 0],                              // an unknown version
        vec![0, 0, 0, 2, 0, 0, 0, 1, 0, 0],                               // Produce 2: advertised, not served
        vec![0, 3, 0, 1, 0, 0, 0, 1, 0, 1, 0xff, 0, 0, 0, 0],             // a client id that is not UTF-8
    ];
    for frame in &frames {
        let mut client = node.client();
        client.frame(frame).await;
        assert!(client.reply().await.is_none(), "{frame:?}");
    }
    for size in [-1, i32::MAX] {
        let mut client = node.client();
        client.bytes(&size.to_be_bytes()).await;
        assert!(client.reply().await.is_none(), "{size}");
    }
    well.call(9, &MetadataRequest::default()).await;
    assert_eq!(node.server.request_memory_bytes(), 0);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_produce_body_of_random_bytes_never_panics() {
    let node = Node::start().await;
    let random = aquifer_runtime::Random::seeded(3);
    for round in 0..300u64 {
        let mut client = node.client();
        let mut frame = BytesMut::new();
        frame.put_i16([0, 1, 2, 3, 19, 32][(round % 6) as usize]);
        frame.put_i16((round % 13) as i16);
        frame.put_i32(1);
        frame.put_i16(-1);
        for _ in 0..random.below(60) {
            frame.put_u8([0, 1, 2, 0xff, random.next_u64() as u8][random.below(5) as usize]);
        }
        client.frame(&frame).await;
        let _answered_or_closed = client.reply().await;
    }
    let panics =
        node.server.metrics().samples().into_iter().find(|s| s.name.contains("panics")).expect("counted");
    assert_eq!(panics.value, 0);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let mut config = ServerConfig::new(NODE);
    config.limits.max_connections = 1;
    let node = Node::start_with(config).await;
    let mut first = node.client();
    first.call(9, &MetadataRequest::default()).await;
    let mut second = node.client();
    assert!(second.reply().await.is_none());
    first.call(9, &MetadataRequest::default()).await;
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn quiet_connections_are_closed_after_ten_minutes() {
    let node = Node::start().await;
    let mut client = node.client();
    let started = tokio::time::Instant::now();
    assert!(client.reply().await.is_none());
    assert_eq!(started.elapsed().as_secs(), 600);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_closed_and_its_memory_given_back() {
    let node = Node::start().await;
    let mut producer = node.client();
    let id = producer.create("t", 1).await;
    for _ in 0..8 {
        producer.produce("t", batch(&["x".repeat(900_000).as_str()])).await;
    }
    let mut client = node.client();
    for _ in 0..20 {
        let mut request = fetch(13, "t", id, 0);
        request.topics[0].partitions[0].partition_max_bytes = 10 << 20;
        client.send(13, &request).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(node.server.request_memory_bytes(), 0);
    assert_eq!(node.server.fetch_memory_bytes(), 0);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn large_and_small_frames_mix() {
    let node = Node::start().await;
    let mut client = node.client();
    let id = client.create("t", 1).await;
    let large = "y".repeat(700_000);
    for (number, size) in [1, 500_000, 10, 65_000, 66_000, 3, 700_000].into_iter().enumerate() {
        let response = client.call(13, &produce(13, "t", id, 0, -1, batch(&[&large[..size]]))).await;
        assert_eq!(response.responses[0].partition_responses[0].base_offset, number as i64);
    }
    node.stop().await;
}

#[tokio::test]
async fn a_tcp_listener_serves_until_the_node_stops() {
    let node = Node::start().await;
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("bound");
    node.server.listen(aquifer_server::Listener { name: LISTENER.to_owned(), socket });
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("listens");
    let request = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 9, 0xff, 0xff];
    tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.expect("open");
    let mut head = [0; 8];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut head).await.expect("answered");
    assert_eq!(head[4..], [0, 0, 0, 9]);
    drop(Arc::new(stream));
    node.stop().await;
}
