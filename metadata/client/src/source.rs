use std::sync::Arc;

use aquifer_image::Command;
use aquifer_quorum::{Committed, FeedChunk, FeedEnded, ProposeError, Quorum, RemoteQuorum};
use aquifer_types::LogIndex;

/// Where a broker's metadata comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The member in this process.
    Member(Quorum),
    /// Controllers elsewhere.
    Remote(RemoteQuorum),
}

impl From<Quorum> for Source {
    fn from(quorum: Quorum) -> Self {
        Self::Member(quorum)
    }
}

impl From<RemoteQuorum> for Source {
    fn from(quorum: RemoteQuorum) -> Self {
        Self::Remote(quorum)
    }
}

impl Source {
    pub(crate) async fn pull(&self, after: LogIndex) -> Result<FeedChunk, FeedEnded> {
        match self {
            Self::Member(quorum) => quorum.pull(after).await,
            Self::Remote(quorum) => Ok(quorum.pull(after).await),
        }
    }

    pub(crate) async fn propose(&self, command: Arc<Command>) -> Result<Committed, ProposeError> {
        match self {
            Self::Member(quorum) => quorum.propose(command).await,
            Self::Remote(quorum) => quorum.propose(command).await,
        }
    }
}
