//! What openraft is told about our types, and short names for its generics.

use std::fmt;
use std::sync::Arc;

use aquifer_image::{Command, DecodeError, Outcome, Rejection, decode_command, encode_command};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

openraft::declare_raft_types!(
    /// Our instance of openraft. Raft's own node ids are `u64`; ours are [`aquifer_types::NodeId`].
    pub TypeConfig:
        D = Proposal,
        R = Reply,
);

pub(crate) type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, Bytes>;

/// One command on its way through the log, with its encoding.
///
/// Encoded once, by the proposer's task: the raft core, the log store and the replication only pass bytes on.
#[derive(Clone, Debug)]
pub struct Proposal {
    command: Arc<Command>,
    encoded: Bytes,
}

impl Proposal {
    /// Encodes `command`.
    pub fn new(command: Arc<Command>) -> Self {
        let encoded = Bytes::from(encode_command(&command));
        Self { command, encoded }
    }

    /// From the bytes of [`Proposal::encoded`].
    ///
    /// # Errors
    /// If they are damaged or written by a later release.
    pub fn decode(encoded: Bytes) -> Result<Self, DecodeError> {
        let command = Arc::new(decode_command(&encoded)?);
        Ok(Self { command, encoded })
    }

    /// The command.
    pub fn command(&self) -> &Arc<Command> {
        &self.command
    }

    /// Its versioned encoding.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.command.name(), self.encoded.len())
    }
}

impl Serialize for Proposal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.encoded)
    }
}

impl<'de> Deserialize<'de> for Proposal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Encoded;
        impl de::Visitor<'_> for Encoded {
            type Value = Proposal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an encoded command")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Proposal, E> {
                Proposal::decode(Bytes::copy_from_slice(bytes)).map_err(E::custom)
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Proposal, E> {
                Proposal::decode(bytes.into()).map_err(E::custom)
            }
        }
        deserializer.deserialize_byte_buf(Encoded)
    }
}

/// What the state machine answers. `None` for raft's own entries (blank, membership).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply(pub Option<Result<Outcome, Rejection>>);
