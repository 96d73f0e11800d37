//! Ids that are plain numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares one newtype over an integer, with the traits that every id has.
macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The bare number, for the places where it leaves the typed world (wire, file names, metrics).
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl From<$inner> for $name {
            fn from(number: $inner) -> Self {
                Self(number)
            }
        }
    };
}

number_id! {
    /// A node of the cluster (`node.id`). Kafka's protocol carries it as a non-negative `i32`.
    NodeId(u32)
}
number_id! {
    /// An append-only sequence of batches. A partition has two: data and meta.
    StreamId(u64)
}
number_id! {
    /// One upload in the object store, given out by the quorum before the upload begins.
    ObjectId(u64)
}
number_id! {
    /// A WAL segment: the raft log index of the command that opened it.
    SegmentId(u64)
}
number_id! {
    /// One registration of a broker: the raft log index of that command. A later one fences all earlier.
    BrokerEpoch(u64)
}
number_id! {
    /// How often a partition's leadership was granted. Kafka's leader epoch, starting at 0.
    LeaderEpoch(i32)
}
number_id! {
    /// A position in the metadata quorum's raft log; 0 stands before the first entry.
    LogIndex(u64)
}
number_id! {
    /// Kafka's producer id of an idempotent producer.
    ProducerId(i64)
}

impl NodeId {
    /// Largest node id: what Kafka's signed 32-bit field can carry.
    pub const MAX: NodeId = NodeId(i32::MAX as u32);

    /// The id as Kafka's messages carry it; `None` if it is larger than [`NodeId::MAX`].
    pub fn to_kafka(self) -> Option<i32> {
        i32::try_from(self.0).ok()
    }

    /// From Kafka's field; `None` for the negative values that mean "no node".
    pub fn from_kafka(id: i32) -> Option<Self> {
        u32::try_from(id).ok().map(Self)
    }
}

impl LogIndex {
    /// The index after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl LeaderEpoch {
    /// The epoch after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl From<LogIndex> for BrokerEpoch {
    fn from(index: LogIndex) -> Self {
        Self(index.0)
    }
}

impl From<LogIndex> for SegmentId {
    fn from(index: LogIndex) -> Self {
        Self(index.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_shown_bare_and_debugged_with_its_type() {
        assert_eq!(ObjectId(17).to_string(), "17");
        assert_eq!(format!("{:?}", ObjectId(17)), "ObjectId(17)");
        assert_eq!(format!("{:>4}", NodeId(7)), "   7");
    }

    #[test]
    fn kafkas_negative_node_is_no_node() {
        assert_eq!(NodeId::from_kafka(-1), None);
        assert_eq!(NodeId::from_kafka(3), Some(NodeId(3)));
        assert_eq!(NodeId::MAX.to_kafka(), Some(i32::MAX));
        assert_eq!(NodeId(u32::MAX).to_kafka(), None);
    }
}
