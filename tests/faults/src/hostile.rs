use std::io;
use std::time::Duration;

use aquifer_runtime::{OnEnd, TaskGroup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Clients that misbehave, on raw sockets. Drop it and all of them hang up.
#[derive(Debug)]
pub struct Hostile {
    port: u16,
    connections: Vec<TcpStream>,
    tasks: TaskGroup,
}

impl Hostile {
    /// None yet, against a node on this port of loopback.
    #[must_use]
    pub fn against(port: u16) -> Self {
        Self { port, connections: Vec::new(), tasks: TaskGroup::new() }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.connections.len()
    }

    /// So many that connect, send `bytes` (which may be none, or half a request), and never do anything again.
    ///
    /// # Panics
    /// If the node does not take them.
    pub async fn send_and_sleep(&mut self, count: usize, bytes: &[u8]) {
        for _ in 0..count {
            let mut stream = self.connect().await;
            stream.write_all(bytes).await.expect("a request can be sent");
            self.connections.push(stream);
        }
    }

    /// So many that send `bytes` and then one byte a second more, or read one byte a second: never quiet, never done.
    ///
    /// # Panics
    /// If the node does not take them.
    pub async fn trickle(&mut self, count: usize, bytes: &[u8], sending: bool) {
        for _ in 0..count {
            let mut stream = self.connect().await;
            stream.write_all(bytes).await.expect("a request can be sent");
            let stopping = self.tasks.stopping().clone();
            self.tasks.spawn("trickle", OnEnd::Continue, async move {
                loop {
                    tokio::select! {
                        () = stopping.cancelled() => return Ok::<(), io::Error>(()),
                        () = sleep(Duration::from_secs(1)) => {}
                    }
                    let over = if sending {
                        stream.write_u8(0).await.is_err()
                    } else {
                        stream.read_u8().await.is_err()
                    };
                    if over {
                        return Ok(());
                    }
                }
            });
        }
    }

    /// Sends these bytes on a connection of their own, and says whether the node hung up or answered.
    ///
    /// # Panics
    /// If it does neither within `limit`.
    pub async fn answered(&self, bytes: &[u8], limit: Duration) -> bool {
        let mut stream = self.connect().await;
        // The node may hang up before all of it is sent.
        let _ = stream.write_all(bytes).await;
        let read = tokio::time::timeout(limit, stream.read_u32()).await;
        read.expect("the node answers or hangs up").is_ok()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.expect("the node listens")
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
    }
}

/// A Fetch request, version 4, of one partition from its begin, with its size before it.
#[must_use]
pub fn fetch(
    topic: &str,
    partition: i32,
    offset: i64,
    max_wait: Duration,
    [least, most]: [i32; 2],
) -> Vec<u8> {
    let mut request = Vec::new();
    // API key and version; correlation id; no client id.
    request.extend([0, 1, 0, 4, 0, 0, 0, 9, 0xff, 0xff]);
    let wait_ms = i32::try_from(max_wait.as_millis()).expect("a short wait");
    for number in [-1, wait_ms, least, most] {
        request.extend(i32::to_be_bytes(number));
    }
    // Read uncommitted; one topic.
    request.extend([0, 0, 0, 0, 1]);
    request.extend(u16::try_from(topic.len()).expect("a short name").to_be_bytes());
    request.extend(topic.as_bytes());
    request.extend([0, 0, 0, 1]);
    request.extend(partition.to_be_bytes());
    request.extend(offset.to_be_bytes());
    request.extend(most.to_be_bytes());
    framed(&request, request.len())
}

/// `bytes` behind the announcement of `size`.
#[must_use]
pub fn framed(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut frame = u32::try_from(size).expect("a size").to_be_bytes().to_vec();
    frame.extend(bytes);
    frame
}
