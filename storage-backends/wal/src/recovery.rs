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

use aquifer_disk::BLOCK;
use bytes::Bytes;

use crate::absence::Absence;
use crate::error::Corruption;
use crate::frame::{Fault, Fragment, Header};
use crate::joiner::Joiner;
use crate::reader::Reader;
use crate::ring::{LiveFile, RingFile};
use crate::survey::Later;
use crate::verdict::{Decision, Spot};
use crate::{Identity, LossPoint, Lsn, OpenError, Record, RecoveredSegment, Verdict, WalConfig, identity};

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
    /// What is to be made of segments that are not there.
    pub(crate) absence: Absence,
}

/// A file and the header it begins with.
#[derive(Debug)]
pub(crate) struct Headed {
    pub(crate) file: RingFile,
    pub(crate) header: Header,
}

/// Damage behind which everything is given up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Accepted {
    Nothing,
    /// As an operator asks.
    At(LossPoint),
    /// Nothing in the log is needed.
    Everything,
}

impl Accepted {
    pub(crate) fn of(config: &WalConfig) -> Self {
        match config.accept_loss {
            _ if config.disposable => Self::Everything,
            Some(at) => Self::At(at),
            None => Self::Nothing,
        }
    }

    pub(crate) fn covers(self, damaged: LossPoint) -> bool {
        match self {
            Self::Nothing => false,
            Self::At(at) => at == damaged,
            Self::Everything => true,
        }
    }
}

/// Scans all files.
pub(crate) async fn scan(
    files: Vec<RingFile>,
    ours: &Identity,
    accepted: Accepted,
) -> Result<Scan, OpenError> {
    let (mut headed, mut blank) = (Vec::new(), Vec::new());
    let blocks = futures::future::try_join_all(files.iter().map(|file| file.file.read(0, BLOCK))).await?;
    for (file, block) in files.into_iter().zip(blocks) {
        match Header::open(&block) {
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
    let stale = headed.windows(2).take_while(|pair| pair[1].header.end_before() <= trimmed).count();
    let chain = headed.split_off(stale);

    let mut walk = Walk {
        accepted,
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
        absence: Absence::Certain,
    };
    if let Some(first) = chain.first() {
        walk.spans.extend(headed.into_iter().map(|stale| (stale.file, first.header.end_before())));
    }
    let mut rest: &[Headed] = &chain;
    while let Some(first) = rest.first() {
        let count = rest.iter().take_while(|headed| headed.header.segment == first.header.segment).count();
        let (files, later) = rest.split_at(count);
        walk.segment(files, later).await?;
        rest = later;
    }
    walk.look_for_headless(newest.unwrap_or(0)).await?;
    walk.finish(newest)
}

pub(crate) struct Walk {
    pub(crate) accepted: Accepted,
    /// Files that begin with no whole header.
    pub(crate) blank: Vec<RingFile>,
    /// The largest trim told by any frame.
    pub(crate) trimmed: u64,
    /// The largest trim told by a frame within a segment's end. Only this frees files: what is freed is overwritten, and a
    /// frame beyond the end may be overwritten itself.
    durable_trim: u64,
    segments: Vec<RecoveredSegment>,
    /// Files with frames that count, with the LSN after the last record in them.
    spans: Vec<(RingFile, u64)>,
    /// Files whose frames lie beyond their segment's end.
    pub(crate) discarded: Vec<RingFile>,
    pub(crate) joiner: Joiner,
    checksum: u32,
    /// Where the segment before was found to end.
    pub(crate) previous_end: Option<Spot>,
    /// What is missing, as far as nobody knows yet whether it was trimmed.
    doubts: Vec<Doubt>,
    /// The loss was accepted; the LSN after everything that is given up.
    pub(crate) given_up_end: Option<u64>,
    pub(crate) absence: Absence,
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

/// Where the scan of a segment goes on.
#[derive(Debug)]
struct Run {
    file: RingFile,
    position: u64,
    sequence: u64,
}

/// Why the scan of a segment stopped.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) sequence: u64,
    /// The file and the position in it; `None`: at the beginning of a file that is not there.
    pub(crate) place: Option<(RingFile, u64)>,
    pub(crate) cause: String,
}

impl Walk {
    /// Scans the files of one segment, which begin with whole headers.
    async fn segment(&mut self, files: &[Headed], later: &[Headed]) -> Result<(), OpenError> {
        if self.given_up_end.is_some() {
            self.keep(files);
            return Ok(());
        }
        let first = &files[0].header;
        let mut records = Vec::new();
        let headless = first.sequence > 0 && self.previous_end.is_none();
        let mut runs = runs(files, 0);
        if first.sequence == 0 {
            self.begin(&files[0]);
        } else if headless {
            self.joiner.begin_within(first.lsn, first.continues);
        } else {
            // Its first frame lay in a file that is not there.
            runs.clear();
        }
        let mut oldest_in_flight = 0;
        let verdict = loop {
            let stop = self.frames(first.segment, &runs, &mut records, &mut oldest_in_flight).await?;
            // A record whose end is missing was not acknowledged, and its LSN is given out again.
            self.joiner.drop_unfinished();
            match self.decide(files, later, &stop).await? {
                Decision::End(verdict) => break verdict,
                Decision::Resume(Later { file, position, header }) => {
                    self.joiner.begin_within(header.lsn, header.continues);
                    runs = self::runs(files, header.sequence + 1);
                    runs.insert(0, Run { file, position, sequence: header.sequence });
                }
            }
        };
        if headless {
            self.check_head(&files[0], oldest_in_flight);
        }
        self.segments.push(RecoveredSegment { id: first.segment, records, verdict });
        Ok(())
    }

    /// Keeps files that are given up until what comes after them is trimmed, so that they are not mistaken for something else.
    pub(crate) fn keep(&mut self, files: &[Headed]) {
        self.spans.extend(files.iter().map(|headed| (headed.file.clone(), u64::MAX)));
    }

    /// The loss of everything up to an LSN was accepted, of which a file may hold frames.
    pub(crate) fn give_up(&mut self, file: RingFile, end: u64) {
        self.spans.push((file, u64::MAX));
        self.given_up_end = self.given_up_end.max(Some(end));
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
        // Nor is anything missing there: its files may have been written again since.
        for doubt in &mut self.doubts {
            doubt.needed = doubt.needed.min(base);
        }
        self.joiner.begin_within(base, false);
    }

    /// The first file of all begins within a segment: what was before must be trimmed, or never have been durable.
    fn check_head(&mut self, first: &Headed, oldest_in_flight: u64) {
        let otherwise = if oldest_in_flight == 0 {
            Otherwise::TornStart(self.segments.len())
        } else {
            let at = LossPoint { segment: first.header.segment, sequence: first.header.sequence - 1 };
            let spot = Spot { path: first.file.file.path(), position: 0, at };
            let cause = "the frame, which lay in the file before this one, is missing".to_owned();
            Otherwise::Corrupt(spot.corruption(cause, Vec::new()))
        };
        self.doubts.push(Doubt { needed: first.header.end_before(), otherwise });
    }

    /// Takes in whole frames in order, up to the first that is not there.
    async fn frames(
        &mut self,
        segment: u64,
        runs: &[Run],
        records: &mut Vec<(Lsn, Record)>,
        oldest_in_flight: &mut u64,
    ) -> Result<Stop, OpenError> {
        let mut sequence = runs.first().map_or(0, |run| run.sequence);
        let mut before = None;
        for run in runs {
            if run.sequence != sequence {
                break;
            }
            let mut reader = Reader::new(&run.file, run.position, run.file.length());
            let (mut position, mut end) = (run.position, None);
            let cause = loop {
                if !reader.has(position, BLOCK) {
                    break None;
                }
                let (header, checksum, fragments) =
                    match whole_frame(&mut reader, position, (segment, sequence), before).await? {
                        Ok(frame) => frame,
                        Err(cause) => break Some(cause),
                    };
                if let Err(cause) = self.joiner.join(&header, fragments, records) {
                    break Some(cause.to_owned());
                }
                *oldest_in_flight = header.oldest_in_flight.max(*oldest_in_flight);
                self.durable_trim = self.durable_trim.max(header.trim_lsn);
                self.checksum = checksum;
                before = Some(checksum);
                end = Some(header.touched_end());
                position += header.frame_length() as u64;
                sequence += 1;
            };
            self.trimmed = self.trimmed.max(self.durable_trim);
            self.span(&run.file, end);
            if let Some(cause) = cause {
                return Ok(Stop { sequence, place: Some((run.file.clone(), position)), cause });
            }
        }
        Ok(Stop { sequence, place: None, cause: "the frame is missing".to_owned() })
    }

    /// Notes the LSN after the last record in a file, if there is any.
    fn span(&mut self, file: &RingFile, end: Option<u64>) {
        let known = self.spans.last_mut().filter(|(known, _)| known.name == file.name);
        match (known, end) {
            // The scan went on behind damage in it.
            (Some((_, known)), Some(end)) => *known = end,
            (Some(_), None) => {}
            (None, Some(end)) => self.spans.push((file.clone(), end)),
            (None, None) => self.discarded.push(file.clone()),
        }
    }

    fn finish(self, newest: Option<u64>) -> Result<Scan, OpenError> {
        let (mut segments, mut absence) = (self.segments, self.absence);
        for doubt in self.doubts.into_iter().filter(|doubt| self.trimmed < doubt.needed) {
            match doubt.otherwise {
                Otherwise::TornStart(segment) => segments[segment].records.clear(),
                Otherwise::Corrupt(corruption) if self.accepted.covers(corruption.at) => {
                    absence = Absence::Unknown;
                }
                Otherwise::Corrupt(corruption) => return Err(OpenError::Corrupt(Box::new(corruption))),
            }
        }
        for segment in &segments {
            absence = absence.max(match segment.verdict {
                Verdict::Clean => Absence::Certain,
                Verdict::Torn | Verdict::DamagedLast => Absence::Doubtful,
                Verdict::LossAccepted => Absence::Unknown,
            });
        }
        let next_lsn = self.joiner.next_lsn().max(self.trimmed).max(self.given_up_end.unwrap_or(0));
        for segment in &mut segments {
            segment.records.retain(|(lsn, _)| lsn.0 >= self.trimmed);
        }
        let (mut live, mut free) = (Vec::new(), VecDeque::new());
        let mut others = self.discarded;
        others.extend(self.blank);
        // The scan may have found the way into a file that begins with damage after all.
        others.retain(|other| self.spans.iter().all(|(file, _)| file.name != other.name));
        for (file, end) in self.spans {
            if end <= self.durable_trim {
                free.push_back(file);
            } else {
                live.push(LiveFile { file, end: end.min(next_lsn) });
            }
        }
        free.extend(others);
        Ok(Scan {
            segments,
            live,
            free,
            next_lsn,
            trimmed: self.trimmed,
            checksum: self.checksum,
            newest,
            absence,
        })
    }
}

/// The files of a segment, from the frame with this number on.
fn runs(files: &[Headed], from: u64) -> Vec<Run> {
    let run =
        |headed: &Headed| Run { file: headed.file.clone(), position: 0, sequence: headed.header.sequence };
    files.iter().filter(|headed| headed.header.sequence >= from).map(run).collect()
}

/// Reads the frame of this segment and number; or says why it is not there.
async fn whole_frame(
    reader: &mut Reader<'_>,
    position: u64,
    wanted: (u64, u64),
    before: Option<u32>,
) -> Result<Result<(Header, u32, Vec<Fragment>), String>, OpenError> {
    let (header, checksum) = match Header::open(reader.block(position).await?) {
        Ok(opened) => opened,
        Err(fault) => return Ok(Err(fault.to_string())),
    };
    if (header.segment, header.sequence) != wanted {
        return Ok(Err(Fault::NotAFrame.to_string()));
    }
    if !reader.has(position, header.frame_length()) {
        return Ok(Err(Fault::Length.to_string()));
    }
    if before.is_some_and(|before| before != header.previous_checksum) {
        return Ok(Err("it does not follow the frame before it".to_owned()));
    }
    let frame = Bytes::from(reader.copy(position, header.frame_length()).await?);
    Ok(match header.check_body(frame) {
        Ok(fragments) => Ok((header, checksum, fragments)),
        Err(fault) => Err(fault.to_string()),
    })
}
