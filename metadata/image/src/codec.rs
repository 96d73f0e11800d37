//! The bytes of commands and snapshots, in the metadata log, on the wire and in the object store.
//!
//! ```text
//!   command    'C' | version | MessagePack, structs as named maps
//!   snapshot   'S' | version | CRC32C of the rest, big endian | MessagePack, structs as named maps
//! ```
//!
//! A later release adds fields with defaults and enum variants under the same version; it raises the
//! version, and keeps reading the older ones, only when that is not enough.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::command::Command;
use crate::image::Image;
use crate::snapshot::{SnapshotRead, SnapshotWritten};

/// The version that this release writes, and the newest that it reads.
const VERSION: u8 = 1;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too short, or not begun by the right mark.
    #[error("not a metadata {kind}: its first bytes are {found:02x?}")]
    NotThis {
        /// `command` or `snapshot`.
        kind: &'static str,
        /// At most the first eight bytes.
        found: Vec<u8>,
    },
    /// Written by a later release.
    #[error(
        "metadata {kind} has format version {found}, this release reads up to {newest}: it was written by a \
         later release of aquifer, use that one or a later one"
    )]
    UnknownVersion {
        /// `command` or `snapshot`.
        kind: &'static str,
        /// Its version.
        found: u8,
        /// The newest version that is understood.
        newest: u8,
    },
    /// The checksum does not match.
    #[error("metadata {kind} of {length} bytes is damaged: CRC32C is {found:08x}, it says {expected:08x}")]
    Damaged {
        /// `snapshot`.
        kind: &'static str,
        /// Bytes in all.
        length: usize,
        /// CRC of what is there.
        found: u32,
        /// CRC that it carries.
        expected: u32,
    },
    /// The content cannot be read or contradicts itself.
    #[error("metadata {kind} of {length} bytes cannot be read: {reason}")]
    Malformed {
        /// `command` or `snapshot`.
        kind: &'static str,
        /// Bytes in all.
        length: usize,
        /// What the decoder says.
        reason: String,
    },
}

const COMMAND: Kind = Kind { name: "command", mark: b'C' };
const SNAPSHOT: Kind = Kind { name: "snapshot", mark: b'S' };

/// The bytes of a command.
pub fn encode_command(command: &Command) -> Vec<u8> {
    let mut bytes = vec![COMMAND.mark, VERSION];
    write_named(command, &mut bytes);
    bytes
}

/// The command in some bytes.
pub fn decode_command(bytes: &[u8]) -> Result<Command, DecodeError> {
    COMMAND.read(bytes, COMMAND.body(bytes)?)
}

/// The bytes of an image. Equal images have equal bytes.
pub fn encode_snapshot(image: &Image) -> Vec<u8> {
    let mut bytes = vec![SNAPSHOT.mark, VERSION, 0, 0, 0, 0];
    write_named(&SnapshotWritten::of(image), &mut bytes);
    let crc = crc32c::crc32c(&bytes[6..]);
    bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The image in some bytes, checked: its parts fit each other.
pub fn decode_snapshot(bytes: &[u8]) -> Result<Image, DecodeError> {
    let body = SNAPSHOT.body(bytes)?;
    let Some((crc, body)) = body.split_first_chunk::<4>() else {
        return Err(SNAPSHOT.not_this(bytes));
    };
    let (expected, found) = (u32::from_be_bytes(*crc), crc32c::crc32c(body));
    if found != expected {
        return Err(DecodeError::Damaged { kind: SNAPSHOT.name, length: bytes.len(), found, expected });
    }
    let snapshot: SnapshotRead = SNAPSHOT.read(bytes, body)?;
    snapshot.into_image().map_err(|reason| SNAPSHOT.malformed(bytes, reason))
}

struct Kind {
    name: &'static str,
    mark: u8,
}

impl Kind {
    /// What follows mark and version, both checked.
    fn body<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        match bytes {
            [mark, VERSION, body @ ..] if *mark == self.mark => Ok(body),
            [mark, found, ..] if *mark == self.mark => {
                Err(DecodeError::UnknownVersion { kind: self.name, found: *found, newest: VERSION })
            }
            _ => Err(self.not_this(bytes)),
        }
    }

    fn read<T: DeserializeOwned>(&self, bytes: &[u8], body: &[u8]) -> Result<T, DecodeError> {
        let mut decoder = rmp_serde::Deserializer::from_read_ref(body);
        T::deserialize(&mut decoder).map_err(|error| self.malformed(bytes, error.to_string()))
    }

    fn not_this(&self, bytes: &[u8]) -> DecodeError {
        DecodeError::NotThis { kind: self.name, found: bytes.iter().take(8).copied().collect() }
    }

    fn malformed(&self, bytes: &[u8], reason: String) -> DecodeError {
        DecodeError::Malformed { kind: self.name, length: bytes.len(), reason }
    }
}

fn write_named<T: Serialize>(value: &T, bytes: &mut Vec<u8>) {
    let mut serializer = rmp_serde::Serializer::new(bytes).with_struct_map();
    value.serialize(&mut serializer).expect("our types serialize, and a Vec takes every byte");
}
