//! What a frame that is not there means: the table of `recovery`.

use std::path::PathBuf;

use aquifer_disk::BLOCK;
use bytes::Bytes;

use crate::error::Corruption;
use crate::frame::{Fragment, HEADER, Header};
use crate::reader::Reader;
use crate::recovery::{Headed, Stop, Walk};
use crate::ring::RingFile;
use crate::survey::{Later, Survey, WINDOW};
use crate::{LossPoint, LostRange, OpenError, Verdict};

/// How the scan of a segment goes on.
#[derive(Debug)]
pub(crate) enum Decision {
    /// The segment ends here.
    End(Verdict),
    /// Everything that is damaged was trimmed: go on with this frame.
    Resume(Later),
}

/// A frame's place.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) path: PathBuf,
    pub(crate) position: u64,
    pub(crate) at: LossPoint,
}

impl Spot {
    pub(crate) fn corruption(self, cause: String, lost: Vec<LostRange>) -> Corruption {
        Corruption { path: self.path, position: self.position, at: self.at, cause, lost }
    }
}

impl Walk {
    /// Decides what it means that the frame at `stop` is not there as a whole.
    pub(crate) async fn decide(
        &mut self,
        files: &[Headed],
        later: &[Headed],
        stop: &Stop,
    ) -> Result<Decision, OpenError> {
        let at = LossPoint { segment: files[0].header.segment, sequence: stop.sequence };
        // Files of this segment that the scan did not come to.
        let reached = files.iter().filter(|headed| headed.header.sequence <= stop.sequence).count();
        let beyond = &files[reached..];
        let mut survey = Survey::new(at);
        let claimed = self.look_behind(&mut survey, at, stop, beyond).await?;
        self.trimmed = self.trimmed.max(survey.trimmed);
        let spot = match (&claimed, &stop.place) {
            (Some((file, position)), _) | (None, Some((file, position))) => {
                Spot { path: file.file.path(), position: *position, at }
            }
            // The file that it was in is gone or says nothing: name where the one before it ends.
            (None, None) => {
                let file = &files[reached.saturating_sub(1)].file;
                Spot { path: file.file.path(), position: file.length(), at }
            }
        };
        self.previous_end = Some(spot.clone());
        if survey.oldest_in_flight <= stop.sequence {
            self.discarded.extend(beyond.iter().map(|headed| headed.file.clone()));
            return Ok(Decision::End(match (survey.first, claimed) {
                (Some(_), _) => Verdict::Torn,
                (None, Some(_)) => Verdict::DamagedLast,
                (None, None) => Verdict::Clean,
            }));
        }

        // It was durable once. Find out all that can be told.
        if let Some((file, position)) = &stop.place {
            survey.file(file, *position, u64::MAX, true).await?;
        }
        let files = beyond.iter().chain(later).map(|headed| &headed.file);
        for file in files.chain(&self.blank) {
            survey.file(file, 0, u64::MAX, true).await?;
        }
        self.trimmed = self.trimmed.max(survey.trimmed);
        if let Some(next) = survey.first.take_if(|next| next.header.end_before() <= self.trimmed) {
            tracing::warn!(path = %spot.path.display(), position = spot.position, %at, stop.cause, "skipped damage in a part of the WAL that was offloaded already");
            return Ok(Decision::Resume(next));
        }
        if self.accepted.covers(at) {
            tracing::warn!(path = %spot.path.display(), position = spot.position, %at, "giving up the rest of the WAL: wal.accept.loss asks for it, or nothing of it is needed (wal.mode=object)");
            self.keep(beyond);
            self.given_up_end = Some(survey.end);
            return Ok(Decision::End(Verdict::LossAccepted));
        }
        let damaged = match &claimed {
            Some((file, position)) => damaged_fragments(file, *position).await?,
            None => Vec::new(),
        };
        let lost = survey.lost(&self.joiner.stream_ends, &damaged);
        Err(OpenError::Corrupt(Box::new(spot.corruption(stop.cause.clone(), lost))))
    }

    /// Looks for frames that were issued after the missing one; and where it is, if damaged bytes still say so.
    async fn look_behind(
        &self,
        survey: &mut Survey,
        at: LossPoint,
        stop: &Stop,
        beyond: &[Headed],
    ) -> Result<Option<(RingFile, u64)>, OpenError> {
        // Frames that were in flight with it may lie in the next files, behind their first frames too.
        for headed in beyond {
            survey.file(&headed.file, 0, WINDOW, false).await?;
        }
        if let Some((file, position)) = &stop.place {
            survey.file(file, *position, position + WINDOW, false).await?;
            return Ok(claims(file, *position, at).await?.then(|| (file.clone(), *position)));
        }
        let mut claimed = None;
        for file in &self.blank {
            survey.file(file, 0, WINDOW, false).await?;
            if claims(file, 0, at).await? {
                claimed = Some((file.clone(), 0));
            }
        }
        Ok(claimed)
    }
}

/// Whether the block says that it is this frame, though it is not whole.
async fn claims(file: &RingFile, position: u64, at: LossPoint) -> Result<bool, OpenError> {
    let mut reader = Reader::new(file, position, position + BLOCK as u64);
    Ok(reader.has(position, BLOCK) && Header::claims(reader.block(position).await?, at.segment, at.sequence))
}

/// What a damaged frame still says it held. Only for telling an operator.
async fn damaged_fragments(file: &RingFile, position: u64) -> Result<Vec<Fragment>, OpenError> {
    let mut reader = Reader::new(file, position, u64::MAX);
    let Ok((header, _)) = Header::open(reader.block(position).await?) else { return Ok(Vec::new()) };
    if !reader.has(position, header.frame_length()) {
        return Ok(Vec::new());
    }
    let frame = Bytes::from(reader.copy(position, header.frame_length()).await?);
    let mut fragments = Fragment::read_all(&frame.slice(HEADER..HEADER + header.body_length as usize));
    fragments.truncate(header.fragments as usize);
    Ok(fragments)
}
