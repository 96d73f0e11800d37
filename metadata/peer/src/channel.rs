//! What the users of the port declare: channels, their class and their limits.

use std::fmt;

/// Largest payload that any channel may declare.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 30;

/// Which connection a channel's calls share. Classes never wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Small and urgent: votes, entries, heartbeats, proposals.
    Control = 1,
    /// Large and patient: snapshots, the metadata feed.
    Bulk = 2,
    /// What recovery asks of WAL mirrors. The mirroring itself goes over streams, each with its own connection.
    Wal = 3,
}

impl Class {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Control, Self::Bulk, Self::Wal].into_iter().find(|class| *class as u8 == byte)
    }
}

/// One kind of conversation. Both ends are built with the same declaration.
///
/// The limits hold for each connection, and at both ends: the caller waits within its time limit until there is
/// room, the server declines what exceeds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// What stands in the frames; unique within a process.
    pub id: u8,
    /// For messages.
    pub name: &'static str,
    /// Which connection it shares.
    pub class: Class,
    /// Largest request, answer or stream frame.
    pub max_bytes: usize,
    /// Requests under way, by bytes. A single request may always go.
    pub in_flight_bytes: usize,
    /// Requests under way, by number.
    pub in_flight_calls: usize,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
