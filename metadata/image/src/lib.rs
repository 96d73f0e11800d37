//! The cluster's metadata as a pure replicated state machine.
//!
//! [`Image::apply`] takes one [`Command`] of the metadata log after the other and answers each with an
//! [`Outcome`] or a typed [`Rejection`]; equal logs give equal images on every node. A rejected command
//! changes nothing. An image is an immutable value to its readers: cloning it is O(1), so that each
//! broker publishes a whole one after each entry and reads it without locks.
//!
//! ```text
//!   metadata log    ... | 41 CreateTopic | 42 PrepareObjects | 43 CommitObject | ...
//!                                  |  apply (no clock, no I/O, no randomness)
//!   Image   brokers --- topics -- partitions --+-- data stream -- ranges --+
//!           segments    configs                +-- meta stream -- ranges --+-> objects
//!
//!   an object:   Prepared --commit--> Committed --last range released--> Marked --> (forgotten)
//!                    +--------------- time limit -------------------------^
//! ```
//!
//! It does not know who runs it (raft, snapshots, feeds), what time it is (commands carry `now_ms`), or what
//! the bytes in objects mean. Decisions over time (what to expire, delete, where to place) are the controller
//! crate's; the one exception is [`retention`], because it reads nothing but a stream's ranges.

mod apply;
mod check;
mod codec;
mod command;
mod diff;
mod entities;
mod image;
mod limits;
mod names;
mod rejection;
pub mod retention;
mod snapshot;

pub use check::Violation;
pub use codec::{DecodeError, decode_command, decode_snapshot, encode_command, encode_snapshot};
pub use command::*;
pub use diff::{PartitionChange, TopicChange};
pub use entities::{
    Broker, Commit, CommittedRange, Endpoint, Leaving, Moving, ObjectState, Partition, SecurityProtocol,
    Segment, SegmentMember, SegmentState, Stream, StreamKind, Topic,
};
pub use image::{Changed, Configs, Image};
pub use limits::*;
pub use names::{InvalidTopicName, MAX_TOPIC_NAME_LEN, check_topic_name};
pub use rejection::Rejection;
