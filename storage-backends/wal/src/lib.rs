//! The write-ahead log: records of many streams, in one order, durable on a local disk when acknowledged.
//!
//! It knows streams and offsets as numbers and payloads as bytes; nothing of Kafka, of objects, or of who leads
//! what. Its way in is [`open`], which recovers what an earlier process left, then [`Opened::start`].
//!
//! ```text
//!   append(record, tag) ──> queue ──> writer task: frames of 4 KiB..1 MiB, several in flight ──> ring of files
//!        │  Lsn                          │ in order, once durable                                   │
//!        └─> committed(lsn) <── waiters <┴─> sink(tags)                       trim(below) ──> recycled
//! ```
//!
//! With mirrors a record *lands* when our own disk has it, and is *committed* when as many copies have it as it takes.
//!
//! The format, the recovery rule and why they are right: `docs/` and the modules `frame` and `recovery`.

mod absence;
mod config;
mod ensemble;
mod error;
mod frame;
mod frontier;
mod identity;
mod joiner;
mod keeper;
mod mirror;
mod opened;
mod reader;
mod record;
mod recovery;
mod ring;
mod roll;
mod rolling;
mod shared;
mod store;
mod survey;
mod tail;
mod verdict;
mod wal;
mod writer;

pub use absence::Absence;
pub use config::{Identity, LossPoint, WalConfig};
pub use ensemble::{Ensemble, MirrorHealth};
pub use error::{AppendError, Corruption, FullLimit, LostRange, OpenError, WalDead};
pub use mirror::{Member, Mirror, MirrorAcks};
pub use opened::{Opened, open};
pub use record::{Lsn, Record, Recovered, RecoveredSegment, Verdict};
pub use roll::Frozen;
pub use rolling::{RollEvent, RollStep, Rolling};
pub use store::{CopyOf, MirrorCopy, MirrorStore, MirrorStoreConfig, Progress, Refusal};
pub use tail::{SealedTail, Undecided, choose, records};
pub use wal::{Usage, Wal};
