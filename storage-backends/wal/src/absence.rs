//! What a log says of a segment of which it has nothing.

use aquifer_disk::BLOCK;

use crate::frame::Header;
use crate::reader::Reader;
use crate::recovery::Walk;
use crate::ring::RingFile;
use crate::survey::WINDOW;
use crate::verdict::Spot;
use crate::{LossPoint, OpenError};

/// What it means that a log has nothing of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absence {
    /// Nothing of it was ever durable here, or all of it was trimmed.
    Certain,
    /// The same, as far as it knows: bytes are damaged that may have been the segment's, or the end of the log.
    Doubtful,
    /// Nothing: there was no log, or a part of it is lost.
    #[default]
    Unknown,
}

/// Frames behind a damaged beginning.
#[derive(Debug)]
struct Headless {
    segment: u64,
    /// The largest "oldest in flight" of them: everything below was durable.
    oldest_in_flight: u64,
    /// The LSN after all records that they touch.
    end: u64,
}

impl Walk {
    /// Looks for a segment that is newer than all that were found, because each file that it had begins with damage.
    pub(crate) async fn look_for_headless(&mut self, newest: u64) -> Result<(), OpenError> {
        for file in self.blank.clone() {
            // Its second frame would begin in the second block.
            let start = file.file.read(0, 2 * BLOCK).await?;
            if start.iter().all(|byte| *byte == 0) {
                continue;
            }
            self.absence = self.absence.max(Absence::Doubtful);
            let Some(found) = headless(&file, newest).await? else { continue };
            if found.end <= self.trimmed {
                continue;
            }
            self.absence = Absence::Unknown;
            if found.oldest_in_flight > 0 {
                self.lose(&file, &found)?;
            }
        }
        Ok(())
    }

    /// Its first frame was durable once.
    fn lose(&mut self, file: &RingFile, found: &Headless) -> Result<(), OpenError> {
        let at = LossPoint { segment: found.segment, sequence: 0 };
        if !self.accepted.covers(at) {
            let spot = Spot { path: file.file.path(), position: 0, at };
            let cause = "the segment's first frame is damaged, and later ones are there".to_owned();
            return Err(OpenError::Corrupt(Box::new(spot.corruption(cause, Vec::new()))));
        }
        tracing::warn!(path = %file.file.path().display(), %at, "giving up a segment of the WAL: wal.accept.loss asks for it, or nothing of it is needed (wal.mode=object)");
        self.give_up(file.clone(), found.end);
        Ok(())
    }
}

/// The frames of the newest segment beyond `newest` in a file that begins with damage.
async fn headless(file: &RingFile, newest: u64) -> Result<Option<Headless>, OpenError> {
    let mut reader = Reader::new(file, 0, WINDOW);
    let mut found: Option<Headless> = None;
    let mut position = 0;
    while reader.has(position, BLOCK) {
        if let Ok((header, _)) = Header::open(reader.block(position).await?)
            && header.segment > newest
        {
            let Header { segment, oldest_in_flight, .. } = header;
            let end = header.touched_end();
            match &mut found {
                Some(known) if known.segment > segment => {}
                Some(known) if known.segment == segment => {
                    known.oldest_in_flight = known.oldest_in_flight.max(oldest_in_flight);
                    known.end = known.end.max(end);
                }
                _ => found = Some(Headless { segment, oldest_in_flight, end }),
            }
        }
        position += BLOCK as u64;
    }
    Ok(found)
}
