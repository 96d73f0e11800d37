//! Kafka's log: the partitions that this node leads.
//!
//! A [`Partition`] gives batches their offsets, refuses duplicates, gaps and stale producers, keeps the history of
//! leader epochs, and reads for Fetch, ListOffsets and OffsetForLeaderEpoch. Its bytes are a stream's business.
//! [`Partitions`] follows the metadata image: it opens what this node leads and closes what it does not lead any more.
//!
//! ```text
//!   metadata image ──> Partitions ── opens, closes, configures ──> Partition
//!                                                                   │  config   topic configs, parsed per change
//!     append ── validate (no lock) ──> [ lock: State ── plan, patch │  state    end, epochs, producers (pure)
//!                                        offsets, Stream::append ]  │  watchers long polls, credited per commit
//!     read   ── high watermark ──> log cache | block cache | store ─┘  Stream   WAL, caches, objects
//! ```
//!
//! The state survives restarts: at each offload the stream asks for a checkpoint exactly at the cut; opening is the
//! last checkpoint plus the headers of the batches after it.
//!
//! Way in: [`Partitions::get`], then [`Partition::append`], [`Partition::read`], [`LongPoll`].
//!
//! It does not know: sockets, wire messages, error codes, groups, where bytes are kept. Transactions are not built:
//! their batches are refused.

pub mod config;

mod checkpoint;
mod epochs;
mod error;
mod follow;
mod hand_over;
mod offsets;
mod partition;
mod partitions;
mod past;
mod producers;
mod read;
mod refusals;
mod retention;
mod state;
mod ticket;
mod watch;

pub use epochs::EpochStart;
pub use error::{AppendError, DeleteError, EpochError, LookupError, OpenError, ReadError, Unsettled};
pub use offsets::{FoundOffset, OffsetSpec};
pub use partition::{Acks, AppendRequest, Appended, Partition, PartitionId, ProducerView, describe};
pub use partitions::{Partitions, PartitionsConfig};
pub use producers::{MAX_PRODUCERS, REMEMBERED_BATCHES};
pub use read::{DivergingEpoch, ReadRequest, ReadResult};
pub use ticket::CommitTicket;
pub use watch::LongPoll;
