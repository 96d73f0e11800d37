//! The internal port: what the nodes of a cluster say to each other, over mutual TLS.
//!
//! [`Peers`] reaches the other nodes by id: [`Peers::call`] asks and gets an answer, [`Peers::open`] begins a
//! stream on a connection of its own, [`Peers::gone`] tells at once when a node's connections break, and
//! [`Peers::probe`] asks whether its process lives. [`Listener`] serves this node's side with one handler for each
//! [`Channel`]. The channels are declared by those who use them, with the limits that hold on every connection.
//!
//! ```text
//!   call ──> Class::Control ──────┐                        ┌──> Handler of the channel
//!   call ──> Class::Bulk    ──────┤  Transport:            ├──> Handler of the channel
//!   call ──> Class::Wal     ──────┤  TCP + TLS, plain TCP, │
//!   open ──> one connection each ─┘  SimulatedNetwork      └──> StreamHandler of the channel
//!                     │                                                │
//!                     └──────────> Gone { node, instance, end } <──────┘
//! ```
//!
//! Classes never wait for each other, so that a snapshot does not delay a heartbeat. An error tells whether the
//! other side may have acted ([`CallError`]). A node is who its certificate says: the URI name
//! `aquifer://node/ID` among its subject alternative names, signed by the cluster's CA; a certificate without
//! it opens nothing. It does not know what requests, answers and streams mean.
//!
//! # A stream, as the WAL's mirrors use it
//!
//! ```no_run
//! # use std::time::Duration;
//! # use aquifer_peer::{Caller, Channel, Class, Declined, Listener, Peers, Serve, StreamReceiver, StreamSender};
//! # use aquifer_types::NodeId;
//! # use bytes::Bytes;
//! const MIRROR: Channel = Channel {
//!     id: 9,
//!     name: "wal-mirror",
//!     class: Class::Wal,
//!     max_bytes: 2 << 20,
//!     in_flight_bytes: 8 << 20, // of calls; a stream is paced by its receiver
//!     in_flight_calls: 64,
//! };
//!
//! # async fn owner(peers: Peers, header: Bytes, body: Bytes) -> Result<(), Box<dyn std::error::Error>> {
//! // The owner: frames out, acks back, from two tasks if it likes.
//! let opening = Bytes::from_static(b"segment 7");
//! let (mut frames, mut acks) = peers.open(NodeId(2), &MIRROR, opening, Duration::from_millis(300)).await?;
//! frames.send(&[header, body]).await?; // one frame of two pieces, not copied together
//! while let Some(ack) = acks.receive().await? {
//!     // A broken stream is an error here, at once if the mirror's process died.
//! #   drop(ack);
//! }
//! # Ok(()) }
//!
//! # fn mirror(listener: &Listener) {
//! // The mirror.
//! listener.serve_streams(&MIRROR, |_caller: Caller, opening: Bytes| async move {
//!     if opening.is_empty() {
//!         return Err(Declined("no such segment".to_owned()));
//!     }
//!     let serve: Serve = Box::new(|mut acks: StreamSender, mut frames: StreamReceiver| {
//!         Box::pin(async move {
//!             while let Ok(Some(frame)) = frames.receive().await {
//!                 // Write and sync it, then:
//!                 let _ = acks.send(&[frame.slice(..8)]).await;
//!             }
//!         })
//!     });
//!     Ok(serve)
//! });
//! # }
//! ```

mod channel;
mod error;
mod frame;
mod gone;
mod hello;
mod link;
mod peers;
mod serve;
mod simulated;
mod stream;
mod tcp;
mod tls;
mod transport;

pub use channel::{Channel, Class, MAX_PAYLOAD_BYTES};
pub use error::{CallError, Declined, DialError, SetupError, StreamError};
pub use gone::{End, Gone};
pub use peers::{Peers, Probe};
pub use serve::{Caller, Handler, Listener, Serve, StreamHandler};
pub use simulated::SimulatedNetwork;
pub use stream::{StreamReceiver, StreamSender};
pub use tcp::{Security, TcpTransport};
pub use tls::{TlsFiles, node_uri};
pub use transport::{Arrival, Io, Transport, Wire};
