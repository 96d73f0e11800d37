//! The quorum over the internal port: its channels, and what is said on them.
//!
//! ```text
//!   RAFT       Request ⇄ Response         between members; what is large goes over RAFT_BULK
//!   FORMATION  () ⇄ Standing              anybody: is there a cluster, and who is in it
//!   FEED       after ⇄ entries or image   brokers that are no members follow the log
//!   PROPOSE    command ⇄ verdict          and change it
//! ```

mod feed;
mod formation;
mod join;
mod network;
mod remote;
mod succession;

use aquifer_peer::{Channel, Class, MAX_PAYLOAD_BYTES};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::MAX_COMMAND_BYTES;

pub use formation::agree_on_formation;
pub use join::stay_joined;
pub use network::{PeerNetwork, serve};
pub use remote::RemoteQuorum;
pub use succession::succeed_dead_leaders;

/// Requests up to this size share the connection of heartbeats.
const SMALL_BYTES: usize = 256 << 10;

const RAFT: Channel = Channel {
    id: 1,
    name: "raft",
    class: Class::Control,
    max_bytes: 2 * SMALL_BYTES,
    in_flight_bytes: 8 << 20,
    in_flight_calls: 1_024,
};
const RAFT_BULK: Channel = Channel {
    id: 2,
    name: "raft-bulk",
    class: Class::Bulk,
    max_bytes: MAX_PAYLOAD_BYTES,
    in_flight_bytes: MAX_PAYLOAD_BYTES,
    in_flight_calls: 16,
};
const FORMATION: Channel = Channel {
    id: 3,
    name: "formation",
    class: Class::Control,
    max_bytes: 64 << 10,
    in_flight_bytes: 64 << 10,
    in_flight_calls: 4,
};
const FEED: Channel = Channel {
    id: 4,
    name: "metadata-feed",
    class: Class::Bulk,
    max_bytes: MAX_PAYLOAD_BYTES,
    in_flight_bytes: 64 << 10,
    in_flight_calls: 2,
};
const PROPOSE: Channel = Channel {
    id: 5,
    name: "propose",
    class: Class::Control,
    max_bytes: MAX_COMMAND_BYTES + (64 << 10),
    in_flight_bytes: 16 << 20,
    in_flight_calls: 1_024,
};

/// The channels of the quorum, to be declared to [`aquifer_peer::Peers::new`]. Their ids are 1 to 5.
pub const CHANNELS: [Channel; 5] = [RAFT, RAFT_BULK, FORMATION, FEED, PROPOSE];

/// `head` in MessagePack, and `body` behind it as it is.
fn encode(head: &impl Serialize, body: &Bytes) -> Bytes {
    let head = rmp_serde::to_vec_named(head).expect("messages of numbers, texts and bytes always encode");
    let mut bytes = BytesMut::with_capacity(4 + head.len() + body.len());
    bytes.put_u32(u32::try_from(head.len()).expect("a head is far smaller than a payload may be"));
    bytes.put_slice(&head);
    bytes.put_slice(body);
    bytes.freeze()
}

fn decode<T: DeserializeOwned>(mut bytes: Bytes) -> Result<(T, Bytes), String> {
    if bytes.len() < 4 {
        return Err(format!("a message of {} bytes", bytes.len()));
    }
    let length = bytes.get_u32() as usize;
    if length > bytes.len() {
        return Err(format!("a message whose head has {length} of {} bytes", bytes.len()));
    }
    let head = bytes.split_to(length);
    let head =
        rmp_serde::from_slice(&head).map_err(|error| format!("a message that cannot be read: {error}"))?;
    Ok((head, bytes))
}
