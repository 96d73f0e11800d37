//! What can go wrong, told apart by whether the other side may have acted.

use std::io;
use std::path::PathBuf;

use aquifer_types::NodeId;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request was not acted upon and will not be.
    #[error("not delivered: {0}")]
    NotDelivered(String),
    /// It may have been acted upon, or may still be.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

/// Why no connection was made. Nothing was delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The host answers that nobody listens there: the process is not running.
    #[error("{address} refuses connections: no process listens there")]
    Refused {
        /// Where.
        address: String,
    },
    /// Nothing is known about the process: the address is unknown, the host is down, a link is cut.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// What happened.
        reason: String,
    },
    /// Somebody listens there who is not the wanted node, or who does not accept this one.
    #[error("{address} is not to be talked to: {reason}")]
    Stranger {
        /// Where.
        address: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}

impl From<DialError> for CallError {
    fn from(error: DialError) -> Self {
        Self::NotDelivered(error.to_string())
    }
}

/// A request or stream that the server's side does not take. The caller sees [`CallError::NotDelivered`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("declined: {0}")]
pub struct Declined(pub String);

/// A stream has broken. What was sent may or may not have arrived.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The connection is gone.
    #[error("the stream with node {node} is broken: {source}")]
    Broken {
        /// The other end.
        node: NodeId,
        /// The system's answer.
        source: io::Error,
    },
    /// A frame was larger than the channel allows. Nothing of it was sent.
    #[error("a frame of {bytes} bytes is larger than the {limit} that the channel {channel} allows")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The channel's limit.
        limit: usize,
        /// The channel.
        channel: &'static str,
    },
}

/// Why the port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A PEM file cannot be used.
    #[error("{}: {reason}; `aquifer certs` makes a set that fits", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate is not this node's.
    #[error(
        "{}: the certificate {found}, but this is node {node}: it needs the URI name 'aquifer://node/{node}' among its subject alternative names; `aquifer certs` makes one",
        path.display()
    )]
    NotThisNode {
        /// The certificate's file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// This node.
        node: NodeId,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; another process may use the port, or the address is not this machine's"
    )]
    Listen {
        /// As configured.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Plain TCP beyond the machine.
    #[error(
        "{address} is not a loopback address: between machines the internal port wants mutual TLS; `aquifer certs` makes the certificates"
    )]
    PlainBeyondLoopback {
        /// As configured.
        address: String,
    },
}
