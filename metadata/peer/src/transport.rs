//! The seam: byte streams between nodes.
//!
//! Everything above (handshake, frames, limits, streams, the news of lost connections) is the same code over
//! real TCP and over the simulated network.

use std::io;

use aquifer_types::NodeId;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::DialError;

/// Bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// One open connection.
pub struct Wire {
    /// Its bytes.
    pub io: Box<dyn Io>,
    /// The node at the other end, if its certificate proves one. `None`: nothing is proven, and what it says of
    /// itself is believed (loopback only).
    pub proven: Option<NodeId>,
    /// The bytes are protected against damage, so that frames need no checksum.
    pub sealed: bool,
}

/// A connection that was accepted and has yet to prove who it is.
pub type Arrival = BoxFuture<'static, io::Result<Wire>>;

/// Makes and accepts connections.
///
/// Bytes of one connection arrive complete and in order or not at all; it breaks at once for both ends when a
/// process dies, and stays silent when a host or a link does.
pub trait Transport: Send + Sync + 'static {
    /// Connects to `address`. May hang when the host is silent; the caller limits it.
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<Wire, DialError>>;

    /// The next connection. The handshake is in the future that it gives, so that a slow one delays nobody.
    ///
    /// # Errors
    /// This one connection failed; the next call may succeed.
    fn accept(&self) -> BoxFuture<'_, io::Result<Arrival>>;
}
