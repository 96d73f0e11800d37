use bytes::Bytes;

use super::codec::{Reader, SchemaError, Writer};

/// A classic group's generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupMetadataValue {
    /// Empty for a group that never had a member.
    pub(crate) protocol_type: String,
    pub(crate) generation: i32,
    pub(crate) protocol: Option<String>,
    pub(crate) leader: Option<String>,
    /// When the group came into its state; -1 if unknown.
    pub(crate) current_state_timestamp_ms: i64,
    pub(crate) members: Vec<MemberMetadata>,
}

/// A member of a written generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberMetadata {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    /// -1 in version 0: the session timeout counts.
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    pub(crate) subscription: Bytes,
    pub(crate) assignment: Bytes,
}

const VERSION: i16 = 3;

impl GroupMetadataValue {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::default();
        out.int16(VERSION);
        out.string(&self.protocol_type);
        out.int32(self.generation);
        out.nullable_string(self.protocol.as_deref());
        out.nullable_string(self.leader.as_deref());
        out.int64(self.current_state_timestamp_ms);
        out.count(self.members.len());
        for member in &self.members {
            out.string(&member.member_id);
            out.nullable_string(member.instance_id.as_deref());
            out.string(&member.client_id);
            out.string(&member.client_host);
            out.int32(member.rebalance_timeout_ms);
            out.int32(member.session_timeout_ms);
            out.byte_array(&member.subscription);
            out.byte_array(&member.assignment);
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, SchemaError> {
        let mut reader = Reader::new("GroupMetadataValue", bytes);
        let version = reader.int16()?;
        if !(0..=4).contains(&version) {
            return Err(reader.unknown_version(version));
        }
        let flexible = version >= 4;
        let protocol_type = if flexible { reader.compact_string()? } else { reader.string()? };
        let generation = reader.int32()?;
        let protocol = nullable(&mut reader, flexible)?;
        let leader = nullable(&mut reader, flexible)?;
        let current_state_timestamp_ms = if version >= 2 { reader.int64()? } else { -1 };
        let count = if flexible { reader.compact_count()? } else { reader.count()? };
        let members =
            (0..count).map(|_| MemberMetadata::decode(&mut reader, version)).collect::<Result<_, _>>()?;
        if flexible {
            reader.skip_tagged_fields()?;
        }
        Ok(Self { protocol_type, generation, protocol, leader, current_state_timestamp_ms, members })
    }
}

impl MemberMetadata {
    fn decode(reader: &mut Reader<'_>, version: i16) -> Result<Self, SchemaError> {
        let flexible = version >= 4;
        let text = |reader: &mut Reader<'_>| if flexible { reader.compact_string() } else { reader.string() };
        let blob = |reader: &mut Reader<'_>| {
            if flexible { reader.compact_byte_array() } else { reader.byte_array() }
        };
        let member_id = text(reader)?;
        let instance_id = if version >= 3 { nullable(reader, flexible)? } else { None };
        let client_id = text(reader)?;
        let client_host = text(reader)?;
        let rebalance_timeout_ms = if version >= 1 { reader.int32()? } else { -1 };
        let session_timeout_ms = reader.int32()?;
        let subscription = blob(reader)?;
        let assignment = blob(reader)?;
        if flexible {
            reader.skip_tagged_fields()?;
        }
        Ok(Self {
            member_id,
            instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms,
            session_timeout_ms,
            subscription,
            assignment,
        })
    }
}

fn nullable(reader: &mut Reader<'_>, flexible: bool) -> Result<Option<String>, SchemaError> {
    if flexible { reader.compact_nullable_string() } else { reader.nullable_string() }
}
