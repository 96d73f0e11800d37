//! The first frame each way: who speaks, whom it wants, and what for.
//!
//! ```text
//!   "AQPR" | version u16 | class u8 | form u8 | own node u32 | wanted node u32 (or u32::MAX) | instance u64
//! ```

use std::io;

use aquifer_types::NodeId;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::channel::Class;
use crate::frame::invalid;

const MAGIC: u32 = u32::from_be_bytes(*b"AQPR");
const VERSION: u16 = 1;
pub(crate) const HELLO_BYTES: usize = 24;
const ANYBODY: u32 = u32::MAX;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Form {
    /// Many calls, multiplexed.
    Calls = 1,
    /// One stream.
    Stream = 2,
    /// Only to see who is there.
    Probe = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) class: Class,
    pub(crate) form: Form,
    pub(crate) node: NodeId,
    pub(crate) wanted: Option<NodeId>,
    /// Drawn by each start of the process.
    pub(crate) instance: u64,
}

impl Hello {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HELLO_BYTES);
        bytes.put_u32(MAGIC);
        bytes.put_u16(VERSION);
        bytes.put_u8(self.class as u8);
        bytes.put_u8(self.form as u8);
        bytes.put_u32(self.node.0);
        bytes.put_u32(self.wanted.map_or(ANYBODY, |node| node.0));
        bytes.put_u64(self.instance);
        bytes.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> io::Result<Self> {
        // A later version may append fields, never change these.
        if bytes.len() < HELLO_BYTES || bytes.get_u32() != MAGIC {
            return Err(invalid("it does not speak the protocol of the internal port".to_owned()));
        }
        let version = bytes.get_u16();
        if version == 0 {
            return Err(invalid("version 0 of the internal protocol does not exist".to_owned()));
        }
        let class = bytes.get_u8();
        let class = Class::from_byte(class).ok_or_else(|| invalid(format!("connection class {class}")))?;
        let form = match bytes.get_u8() {
            1 => Form::Calls,
            2 => Form::Stream,
            3 => Form::Probe,
            form => return Err(invalid(format!("connection form {form}"))),
        };
        let node = NodeId(bytes.get_u32());
        let wanted = Some(bytes.get_u32()).filter(|node| *node != ANYBODY).map(NodeId);
        Ok(Self { class, form, node, wanted, instance: bytes.get_u64() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_comes_back() {
        for wanted in [None, Some(NodeId(0)), Some(NodeId(7))] {
            let hello =
                Hello { class: Class::Bulk, form: Form::Stream, node: NodeId(3), wanted, instance: u64::MAX };
            assert_eq!(Hello::decode(hello.encode()).expect("well-formed"), hello);
        }
    }

    #[test]
    fn what_is_no_hello_is_told() {
        let kafka = Bytes::from_static(&[0; HELLO_BYTES]);
        assert!(Hello::decode(kafka).is_err());
        assert!(Hello::decode(Bytes::from_static(b"AQPR")).is_err());
    }
}
