use std::sync::Arc;

use aquifer_types::StreamId;

use crate::Durability;

/// Why an append was refused. Nothing of it was written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Retriable: the WAL holds as much as may wait for the object store.
    #[error(
        "the WAL is full: {unoffloaded_bytes} of {limit_bytes} bytes wait for the object store; \
         the append can be retried once uploads catch up"
    )]
    Full {
        /// Bytes that wait.
        unoffloaded_bytes: u64,
        /// Bytes that may wait.
        limit_bytes: u64,
    },
    /// The batch is larger than the WAL takes.
    #[error("a batch of {bytes} bytes is larger than the WAL takes")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The device of the WAL failed; nothing can be made durable until the broker restarts.
    #[error("the WAL is dead: {0}")]
    Dead(String),
    /// The streams are shutting down, or the stream was removed.
    #[error("stream {0} is closed")]
    Closed(StreamId),
}

/// Why a read gave nothing. Clone, because all readers that waited for one fetch get it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The offset is not between the stream's start and its committed end.
    #[error("offset {offset} of stream {stream} is not within {start}..={end}")]
    OutOfRange {
        /// The stream.
        stream: StreamId,
        /// What was asked for.
        offset: u64,
        /// The stream's start.
        start: u64,
        /// The stream's committed end.
        end: u64,
    },
    /// The object is there but its bytes are not what was written. Wrong data is never returned.
    #[error(transparent)]
    Damaged(Arc<DamagedObject>),
    /// The store says that the object does not exist, the metadata says that it does.
    #[error(
        "object '{key}' with offsets {first}..{end} of stream {stream} is missing in the store: \
         was it deleted by hand, or does store.url point elsewhere?"
    )]
    Missing {
        /// The object's key.
        key: String,
        /// The stream.
        stream: StreamId,
        /// First offset that the object holds of it.
        first: u64,
        /// Offset after the last one.
        end: u64,
    },
    /// The store did not answer as it should; a later attempt may work.
    #[error("reading stream {stream} from the store: {reason}")]
    Store {
        /// The stream.
        stream: StreamId,
        /// What the store said.
        reason: String,
    },
    /// The metadata and the streams contradict each other.
    #[error("no object holds offset {offset} of stream {stream}, though {start}..{end} was offloaded")]
    Hole {
        /// The stream.
        stream: StreamId,
        /// What was asked for.
        offset: u64,
        /// The stream's start.
        start: u64,
        /// End of what was offloaded.
        end: u64,
    },
    /// The stream was removed.
    #[error("stream {0} is closed")]
    Closed(StreamId),
}

/// An object whose bytes are not what was written, and what that costs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "object '{key}' is damaged{}: {reason}; offsets {first}..{end} of stream {stream} cannot be read from it",
    .block.map(|block| format!(" in block {block}")).unwrap_or_default()
)]
pub struct DamagedObject {
    /// The object's key in the store.
    pub key: String,
    /// Number of the block in the object; none if its index or footer is damaged.
    pub block: Option<usize>,
    /// The stream.
    pub stream: StreamId,
    /// First offset affected.
    pub first: u64,
    /// Offset after the last one affected.
    pub end: u64,
    /// What is wrong.
    pub reason: String,
}

/// Why the streams could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store holds another cluster's objects.
    #[error(
        "the store '{store}' belongs to cluster {found}, this node to cluster {expected}: \
         point store.url to another bucket, prefix or directory, or metadata.dir to the right cluster"
    )]
    ForeignStore {
        /// The store's URL.
        store: String,
        /// The cluster in the marker.
        found: String,
        /// Ours.
        expected: String,
    },
    /// The metadata knows objects, the store is blank.
    #[error(
        "the store '{store}' has no '{marker}' object, but the metadata of cluster {cluster} lists {objects} objects: \
         is store.url right, is the volume mounted?"
    )]
    BlankStore {
        /// The store's URL.
        store: String,
        /// Key of the marker.
        marker: &'static str,
        /// Our cluster.
        cluster: String,
        /// Objects that should be there.
        objects: u64,
    },
    /// The store did not answer a node that has nothing else.
    #[error(
        "the object store '{store}' did not answer within {waited:?}, which the first start of a node waits for it \
         (store.start.wait.ms): {reason}; start the store, or correct store.url"
    )]
    SilentStore {
        /// The store's URL.
        store: String,
        /// How long it was waited for.
        waited: std::time::Duration,
        /// What the last look gave.
        reason: String,
    },
    /// The store refused.
    #[error("checking whose store this is: {0}")]
    Store(String),
    /// Offsets are missing between the objects and the WAL, or within the WAL.
    #[error(
        "the WAL lacks offsets {expected}..{found} of stream {stream}: acknowledged records may be lost; \
         restore the WAL directory that this node wrote last"
    )]
    Gap {
        /// The stream.
        stream: StreamId,
        /// The offset that should come next.
        expected: u64,
        /// The one that does.
        found: u64,
    },
    /// The WAL holds offsets twice, or a record straddles what was offloaded.
    #[error(
        "the WAL holds offsets {first}..{end} of stream {stream} where {expected} should follow: \
         it was written by two owners, or belongs to another time of this cluster"
    )]
    Overlap {
        /// The stream.
        stream: StreamId,
        /// The offset that should come next.
        expected: u64,
        /// First offset of the record.
        first: u64,
        /// Offset after its last.
        end: u64,
    },
    /// The WAL's disk is blank though a segment on it was not offloaded.
    #[error(
        "the WAL directory is blank, but the metadata says that this node's WAL segment {segment} on disk {disk} was not \
         offloaded: acknowledged records may be on the disk that is missing. Bring it back (wal.dir), or give its records up \
         by starting once with wal.accept.blank=true"
    )]
    BlankWal {
        /// The newest segment that is missing.
        segment: aquifer_types::SegmentId,
        /// The disk that it was on.
        disk: aquifer_types::DiskId,
    },
    /// Mirrored segments were left and are not ended yet.
    #[error(
        "WAL segment {segment} of an earlier process of this node is mirrored and was not taken over yet"
    )]
    NotTakenOver {
        /// The first of them.
        segment: aquifer_types::SegmentId,
    },
    /// The WAL could not be started.
    #[error(transparent)]
    Wal(#[from] aquifer_wal::OpenError),
    /// A recovered record is not what an append wrote.
    #[error("the WAL's record {first}..{end} of stream {stream} passed its checksum but is not a batch")]
    NotABatch {
        /// The stream.
        stream: StreamId,
        /// First offset.
        first: u64,
        /// Offset after the last.
        end: u64,
    },
    /// The quorum did not open a segment.
    #[error("opening a WAL segment in the metadata quorum: {0}")]
    Segment(String),
    /// The stream is not in the metadata.
    #[error("stream {0} does not exist")]
    NoSuchStream(StreamId),
    /// The image does not know its cluster.
    #[error("the metadata quorum is not bootstrapped")]
    NotBootstrapped,
}

/// Why a trim did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TrimError {
    /// The new start lies beyond the committed end.
    #[error("offset {new_start} of stream {stream} lies beyond its end {end}")]
    OutOfRange {
        /// The stream.
        stream: StreamId,
        /// What was asked for.
        new_start: u64,
        /// The committed end.
        end: u64,
    },
    /// The metadata quorum refused or did not answer; the trim can be asked for again.
    #[error("trimming stream {stream} in the metadata: {reason}")]
    Metadata {
        /// The stream.
        stream: StreamId,
        /// What it said.
        reason: String,
    },
    /// The streams are shutting down, or the stream was removed.
    #[error("stream {0} is closed")]
    Closed(StreamId),
}

/// What a shutdown could not do in its time. Nothing that was acknowledged is lost: the next start recovers it from the WAL.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{unoffloaded_bytes} bytes {}: {reason}", left(*durability))]
pub struct ShutdownError {
    /// Bytes that were not offloaded.
    pub unoffloaded_bytes: u64,
    /// Whether they were acknowledged.
    pub durability: Durability,
    /// Why.
    pub reason: String,
}

fn left(durability: Durability) -> &'static str {
    match durability {
        Durability::Wal => "stay in the WAL for the next start",
        Durability::Store => {
            "were not put into the store, and acknowledged to nobody (wal.mode=object): producers send them again"
        }
    }
}
