//! The encoded state of a partition at an offload cut.
//!
//! One byte of version, then a MessagePack map with named fields: a later release may add fields (with a default) under
//! the same version and reads what this one wrote. Integrity is the object format's business.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::epochs::Epochs;
use crate::error::OpenError;
use crate::producers::Producers;

const VERSION: u8 = 1;

/// What a replay starts from.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// Log end at which the rest is exact.
    pub(crate) cut: i64,
    pub(crate) epochs: Epochs,
    pub(crate) producers: Producers,
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        let mut writer = out.writer();
        let mut serializer = rmp_serde::Serializer::new(&mut writer).with_struct_map();
        self.serialize(&mut serializer).expect("numbers and maps always encode into memory");
        writer.into_inner().freeze()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, OpenError> {
        let unreadable = OpenError::Checkpoint;
        match bytes.split_first() {
            None => Err(unreadable("it is empty".to_owned())),
            Some((&VERSION, body)) => {
                rmp_serde::from_slice(body).map_err(|error| unreadable(error.to_string()))
            }
            Some((&version, _)) => Err(unreadable(format!(
                "it has version {version}, this release reads up to {VERSION}; start a release that wrote it"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aquifer_record::{BatchBuilder, BatchHeader, Compression, NewRecord};

    fn sample() -> Checkpoint {
        let mut checkpoint = Checkpoint { cut: 7, ..Checkpoint::default() };
        checkpoint.epochs.assign(0, 0);
        checkpoint.epochs.assign(3, 5);
        let mut builder = BatchBuilder::new(Compression::None).producer(9, 2, 0);
        builder.push(NewRecord { timestamp_ms: 1234, ..NewRecord::default() });
        let header = BatchHeader::parse(&builder.build()).unwrap();
        checkpoint.producers.record(&header, 99);
        checkpoint
    }

    /// What version 1 wrote, kept for ever: a later release must read it.
    const GOLDEN: &str = "0183a363757407a665706f6368739282a565706f636800a5737461727400\
        82a565706f636803a5737461727405a970726f647563657273810983a565706f636802ab617070656e6465645f6d7363\
        a7626174636865739185ae66697273745f73657175656e636500ad6c6173745f73657175656e636500ab626173655f6f66\
        6673657400ab6c6173745f6f666673657400ac74696d657374616d705f6d73cd04d2";

    #[test]
    fn version_one_reads_back_and_stays_as_it_is() {
        let encoded = sample().encode();
        let hex: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        assert_eq!(Checkpoint::decode(&encoded).unwrap(), sample());
    }

    #[test]
    fn a_checkpoint_of_a_later_release_is_refused_with_its_version() {
        let error = Checkpoint::decode(&[9, 1, 2]).unwrap_err().to_string();
        assert!(error.contains("version 9"), "{error}");
        assert!(Checkpoint::decode(&[]).is_err());
        assert!(Checkpoint::decode(&[1, 0xc1]).is_err());
    }
}
