//! The state machine: committed entries go into the image, the feed and the answers to their proposers.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aquifer_image::{Command, Image};
use aquifer_types::LogIndex;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use openraft::EntryPayload;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use tokio::sync::{Notify, watch};

use crate::config::{FEED_BYTES, FEED_CHUNK, FEED_ENTRIES, SNAPSHOT_BYTES};
use crate::raft::{Entry, LogId, Reply, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};
use crate::snapshot::Snapshots;

/// One answer of the feed.
#[derive(Clone, Debug)]
pub enum FeedChunk {
    /// The reader is too far behind, or new: everything up to and including entry `index`.
    Snapshot {
        /// The last entry the image covers.
        index: LogIndex,
        /// The image; cloning it is O(1).
        image: Box<Image>,
    },
    /// The commands after the reader's position, in order.
    Entries {
        /// Index and command. Indexes have gaps where raft has entries of its own.
        entries: Vec<(LogIndex, Arc<Command>)>,
        /// The reader's new position: there is no further command up to and including it.
        through: LogIndex,
    },
}

/// openraft's state machine. Clones share the image.
#[derive(Clone)]
pub(crate) struct Machine {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// The index of the last applied entry, for those who wait. Sent after the state has changed.
    applied: watch::Sender<LogIndex>,
    snapshots: Snapshots,
    /// Told when so many bytes were applied since the last snapshot that the next should not wait for its count.
    snapshot_due: Notify,
}

struct State {
    image: Image,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// Encoded bytes of the commands applied since a snapshot was last begun.
    unsnapshotted_bytes: usize,
    feed: Feed,
}

/// The newest commands: all those with an index above `start`.
struct Feed {
    /// Index, command and its encoded size.
    entries: VecDeque<(LogIndex, Arc<Command>, usize)>,
    bytes: usize,
    start: LogIndex,
}

impl Machine {
    /// Where its snapshots go.
    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.shared.snapshots
    }

    pub(crate) fn new(snapshots: Snapshots, opened: Option<(SnapshotMeta, Image)>) -> Self {
        let (meta, image) = opened.unwrap_or_else(|| (SnapshotMeta::default(), Image::new()));
        let index = LogIndex(meta.last_log_id.map_or(0, |last| last.index));
        let state = State {
            image,
            applied: meta.last_log_id,
            membership: meta.last_membership,
            unsnapshotted_bytes: 0,
            feed: Feed::starting_at(index),
        };
        let shared = Shared {
            state: Mutex::new(state),
            applied: watch::Sender::new(index),
            snapshots,
            snapshot_due: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic inside `Image::apply` is our bug and stops raft; readers may still look at the image before it.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The image as of the last applied entry.
    pub(crate) fn image(&self) -> Image {
        self.state().image.clone()
    }

    /// The index of the last applied entry, and a wait for the next.
    pub(crate) fn applied(&self) -> watch::Receiver<LogIndex> {
        self.shared.applied.subscribe()
    }

    /// Waits until a snapshot is due by the bytes in the log.
    pub(crate) async fn snapshot_due(&self) {
        self.shared.snapshot_due.notified().await;
    }

    /// The entry after which the feed has every command.
    pub(crate) fn feed_start(&self) -> LogIndex {
        self.state().feed.start
    }

    /// What lies after `after`; `None` if that is nothing yet.
    pub(crate) fn feed(&self, after: LogIndex) -> Option<FeedChunk> {
        let state = self.state();
        let through = LogIndex(state.applied?.index);
        if after >= through {
            return None;
        }
        if after < state.feed.start {
            return Some(FeedChunk::Snapshot { index: through, image: Box::new(state.image.clone()) });
        }
        let (entries, complete) = state.feed.after(after);
        let through = entries.last().filter(|_| !complete).map_or(through, |(index, _)| *index);
        Some(FeedChunk::Entries { entries, through })
    }

    fn apply_entry(&self, entry: Entry) -> Reply {
        let index = LogIndex(entry.log_id.index);
        let mut state = self.state();
        let reply = match entry.payload {
            EntryPayload::Normal(proposal) => {
                let result = state.image.apply(index, proposal.command());
                state.feed.push(index, proposal.command().clone(), proposal.encoded().len());
                state.unsnapshotted_bytes += proposal.encoded().len();
                if state.unsnapshotted_bytes > SNAPSHOT_BYTES {
                    state.unsnapshotted_bytes = 0;
                    self.shared.snapshot_due.notify_one();
                }
                Reply(Some(result))
            }
            EntryPayload::Blank => {
                state.pass(index);
                Reply(None)
            }
            EntryPayload::Membership(membership) => {
                state.pass(index);
                state.membership = StoredMembership::new(Some(entry.log_id), membership);
                Reply(None)
            }
        };
        state.applied = Some(entry.log_id);
        reply
    }
}

impl State {
    /// Notes one of raft's own entries. The very first one has index 0, which is where an empty image stands.
    fn pass(&mut self, index: LogIndex) {
        if index > self.image.applied() {
            self.image.advance(index);
        }
    }
}

impl Feed {
    fn starting_at(start: LogIndex) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, start }
    }

    fn push(&mut self, index: LogIndex, command: Arc<Command>, size: usize) {
        self.entries.push_back((index, command, size));
        self.bytes += size;
        while self.entries.len() > FEED_ENTRIES || self.bytes > FEED_BYTES {
            let Some((dropped, _, size)) = self.entries.pop_front() else { break };
            self.bytes -= size;
            self.start = dropped;
        }
    }

    /// At most a chunk of what follows `after`, and whether that is all.
    fn after(&self, after: LogIndex) -> (Vec<(LogIndex, Arc<Command>)>, bool) {
        let start = self.entries.partition_point(|(index, ..)| *index <= after);
        let chunk = self.entries.range(start..).take(FEED_CHUNK);
        let entries: Vec<_> = chunk.map(|(index, command, _)| (*index, command.clone())).collect();
        let complete = start + entries.len() == self.entries.len();
        (entries, complete)
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = View;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let state = self.state();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + Send,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            let index = LogIndex(entry.log_id.index);
            let reply = self.apply_entry(entry);
            self.shared.applied.send_replace(index);
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> View {
        let mut state = self.state();
        state.unsnapshotted_bytes = 0;
        let meta = SnapshotMeta { last_log_id: state.applied, last_membership: state.membership.clone() };
        View { meta, image: state.image.clone(), snapshots: self.shared.snapshots.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Bytes) -> io::Result<()> {
        let image = self.shared.snapshots.install(meta.clone(), snapshot).await?;
        let index = LogIndex(meta.last_log_id.map_or(0, |last| last.index));
        {
            let mut state = self.state();
            state.image = image;
            state.applied = meta.last_log_id;
            state.membership = meta.last_membership.clone();
            state.unsnapshotted_bytes = 0;
            state.feed = Feed::starting_at(index);
        }
        self.shared.applied.send_replace(index);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.shared.snapshots.current().await
    }
}

/// The image at one moment, to be written while entries go on being applied.
pub(crate) struct View {
    meta: SnapshotMeta,
    image: Image,
    snapshots: Snapshots,
}

impl RaftSnapshotBuilder<TypeConfig> for View {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        self.snapshots.build(self.meta.clone(), self.image.clone()).await
    }
}
