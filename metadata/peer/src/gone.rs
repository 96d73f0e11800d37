//! The news of connections that ended.

use std::io;

use aquifer_types::NodeId;
use tokio::sync::broadcast;

/// News kept for a slow reader. One that misses some is told so, and should look at every node.
pub(crate) const NEWS: usize = 1_024;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Broken by the other side's system: its process died, or closed the connection without a word.
    Reset,
    /// Nothing came any more: its host, a link, or a process that is stopped.
    Silent,
    /// Closed on purpose: the process is stopping, or no longer needs it.
    Goodbye,
}

impl End {
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Silent,
            _ => Self::Reset,
        }
    }
}

/// A connection to or from a node has ended. There may be one for each of several connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The node at the other end.
    pub node: NodeId,
    /// Its process, as [`crate::Probe::Alive`] tells it.
    pub instance: u64,
    /// How it ended.
    pub end: End,
}

/// Who is told of one connection's end.
#[derive(Clone)]
pub(crate) struct Report {
    pub(crate) news: broadcast::Sender<Gone>,
    pub(crate) node: NodeId,
    pub(crate) instance: u64,
}

impl Report {
    pub(crate) fn ended(&self, end: End) {
        tracing::debug!(node = %self.node, ?end, "a connection ended");
        // Nobody may be listening.
        let _ = self.news.send(Gone { node: self.node, instance: self.instance, end });
    }
}
