//! Keys and values of `__consumer_offsets`, byte for byte as Kafka writes them: Burrow, KMinion and Kafka's own
//! formatters read them.
//!
//! Facts from `group-coordinator/src/main/resources/common/message` of Apache Kafka. Each key and value begins with a
//! two-byte version; the key's version also says what the record is. Versions 0 to 4 of the values are read. Version 3
//! is written: Kafka since 4.1 writes offsets in version 4, which adds nothing but a tagged topic id and is not known
//! to older readers.

mod codec;
mod group_metadata;
mod offset_commit;

pub(crate) use codec::SchemaError;
pub(crate) use group_metadata::{GroupMetadataValue, MemberMetadata};
pub(crate) use offset_commit::OffsetCommitValue;

use bytes::Bytes;

use codec::{Reader, Writer};

use crate::TopicPartition;

const OFFSET_COMMIT_KEY_VERSION: i16 = 1;
const GROUP_METADATA_KEY_VERSION: i16 = 2;

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// A committed offset.
    OffsetCommit { group: String, partition: TopicPartition },
    /// A classic group's generation.
    GroupMetadata { group: String },
    /// Of a kind this coordinator does not keep.
    Other { version: i16 },
}

impl Key {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::default();
        match self {
            Self::OffsetCommit { group, partition } => {
                out.int16(OFFSET_COMMIT_KEY_VERSION);
                out.string(group);
                out.string(&partition.topic);
                out.int32(partition.partition);
            }
            Self::GroupMetadata { group } => {
                out.int16(GROUP_METADATA_KEY_VERSION);
                out.string(group);
            }
            Self::Other { version } => unreachable!("keys of version {version} are never written"),
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, SchemaError> {
        let mut reader = Reader::new("coordinator key", bytes);
        match reader.int16()? {
            // Version 0 of the offset key has the same fields; Kafka 0.9 wrote it.
            0 | OFFSET_COMMIT_KEY_VERSION => {
                let group = reader.string()?;
                let topic = reader.string()?;
                let partition = reader.int32()?;
                Ok(Self::OffsetCommit { group, partition: TopicPartition { topic, partition } })
            }
            GROUP_METADATA_KEY_VERSION => Ok(Self::GroupMetadata { group: reader.string()? }),
            version => Ok(Self::Other { version }),
        }
    }
}

#[cfg(test)]
mod tests;
