//! What recovery of a mirrored segment decides: which copy tells its end, and what is in it. Pure.

use bytes::Bytes;

use crate::joiner::Joiner;
use crate::store::Frame;
use crate::{Lsn, Member, Record};

/// What a sealed copy says. Final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SealedTail {
    /// The LSN after the last whole record; 0 for a copy without frames.
    pub end: Lsn,
    /// The commit LSN that its frames tell: the segment's end is at least this.
    pub commit: Lsn,
    /// Its last bytes were damaged when its node started: it may have been longer. Another copy may know.
    pub doubtful: bool,
}

/// Why a segment's end cannot be told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// Too few members gave a trustworthy answer.
    #[error("{have} trustworthy copies answer, {need} must")]
    TooFew {
        /// Answers.
        have: usize,
        /// Answers needed: all copies, less those needed for an acknowledgement, and one.
        need: usize,
    },
    /// A copy tells that more was committed than any has.
    #[error("the copies that answer end at LSN {end}, but records up to LSN {commit} were committed")]
    Short {
        /// The longest answer.
        end: Lsn,
        /// What was committed.
        commit: Lsn,
    },
}

/// Chooses the copy that tells a segment's end: the longest of enough trustworthy ones, and of equals one without a doubt.
///
/// Of a segment with `copies` copies, of which `needed` hold whatever was acknowledged, any `copies - needed + 1` share
/// one with those.
pub fn choose(
    copies: usize,
    needed: usize,
    answers: &[(Member, SealedTail)],
) -> Result<(Member, SealedTail), Undecided> {
    let need = copies - needed + 1;
    let longest = answers
        .iter()
        .max_by_key(|(member, tail)| (tail.end, !tail.doubtful, std::cmp::Reverse(*member)))
        .copied();
    let Some((member, tail)) = longest.filter(|_| answers.len() >= need) else {
        return Err(Undecided::TooFew { have: answers.len(), need });
    };
    let commit = answers.iter().map(|(_, tail)| tail.commit).max().unwrap_or_default();
    if tail.end < commit {
        return Err(Undecided::Short { end: tail.end, commit });
    }
    Ok((member, tail))
}

/// The records of a sealed copy's frames, which must be all it keeps, in order.
///
/// # Errors
/// The frames are not a part of one writer's sequence: the copy is damaged.
pub fn records(segment: u64, frames: Vec<Bytes>) -> Result<Vec<(Lsn, Record)>, String> {
    let mut joiner = Joiner::new(0);
    let mut records = Vec::new();
    let mut before: Option<(u64, u32)> = None;
    for bytes in frames {
        let frame = Frame::check(bytes.clone())?;
        let header = &frame.header;
        if header.segment != segment {
            return Err(format!("a frame of segment {} is among those of {segment}", header.segment));
        }
        match before {
            None => joiner.begin_within(header.lsn, header.continues),
            Some((sequence, checksum)) => {
                if (header.sequence, header.previous_checksum) != (sequence + 1, checksum) {
                    return Err(format!("frame {} does not follow frame {sequence}", header.sequence));
                }
            }
        }
        let fragments = header.check_body(bytes).map_err(|fault| fault.to_string())?;
        joiner.join(header, fragments, &mut records).map_err(str::to_owned)?;
        before = Some((header.sequence, frame.checksum));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(node: u32, end: u64, commit: u64) -> (Member, SealedTail) {
        (Member { node, disk: 0 }, SealedTail { end: Lsn(end), commit: Lsn(commit), doubtful: false })
    }

    #[test]
    fn the_longest_of_enough_copies_tells_the_end() {
        let answers = [answer(1, 5, 3), answer(2, 7, 4)];
        assert_eq!(choose(3, 3, &answers[..1]).map(|(_, tail)| tail.end), Ok(Lsn(5)));
        assert_eq!(choose(3, 2, &answers).map(|(_, tail)| tail.end), Ok(Lsn(7)));
        assert_eq!(choose(3, 2, &answers[..1]), Err(Undecided::TooFew { have: 1, need: 2 }));
        assert_eq!(choose(2, 2, &[]), Err(Undecided::TooFew { have: 0, need: 1 }));
    }

    #[test]
    fn a_copy_that_knows_of_a_later_commit_is_listened_to() {
        let answers = [answer(1, 5, 3), answer(2, 4, 6)];
        assert_eq!(choose(3, 2, &answers), Err(Undecided::Short { end: Lsn(5), commit: Lsn(6) }));
    }
}
