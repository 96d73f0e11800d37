use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::watch;

use super::Progress;
use super::entry::Frame;
use super::ledger::Needed;
use crate::{Lsn, SealedTail};

/// This mirror's copy of one segment: the frames that it keeps, without a gap.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) owner: u32,
    frames: VecDeque<Kept>,
    /// The number of the frame that comes next.
    pub(crate) next: u64,
    /// The checksum of the last frame's header.
    pub(crate) checksum: u32,
    /// Takes frames.
    pub(crate) open: bool,
    pub(crate) seal: Option<Seal>,
    /// Why it must abstain.
    pub(crate) damage: Option<String>,
    /// The log's last bytes were damaged when this mirror started: the copy may have been longer.
    doubtful: bool,
    commit: u64,
    whole_end: u64,
    trimmed: u64,
    /// Bytes of the frames kept, and of those let go.
    kept_bytes: u64,
    released_bytes: u64,
    pub(crate) progress: watch::Sender<Progress>,
}

/// A promise, and where in the store's log it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seal {
    pub(crate) epoch: u64,
    pub(crate) place: Lsn,
}

/// A frame that is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    sequence: u64,
    /// Where in the store's log it is.
    pub(crate) place: Lsn,
    touched_end: u64,
    pub(crate) frame: Bytes,
}

impl Copy {
    /// An empty copy.
    pub(crate) fn new(owner: u32, open: bool, doubtful: bool) -> Self {
        Self {
            owner,
            frames: VecDeque::new(),
            next: 0,
            checksum: 0,
            open,
            seal: None,
            damage: None,
            doubtful,
            commit: 0,
            whole_end: 0,
            trimmed: 0,
            kept_bytes: 0,
            released_bytes: 0,
            progress: watch::Sender::new(Progress::default()),
        }
    }

    /// Bytes of the frames kept.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Bytes of all frames that ever came.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.kept_bytes + self.released_bytes
    }

    /// Lets the owner send as many bytes as make the copy `window_bytes` long.
    pub(crate) fn grant(&self, window_bytes: u64) {
        let granted_bytes = self.released_bytes + window_bytes;
        self.progress.send_if_modified(|progress| {
            let more = granted_bytes > progress.granted_bytes;
            progress.granted_bytes = progress.granted_bytes.max(granted_bytes);
            more
        });
    }

    /// Takes the next frame in; `place` is where it lies in the store's log.
    pub(crate) fn push(&mut self, frame: &Frame, place: Lsn) {
        let Frame { bytes, header, checksum, whole_end } = frame;
        self.next = header.sequence + 1;
        self.checksum = *checksum;
        self.commit = self.commit.max(header.commit_lsn);
        self.whole_end = *whole_end;
        self.trimmed = self.trimmed.max(header.trim_lsn);
        self.kept_bytes += bytes.len() as u64;
        let (sequence, touched_end) = (header.sequence, header.touched_end());
        self.frames.push_back(Kept { sequence, place, touched_end, frame: bytes.clone() });
    }

    /// Lets frames go of which the owner said that they are trimmed; gives their places. The last one stays: without it a
    /// restarted mirror would not know that there was anything.
    pub(crate) fn trim(&mut self) -> Vec<Lsn> {
        let mut places = Vec::new();
        while self.frames.len() > 1 && self.frames[0].touched_end <= self.trimmed {
            let kept = self.frames.pop_front().expect("there is more than one");
            self.kept_bytes -= kept.frame.len() as u64;
            self.released_bytes += kept.frame.len() as u64;
            places.push(kept.place);
        }
        places
    }

    /// Everything in the store's log that the copy needs.
    pub(crate) fn places(&self) -> impl Iterator<Item = Lsn> {
        self.frames.iter().map(|kept| kept.place).chain(self.seal.map(|seal| seal.place))
    }

    /// The kept frames' numbers and places.
    pub(crate) fn frame_places(&self) -> impl Iterator<Item = (u64, Lsn)> {
        self.frames.iter().map(|kept| (kept.sequence, kept.place))
    }

    /// A kept frame by its number.
    pub(crate) fn frame(&self, sequence: u64) -> Option<Bytes> {
        self.frames.get(self.index(sequence)?).map(|kept| kept.frame.clone())
    }

    fn index(&self, sequence: u64) -> Option<usize> {
        usize::try_from(sequence.checked_sub(self.frames.front()?.sequence)?).ok()
    }

    /// Notes another place; false if it is needed no longer.
    pub(crate) fn relocate(&mut self, what: Needed, to: Lsn) -> bool {
        match what {
            Needed::Seal(_) => self.seal.as_mut().map(|seal| seal.place = to).is_some(),
            Needed::Frame(_, sequence) => {
                let Some(index) = self.index(sequence) else { return false };
                self.frames.get_mut(index).map(|kept| kept.place = to).is_some()
            }
        }
    }

    /// What the copy says when it is sealed.
    pub(crate) fn tail(&self) -> SealedTail {
        SealedTail { end: Lsn(self.whole_end), commit: Lsn(self.commit), doubtful: self.doubtful }
    }

    /// Kept frames from the `from`th on, at least one if there is any, until they are more than `max_bytes`.
    pub(crate) fn read(&self, from: usize, max_bytes: usize) -> Vec<Bytes> {
        let mut bytes = 0;
        let fits = |kept: &&Kept| {
            let first = bytes == 0;
            bytes += kept.frame.len();
            first || bytes <= max_bytes
        };
        self.frames.iter().skip(from).take_while(fits).map(|kept| kept.frame.clone()).collect()
    }
}

/// The frames of one segment that a restarted mirror found in its log, in any order, some of them twice.
#[derive(Debug, Default)]
pub(crate) struct Found {
    frames: std::collections::BTreeMap<u64, (Lsn, Frame)>,
    pub(crate) seal: Option<(u32, Seal)>,
}

impl Found {
    pub(crate) fn frame(&mut self, place: Lsn, frame: Frame) {
        self.frames.insert(frame.header.sequence, (place, frame));
    }

    /// The copy: the frames up to the last one without a gap. What lies before a gap must have been trimmed.
    pub(crate) fn copy(self, doubtful: bool) -> Copy {
        let owner = self.frames.values().next().map(|(_, frame)| frame.header.identity.owner);
        let owner = owner.or(self.seal.map(|(owner, _)| owner)).unwrap_or_default();
        let mut copy = Copy::new(owner, false, doubtful);
        copy.seal = self.seal.map(|(_, seal)| seal);
        let last = self.frames.keys().next_back().copied();
        let mut first = last.unwrap_or_default();
        while first > 0 && self.frames.contains_key(&(first - 1)) {
            first -= 1;
        }
        let trimmed = self.frames.values().map(|(_, frame)| frame.header.trim_lsn).max().unwrap_or(0);
        if let Some((_, frame)) = self.frames.get(&first)
            && first > 0
            && frame.header.end_before() > trimmed
        {
            copy.damage = Some(format!("frame {} and those before it are missing", first - 1));
        }
        for (place, frame) in self.frames.range(first..).map(|(_, found)| found) {
            if frame.header.sequence > first && frame.header.previous_checksum != copy.checksum {
                let reason = format!("frame {} does not follow the one before it", frame.header.sequence);
                copy.damage = Some(reason);
            }
            copy.push(frame, *place);
        }
        copy
    }
}
