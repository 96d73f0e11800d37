use std::collections::BTreeMap;

use aquifer_disk::{BLOCK, DiskError};
use bytes::Bytes;

use crate::frame::{Fragment, Header, MAX_FRAME};
use crate::reader::Reader;
use crate::ring::RingFile;
use crate::{LossPoint, LostRange, WalConfig};

/// How far behind a missing frame later ones can lie that tell whether it was durable: the frame itself, those that were
/// in flight with it, and the first that was issued when it was durable.
pub(crate) const WINDOW: u64 = (WalConfig::MAX_IN_FLIGHT as u64 + 2) * MAX_FRAME as u64;

/// What frames behind a missing one tell about it.
#[derive(Debug)]
pub(crate) struct Survey {
    missing: LossPoint,
    /// The largest "oldest in flight" of those: everything below was durable.
    pub(crate) oldest_in_flight: u64,
    /// The largest trim that any later frame tells.
    pub(crate) trimmed: u64,
    /// The LSN after all records that later frames touch.
    pub(crate) end: u64,
    /// The first later frame of the same segment.
    pub(crate) first: Option<Later>,
    /// Where each stream goes on, as far as whole frames tell.
    goes_on: BTreeMap<u64, u64>,
}

/// A frame behind a missing one.
#[derive(Clone, Debug)]
pub(crate) struct Later {
    pub(crate) file: RingFile,
    pub(crate) position: u64,
    pub(crate) header: Header,
}

impl Survey {
    pub(crate) fn new(missing: LossPoint) -> Self {
        Self { missing, oldest_in_flight: 0, trimmed: 0, end: 0, first: None, goes_on: BTreeMap::new() }
    }

    /// Takes in a header with a good checksum. Its body may be torn: that it was issued is enough.
    fn header(&mut self, header: &Header, file: &RingFile, position: u64) -> bool {
        if (header.segment, header.sequence) <= (self.missing.segment, self.missing.sequence) {
            return false;
        }
        if header.segment == self.missing.segment {
            self.oldest_in_flight = self.oldest_in_flight.max(header.oldest_in_flight);
            if self.first.as_ref().is_none_or(|first| header.sequence < first.header.sequence) {
                self.first = Some(Later { file: file.clone(), position, header: header.clone() });
            }
        }
        self.trimmed = self.trimmed.max(header.trim_lsn);
        self.end = self.end.max(header.touched_end());
        true
    }

    /// Looks at every block of a part of a file; `deep` also reads the records.
    pub(crate) async fn file(
        &mut self,
        file: &RingFile,
        from: u64,
        to: u64,
        deep: bool,
    ) -> Result<(), DiskError> {
        let mut reader = Reader::new(file, from, to);
        let mut position = from;
        while reader.has(position, BLOCK) {
            let header = Header::open(reader.block(position).await?);
            let mut length = BLOCK;
            if let Ok((header, _)) = header
                && self.header(&header, file, position)
                && deep
                && reader.has(position, header.frame_length())
            {
                let frame = Bytes::from(reader.copy(position, header.frame_length()).await?);
                if let Ok(fragments) = header.check_body(frame) {
                    length = header.frame_length();
                    self.records(&fragments);
                }
            }
            position += length as u64;
        }
        Ok(())
    }

    fn records(&mut self, fragments: &[Fragment]) {
        for fragment in fragments.iter().filter(|fragment| fragment.position == 0) {
            let known = self.goes_on.entry(fragment.stream).or_insert(fragment.first_offset);
            *known = (*known).min(fragment.first_offset);
        }
    }

    /// What is known to be lost: what the damaged frame still says it held, and the gaps between what was read before
    /// (`ends`, each stream's) and what was read after.
    pub(crate) fn lost(&self, ends: &BTreeMap<u64, u64>, damaged: &[Fragment]) -> Vec<LostRange> {
        let mut lost: BTreeMap<u64, LostRange> = BTreeMap::new();
        for fragment in damaged {
            let Fragment { stream, first_offset, end_offset, .. } = *fragment;
            let range = LostRange { stream, first: Some(first_offset), end: Some(end_offset) };
            lost.entry(stream).and_modify(|known| known.end = range.end).or_insert(range);
        }
        for (&stream, &next) in &self.goes_on {
            match ends.get(&stream) {
                Some(&end) if end < next => {
                    lost.insert(stream, LostRange { stream, first: Some(end), end: Some(next) });
                }
                _ => {}
            }
        }
        lost.into_values().collect()
    }
}
