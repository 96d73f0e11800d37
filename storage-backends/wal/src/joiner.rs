use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::frame::{Fragment, Header};
use crate::{Lsn, Record};

/// Makes records of the fragments of one frame after the other, and checks that LSNs leave no gap.
#[derive(Debug)]
pub(crate) struct Joiner {
    /// The LSN that the next frame begins with.
    lsn: u64,
    unfinished: Unfinished,
    /// Each stream's end so far.
    pub(crate) stream_ends: BTreeMap<u64, u64>,
}

/// A record of which the last fragment is to come.
#[derive(Debug)]
enum Unfinished {
    None,
    /// Its beginning was in a file that is trimmed.
    Headless,
    Begun {
        first: Fragment,
        payload: BytesMut,
    },
}

impl Joiner {
    /// Expects a frame that begins with the record at `lsn`.
    pub(crate) fn new(lsn: u64) -> Self {
        Self { lsn, unfinished: Unfinished::None, stream_ends: BTreeMap::new() }
    }

    /// Expects a frame from the middle of a segment; if it `continues` a record, that one cannot be had.
    pub(crate) fn begin_within(&mut self, lsn: u64, continues: bool) {
        self.lsn = lsn;
        self.unfinished = if continues { Unfinished::Headless } else { Unfinished::None };
    }

    /// The LSN of the next record, or of the one that is unfinished.
    pub(crate) fn next_lsn(&self) -> u64 {
        self.lsn
    }

    pub(crate) fn drop_unfinished(&mut self) {
        self.unfinished = Unfinished::None;
    }

    /// Takes in the next frame's fragments. A refused frame leaves nothing behind.
    pub(crate) fn join(
        &mut self,
        header: &Header,
        fragments: Vec<Fragment>,
        records: &mut Vec<(Lsn, Record)>,
    ) -> Result<(), &'static str> {
        if header.lsn != self.lsn || header.continues == matches!(self.unfinished, Unfinished::None) {
            // A frame without records between the parts of one would be a bug of the writer as well.
            return Err("its LSN does not continue the frame before it");
        }
        let known = records.len();
        for fragment in fragments {
            if let Err(cause) = self.fragment(fragment, records) {
                records.truncate(known);
                self.lsn = header.lsn;
                return Err(cause);
            }
        }
        Ok(())
    }

    fn fragment(&mut self, fragment: Fragment, records: &mut Vec<(Lsn, Record)>) -> Result<(), &'static str> {
        let last = fragment.last();
        let (about, payload) = match std::mem::replace(&mut self.unfinished, Unfinished::None) {
            Unfinished::None if fragment.position > 0 => {
                return Err("the beginning of its first record is missing");
            }
            Unfinished::None if last => {
                let payload = fragment.bytes.clone();
                (fragment, payload)
            }
            Unfinished::None => {
                let mut payload = BytesMut::with_capacity(fragment.bytes.len() * 2);
                payload.extend_from_slice(&fragment.bytes);
                self.unfinished = Unfinished::Begun { first: fragment, payload };
                return Ok(());
            }
            Unfinished::Headless => {
                if last {
                    self.lsn += 1;
                } else {
                    self.unfinished = Unfinished::Headless;
                }
                return Ok(());
            }
            Unfinished::Begun { first, mut payload } => {
                let follows = fragment.stream == first.stream
                    && fragment.first_offset == first.first_offset
                    && fragment.payload_length == first.payload_length
                    && fragment.position as usize == payload.len();
                if !follows {
                    return Err("its first fragment does not continue the record before it");
                }
                payload.extend_from_slice(&fragment.bytes);
                if !last {
                    self.unfinished = Unfinished::Begun { first, payload };
                    return Ok(());
                }
                (first, payload.freeze())
            }
        };
        self.finish(&about, payload, records);
        Ok(())
    }

    fn finish(&mut self, about: &Fragment, payload: Bytes, records: &mut Vec<(Lsn, Record)>) {
        let Fragment { stream, first_offset, end_offset, .. } = *about;
        records.push((Lsn(self.lsn), Record { stream, first_offset, end_offset, payload }));
        self.stream_ends.insert(stream, end_offset);
        self.lsn += 1;
    }
}
