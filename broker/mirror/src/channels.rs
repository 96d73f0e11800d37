//! What is said between owners, members and recoverers.

use aquifer_peer::{Channel, Class};
use aquifer_types::{DiskId, NodeId, SegmentId};
use aquifer_wal::{CopyOf, Lsn, Progress, SealedTail};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Frames to a member, and back what its copy holds. A frame has at most 1 MiB.
pub(crate) const WAL_MIRROR: Channel = Channel {
    id: 20,
    name: "wal-mirror",
    class: Class::Wal,
    max_bytes: 2 << 20,
    in_flight_bytes: 8 << 20,
    in_flight_calls: 64,
};
/// A recoverer asks for a copy's promise.
pub(crate) const WAL_SEAL: Channel = Channel {
    id: 21,
    name: "wal-seal",
    class: Class::Wal,
    max_bytes: 4 << 10,
    in_flight_bytes: 256 << 10,
    in_flight_calls: 256,
};
/// A recoverer reads a sealed copy.
pub(crate) const WAL_READ: Channel = Channel {
    id: 22,
    name: "wal-read",
    class: Class::Wal,
    max_bytes: 16 << 20,
    in_flight_bytes: 64 << 20,
    in_flight_calls: 16,
};

/// The channels of the mirrors, to be declared to [`aquifer_peer::Peers::new`]. Their ids are 20 to 22.
pub const CHANNELS: [Channel; 3] = [WAL_MIRROR, WAL_SEAL, WAL_READ];

/// Frames of one answer of [`WAL_READ`], in bytes; one more frame may follow.
pub(crate) const READ_BYTES: usize = 4 << 20;

/// A copy, as it is asked for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Copy {
    pub(crate) segment: SegmentId,
    pub(crate) owner: NodeId,
    pub(crate) disk: DiskId,
}

impl From<Copy> for CopyOf {
    fn from(copy: Copy) -> Self {
        Self { segment: copy.segment.get(), owner: copy.owner.get(), disk: copy.disk.get().as_u128() }
    }
}

impl From<CopyOf> for Copy {
    fn from(of: CopyOf) -> Self {
        let disk = DiskId(uuid_of(of.disk));
        Self { segment: SegmentId(of.segment), owner: NodeId(of.owner), disk }
    }
}

fn uuid_of(disk: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(disk)
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Seal {
    pub(crate) copy: Copy,
    pub(crate) epoch: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Sealed {
    Tail { end: u64, commit: u64, doubtful: bool },
    Abstains(String),
}

impl From<SealedTail> for Sealed {
    fn from(tail: SealedTail) -> Self {
        Self::Tail { end: tail.end.0, commit: tail.commit.0, doubtful: tail.doubtful }
    }
}

impl Sealed {
    /// The tail, or why the copy abstains.
    pub(crate) fn into_tail(self) -> Result<SealedTail, String> {
        match self {
            Self::Tail { end, commit, doubtful } => {
                Ok(SealedTail { end: Lsn(end), commit: Lsn(commit), doubtful })
            }
            Self::Abstains(reason) => Err(reason),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Read {
    pub(crate) copy: Copy,
    pub(crate) from: usize,
}

/// What a member says on a link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// How far its copy is.
    Progress(Progress),
    /// It takes nothing more, and why.
    Refused(String),
}

const PROGRESS: u8 = 0;
const REFUSED: u8 = 1;

impl Said {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Progress(progress) => {
                bytes.put_u8(PROGRESS);
                bytes.put_u64_le(progress.frames);
                bytes.put_u64_le(progress.granted_bytes);
            }
            Self::Refused(reason) => {
                bytes.put_u8(REFUSED);
                bytes.put_slice(reason.as_bytes());
            }
        }
        bytes.freeze()
    }

    /// What was said, `None` if that is nothing that a member says.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        match bytes.try_get_u8().ok()? {
            PROGRESS if bytes.len() == 16 => {
                let (frames, granted_bytes) = (bytes.get_u64_le(), bytes.get_u64_le());
                Some(Self::Progress(Progress { frames, granted_bytes }))
            }
            REFUSED => Some(Self::Refused(String::from_utf8_lossy(&bytes).into_owned())),
            _ => None,
        }
    }
}

/// Frames one behind the other, each with its length before it.
pub(crate) fn join_frames(frames: &[Bytes]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(frames.iter().map(|frame| 4 + frame.len()).sum());
    for frame in frames {
        bytes.put_u32_le(u32::try_from(frame.len()).expect("a frame has at most 1 MiB"));
        bytes.put_slice(frame);
    }
    bytes.freeze()
}

/// The frames again, `None` if these are not any.
pub(crate) fn split_frames(mut bytes: Bytes) -> Option<Vec<Bytes>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = usize::try_from(bytes.try_get_u32_le().ok()?).ok()?;
        if length > bytes.len() {
            return None;
        }
        frames.push(bytes.split_to(length));
    }
    Some(frames)
}

pub(crate) fn encode(message: &impl Serialize) -> Bytes {
    serde_json::to_vec(message).expect("messages of numbers, ids and texts always encode").into()
}

pub(crate) fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_member_says_arrives() {
        let progress = Progress { frames: 7, granted_bytes: u64::MAX };
        for said in [Said::Progress(progress), Said::Refused("sealed".to_owned())] {
            assert_eq!(Said::decode(said.encode()), Some(said));
        }
        assert_eq!(Said::decode(Bytes::new()), None);
        assert_eq!(Said::decode(Bytes::from_static(&[PROGRESS, 1, 2])), None);
        assert_eq!(Said::decode(Bytes::from_static(&[9])), None);
    }

    #[test]
    fn frames_arrive_each_as_it_was() {
        let frames = [Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
        let joined = join_frames(&frames);
        assert_eq!(split_frames(joined.clone()), Some(frames.to_vec()));
        assert_eq!(split_frames(joined.slice(..joined.len() - 1)), None);
        assert_eq!(split_frames(Bytes::from_static(&[1, 0])), None);
    }

    #[test]
    fn a_copy_is_the_same_after_the_way() {
        let of = CopyOf { segment: 1 << 60, owner: 3, disk: u128::MAX - 5 };
        let seal = Seal { copy: of.into(), epoch: 9 };
        let arrived: Seal = decode(&encode(&seal)).expect("as it was encoded");
        assert_eq!(CopyOf::from(arrived.copy), of);
    }
}
