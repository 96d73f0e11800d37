//! Reads what an earlier process left, and decides where each segment ends.
//!
//! A segment's frames are numbered. The scan goes up to the first number x that is not there as a whole. Let m be the
//! largest "oldest in flight" that a later frame tells: everything below m was durable when that frame was issued.
//!
//! | found | means |
//! |---|---|
//! | an I/O error | the device is faulty; this is never the end of the log |
//! | x < m | x was durable once: corruption |
//! | later frames, x >= m | a torn tail: nothing from x on was acknowledged |
//! | nothing later, zeros or an older generation | a clean end |
//! | nothing later, damaged bytes of frame x | torn, as far as this copy knows |
//!
//! A segment's end is decided once: the next segment begins at the LSN where this one was found to end.

use std::collections::VecDeque;
use std::path::PathBuf;

use aquifer_disk::BLOCK;
use bytes::Bytes;

use crate::error::Corruption;
use crate::frame::{Fault, Fragment, HEADER, Header};
use crate::joiner::Joiner;
use crate::reader::Reader;
use crate::ring::{LiveFile, RingFile};
use crate::survey::{Survey, WINDOW};
use crate::{Identity, LossPoint, Lsn, OpenError, Record, RecoveredSegment, Verdict, identity};

/// What the files hold.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) segments: Vec<RecoveredSegment>,
    /// Files that may hold records that were not trimmed, in LSN order.
    pub(crate) live: Vec<LiveFile>,
    /// The others, the longest trimmed first.
    pub(crate) free: VecDeque<RingFile>,
    /// The LSN of the next record.
    pub(crate) next_lsn: u64,
    /// Everything below was trimmed.
    pub(crate) trimmed: u64,
    /// The checksum of the last frame's header.
    pub(crate) checksum: u32,
    /// The newest segment's id.
    pub(crate) newest: Option<u64>,
}

/// A file and the header it begins with.
#[derive(Debug)]
struct Headed {
    file: RingFile,
    header: Header,
}

impl Headed {
    /// The LSN after the last record with bytes in the file before this one.
    fn end_before(&self) -> u64 {
        self.header.lsn + u64::from(self.header.continues)
    }
}

/// Scans all files. `accept_loss` is where the operator gives up what follows.
pub(crate) async fn scan(
    files: Vec<RingFile>,
    ours: &Identity,
    accept_loss: Option<LossPoint>,
) -> Result<Scan, OpenError> {
    let (mut headed, mut blank) = (Vec::new(), Vec::new());
    for file in files {
        let header = Header::open(Reader::new(&file, 0, BLOCK as u64).block(0).await?);
        match header {
            Ok((header, _)) => {
                identity::compare(&file.file.path(), &header.identity, ours)?;
                headed.push(Headed { file, header });
            }
            Err(_) => blank.push(file),
        }
    }
    headed.sort_by_key(|headed| (headed.header.segment, headed.header.sequence));
    let newest = headed.last().map(|headed| headed.header.segment);
    let trimmed = headed.iter().map(|headed| headed.header.trim_lsn).max().unwrap_or(0);
    let stale = headed.windows(2).take_while(|pair| pair[1].end_before() <= trimmed).count();
    let chain = headed.split_off(stale);

    let mut walk = Walk {
        accept_loss,
        blank,
        trimmed,
        durable_trim: 0,
        segments: Vec::new(),
        spans: Vec::new(),
        discarded: Vec::new(),
        joiner: Joiner::new(chain.first().map_or(0, |first| first.header.lsn)),
        checksum: 0,
        previous_end: None,
        doubts: Vec::new(),
        given_up_end: None,
    };
    if let Some(first) = chain.first() {
        walk.spans.extend(headed.into_iter().map(|stale| (stale.file, first.end_before())));
    }
    let mut rest: &[Headed] = &chain;
    while let Some(first) = rest.first() {
        let count = rest.iter().take_while(|headed| headed.header.segment == first.header.segment).count();
        let (files, later) = rest.split_at(count);
        walk.segment(files, later).await?;
        rest = later;
    }
    walk.finish(newest)
}

struct Walk {
    accept_loss: Option<LossPoint>,
    blank: Vec<RingFile>,
    /// The largest trim told by any frame.
    trimmed: u64,
    /// The largest trim told by a frame within a segment's end. Only this frees files: what is freed is overwritten, and a
    /// frame beyond the end may be overwritten itself.
    durable_trim: u64,
    segments: Vec<RecoveredSegment>,
    /// Files with frames that count, with the LSN after the last record in them.
    spans: Vec<(RingFile, u64)>,
    /// Files whose frames lie beyond their segment's end.
    discarded: Vec<RingFile>,
    joiner: Joiner,
    checksum: u32,
    /// Where the segment before was found to end.
    previous_end: Option<Spot>,
    doubts: Vec<Doubt>,
    /// The loss was accepted; the LSN after everything that is given up.
    given_up_end: Option<u64>,
}

/// Something that is missing, which is fine if everything below an LSN turns out to be trimmed.
struct Doubt {
    needed: u64,
    otherwise: Otherwise,
}

enum Otherwise {
    Corrupt(Corruption),
    /// The segment with this index began with a torn frame: nothing of it was acknowledged.
    TornStart(usize),
}

/// A frame's place.
#[derive(Clone, Debug)]
struct Spot {
    path: PathBuf,
    position: u64,
    at: LossPoint,
}

/// Why the scan of a segment stopped.
struct Stop {
    sequence: u64,
    /// Index of the file and position in it; `None`: at the beginning of a file that is not there.
    place: Option<(usize, u64)>,
    cause: String,
}

impl Walk {
    /// Scans the files of one segment, which begin with whole headers.
    async fn segment(&mut self, files: &[Headed], later: &[Headed]) -> Result<(), OpenError> {
        if self.given_up_end.is_some() {
            self.spans.extend(files.iter().map(|headed| (headed.file.clone(), u64::MAX)));
            return Ok(());
        }
        let first = &files[0].header;
        let id = first.segment;
        let mut records = Vec::new();
        let headless = first.sequence > 0 && self.previous_end.is_none();
        if first.sequence == 0 {
            self.begin(&files[0]);
        } else if headless {
            self.joiner.begin_within(first.lsn, first.continues);
        }
        let mut told = Told::default();
        let stop = if first.sequence > 0 && !headless {
            Stop { sequence: 0, place: None, cause: "the frame is missing".to_owned() }
        } else {
            self.frames(files, &mut records, &mut told).await?
        };
        if headless {
            self.check_head(&files[0], &told);
        }
        let verdict = self.verdict(files, later, &stop).await?;
        // A record whose end is missing was not acknowledged, and its LSN is given out again.
        self.joiner.drop_unfinished();
        self.segments.push(RecoveredSegment { id, records, verdict });
        Ok(())
    }

    /// A segment's first frame says where the one before ends.
    fn begin(&mut self, first: &Headed) {
        let base = first.header.lsn;
        let end = self.joiner.next_lsn();
        let missing = match &self.previous_end {
            Some(previous) if end < base => Some(previous.clone()),
            None if base > 0 => {
                let at = LossPoint { segment: first.header.segment, sequence: 0 };
                Some(Spot { path: first.file.file.path(), position: 0, at })
            }
            _ => None,
        };
        if let Some(spot) = missing {
            let cause =
                format!("the log goes on with LSN {base}, but what is left before ends with LSN {end}");
            let cause = if self.previous_end.is_none() {
                "the files before it are missing".to_owned()
            } else {
                cause
            };
            let otherwise = Otherwise::Corrupt(spot.corruption(cause, Vec::new()));
            self.doubts.push(Doubt { needed: base, otherwise });
        }
        // What an earlier start found torn stays torn, whatever landed since.
        for segment in &mut self.segments {
            segment.records.retain(|(lsn, _)| lsn.0 < base);
        }
        self.joiner.begin_within(base, false);
    }

    /// The first file of all begins within a segment: what was before must be trimmed, or never have been durable.
    fn check_head(&mut self, first: &Headed, told: &Told) {
        let otherwise = if told.oldest_in_flight == 0 {
            Otherwise::TornStart(self.segments.len())
        } else {
            let at = LossPoint { segment: first.header.segment, sequence: first.header.sequence - 1 };
            let spot = Spot { path: first.file.file.path(), position: 0, at };
            let cause = "the frame, which lay in the file before this one, is missing".to_owned();
            Otherwise::Corrupt(spot.corruption(cause, Vec::new()))
        };
        self.doubts.push(Doubt { needed: first.end_before(), otherwise });
    }

    /// Takes in whole frames in order, up to the first that is not there.
    async fn frames(
        &mut self,
        files: &[Headed],
        records: &mut Vec<(Lsn, Record)>,
        told: &mut Told,
    ) -> Result<Stop, OpenError> {
        let mut sequence = files[0].header.sequence;
        let segment = files[0].header.segment;
        let mut before = None;
        for (index, headed) in files.iter().enumerate() {
            if headed.header.sequence != sequence {
                break;
            }
            let mut reader = Reader::new(&headed.file, 0, headed.file.length());
            let (mut position, mut end) = (0, None);
            let cause = loop {
                if !reader.has(position, BLOCK) {
                    break None;
                }
                let (header, checksum) = match Header::open(reader.block(position).await?) {
                    Ok(opened) => opened,
                    Err(fault) => break Some(fault.to_string()),
                };
                if (header.segment, header.sequence) != (segment, sequence) {
                    break Some(Fault::NotAFrame.to_string());
                }
                if !reader.has(position, header.frame_length()) {
                    break Some(Fault::Length.to_string());
                }
                if before.is_some_and(|before| before != header.previous_checksum) {
                    break Some("it does not follow the frame before it".to_owned());
                }
                let frame = Bytes::from(reader.copy(position, header.frame_length()).await?);
                let fragments = match header.check_body(frame) {
                    Ok(fragments) => fragments,
                    Err(fault) => break Some(fault.to_string()),
                };
                if let Err(cause) = self.joiner.join(&header, fragments, records) {
                    break Some(cause.to_owned());
                }
                told.oldest_in_flight = told.oldest_in_flight.max(header.oldest_in_flight);
                self.durable_trim = self.durable_trim.max(header.trim_lsn);
                self.checksum = checksum;
                before = Some(checksum);
                end = Some(header.touched_end());
                position += header.frame_length() as u64;
                sequence += 1;
            };
            self.trimmed = self.trimmed.max(self.durable_trim);
            match end {
                Some(end) => self.spans.push((headed.file.clone(), end)),
                None => self.discarded.push(headed.file.clone()),
            }
            if let Some(cause) = cause {
                return Ok(Stop { sequence, place: Some((index, position)), cause });
            }
        }
        Ok(Stop { sequence, place: None, cause: "the frame is missing".to_owned() })
    }

    /// Decides what the missing frame means.
    async fn verdict(
        &mut self,
        files: &[Headed],
        later: &[Headed],
        stop: &Stop,
    ) -> Result<Verdict, OpenError> {
        let at = LossPoint { segment: files[0].header.segment, sequence: stop.sequence };
        let mut survey = Survey::new(at);
        for headed in files {
            survey.header(&headed.header);
        }
        let mut claimed = None;
        match stop.place {
            Some((index, position)) => {
                let file = &files[index].file;
                survey.file(file, position, position + WINDOW, false).await?;
                if claims(file, position, at).await? {
                    claimed = Some((file.clone(), position));
                }
            }
            None => {
                for file in &self.blank {
                    survey.file(file, 0, WINDOW, false).await?;
                    if claims(file, 0, at).await? {
                        claimed = Some((file.clone(), 0));
                    }
                }
            }
        }
        self.trimmed = self.trimmed.max(survey.trimmed);
        let spot = match (&claimed, stop.place) {
            (Some((file, position)), _) => Spot { path: file.file.path(), position: *position, at },
            (None, Some((index, position))) => Spot { path: files[index].file.file.path(), position, at },
            // The file that it was in is gone or says nothing: name where the one before it ends.
            (None, None) => {
                let file = files.iter().rev().find(|headed| headed.header.sequence <= stop.sequence);
                let file = &file.unwrap_or(&files[0]).file;
                Spot { path: file.file.path(), position: file.length(), at }
            }
        };
        self.previous_end = Some(spot.clone());
        // Files of this segment that the scan did not come to.
        let reached = files.iter().filter(|headed| headed.header.sequence <= stop.sequence).count();
        let beyond = &files[reached..];
        if survey.oldest_in_flight <= stop.sequence {
            self.discarded.extend(beyond.iter().map(|headed| headed.file.clone()));
            return Ok(match (survey.any, claimed) {
                (true, _) => Verdict::Torn,
                (false, Some(_)) => Verdict::DamagedLast,
                (false, None) => Verdict::Clean,
            });
        }

        // Corruption: find out all that can be told.
        if let Some((index, position)) = stop.place {
            survey.file(&files[index].file, position, u64::MAX, true).await?;
        }
        for headed in beyond.iter().chain(later) {
            survey.file(&headed.file, 0, u64::MAX, true).await?;
        }
        for file in &self.blank {
            survey.file(file, 0, u64::MAX, true).await?;
        }
        if self.accept_loss == Some(at) {
            tracing::warn!(path = %spot.path.display(), position = spot.position, %at, "giving up the rest of the WAL, as wal.accept.loss asks");
            self.spans.extend(beyond.iter().map(|headed| (headed.file.clone(), u64::MAX)));
            self.given_up_end = Some(survey.end);
            return Ok(Verdict::LossAccepted);
        }
        let damaged = match &claimed {
            Some((file, position)) => damaged_fragments(file, *position).await?,
            None => Vec::new(),
        };
        let lost = survey.lost(&self.joiner.stream_ends, &damaged);
        Err(OpenError::Corrupt(Box::new(spot.corruption(stop.cause.clone(), lost))))
    }

    fn finish(self, newest: Option<u64>) -> Result<Scan, OpenError> {
        let mut segments = self.segments;
        for doubt in self.doubts.into_iter().filter(|doubt| self.trimmed < doubt.needed) {
            match doubt.otherwise {
                Otherwise::TornStart(segment) => segments[segment].records.clear(),
                Otherwise::Corrupt(corruption) if self.accept_loss == Some(corruption.at) => {}
                Otherwise::Corrupt(corruption) => return Err(OpenError::Corrupt(Box::new(corruption))),
            }
        }
        let next_lsn = self.joiner.next_lsn().max(self.trimmed).max(self.given_up_end.unwrap_or(0));
        for segment in &mut segments {
            segment.records.retain(|(lsn, _)| lsn.0 >= self.trimmed);
        }
        let (mut live, mut free) = (Vec::new(), VecDeque::new());
        for (file, end) in self.spans {
            if end <= self.durable_trim {
                free.push_back(file);
            } else {
                live.push(LiveFile { file, end: end.min(next_lsn) });
            }
        }
        free.extend(self.discarded);
        free.extend(self.blank);
        Ok(Scan { segments, live, free, next_lsn, trimmed: self.trimmed, checksum: self.checksum, newest })
    }
}

/// What the frames of a segment tell together.
#[derive(Default)]
struct Told {
    oldest_in_flight: u64,
}

impl Spot {
    fn corruption(self, cause: String, lost: Vec<crate::LostRange>) -> Corruption {
        Corruption { path: self.path, position: self.position, at: self.at, cause, lost }
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
