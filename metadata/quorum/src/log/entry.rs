//! The bytes of one entry: a fixed header with its own checksum, then what the kind says.
//!
//! ```text
//!   0       1      2        6      14      22      30
//!   | format | kind | crc32c | term | node | index | body ...
//! ```
//!
//! The body of a command is its versioned encoding, of a membership MessagePack with names, of a blank nothing.
//! The checksum covers everything after it; sled has its own, but a piece of an entry may go missing as a whole.

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::entry::RaftEntry as _;
use openraft::vote::RaftLeaderId as _;

use crate::raft::{Entry, LogId, Proposal, TypeConfig};

/// The format written by this release.
pub(crate) const FORMAT: u8 = 1;
const HEADER: usize = 30;

const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// Why an entry cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("format {found} is of a later release, this one reads up to {FORMAT}")]
    LaterFormat { found: u8 },
    #[error("{0}")]
    Damaged(String),
}

pub(super) fn encode(entry: &Entry) -> Vec<u8> {
    let (kind, body) = match &entry.payload {
        EntryPayload::Blank => (BLANK, Bytes::new()),
        EntryPayload::Normal(proposal) => (COMMAND, proposal.encoded().clone()),
        EntryPayload::Membership(membership) => (
            MEMBERSHIP,
            rmp_serde::to_vec_named(&membership)
                .expect("a membership of numbers and texts always encodes")
                .into(),
        ),
    };
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(&[FORMAT, kind, 0, 0, 0, 0]);
    bytes.extend_from_slice(&entry.log_id.leader_id.term.to_be_bytes());
    bytes.extend_from_slice(&entry.log_id.leader_id.node_id.to_be_bytes());
    bytes.extend_from_slice(&entry.log_id.index.to_be_bytes());
    bytes.extend_from_slice(&body);
    let crc = crc32c::crc32c(&bytes[6..]);
    bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Decodes the entry kept under `index`.
pub(super) fn decode(index: u64, bytes: Vec<u8>) -> Result<Entry, EntryError> {
    let damaged = |what: &str| EntryError::Damaged(format!("entry {index} {what}"));
    match bytes.first() {
        Some(&found) if found > FORMAT => return Err(EntryError::LaterFormat { found }),
        Some(&FORMAT) if bytes.len() >= HEADER => {}
        _ => return Err(damaged("has no header")),
    }
    let number =
        |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes of the header"));
    let crc = u32::from_be_bytes(bytes[2..6].try_into().expect("four bytes of the header"));
    if crc32c::crc32c(&bytes[6..]) != crc {
        return Err(damaged("fails its checksum"));
    }
    if number(22) != index {
        return Err(damaged(&format!("says that it is entry {}", number(22))));
    }
    let leader =
        <TypeConfig as openraft::RaftTypeConfig>::LeaderId::new(number(6), number(14)).to_committed();
    let log_id = LogId::new(leader, index);
    let kind = bytes[1];
    let body = Bytes::from(bytes).slice(HEADER..);
    let payload = match kind {
        BLANK => EntryPayload::Blank,
        COMMAND => EntryPayload::Normal(
            Proposal::decode(body)
                .map_err(|error| damaged(&format!("holds a command that cannot be read: {error}")))?,
        ),
        MEMBERSHIP => EntryPayload::Membership(
            rmp_serde::from_slice(&body)
                .map_err(|error| damaged(&format!("holds a membership that cannot be read: {error}")))?,
        ),
        other => return Err(damaged(&format!("is of unknown kind {other}"))),
    };
    Ok(Entry::new(log_id, payload))
}
