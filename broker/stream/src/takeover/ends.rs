//! Where one segment ends, and what is in it.

use aquifer_image::{Image, Segment, SegmentEnd, SegmentState};
use aquifer_types::LogIndex;
use aquifer_wal::{CopyOf, Lsn, Member, Record, SealedTail, Undecided, choose};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::{Blocked, Copies, GivenUp, Loss, TakeOverError};

/// A segment's end and the records before it.
pub(super) struct Tail {
    pub(super) end: SegmentEnd,
    pub(super) records: Vec<(Lsn, Record)>,
    pub(super) given_up: Option<GivenUp>,
}

/// The answers of a segment's copies so far.
#[derive(Default)]
struct Answers {
    sealed: Vec<(Member, SealedTail)>,
    silent: Vec<(Member, String)>,
}

/// Seals all copies and takes the longest clean one.
pub(super) async fn find<C: Copies>(
    copies: &C,
    image: &Image,
    segment: &Segment,
    loss: Loss,
) -> Result<Tail, TakeOverError> {
    let mut answers = Answers::default();
    answers.ask_the_others(copies, segment, epoch(image, segment)).await;
    loop {
        let decided = decide(segment, &answers.sealed);
        let (chosen, given_up) = match decided {
            Ok(chosen) => (Some(chosen), None),
            Err(undecided) if loss == Loss::Refused => {
                return Err(Blocked::error(image, segment, undecided, answers.silent));
            }
            Err(undecided) => {
                (answers.sealed.iter().max_by_key(|(_, tail)| tail.end).copied(), Some(undecided))
            }
        };
        let records = match chosen {
            None => Vec::new(),
            Some((member, _)) => match copies.records(member, copy(segment, member)).await {
                Ok(records) => records,
                // It answered and cannot be read: it has no vote, and the others are asked what they have.
                Err(error) => {
                    answers.sealed.retain(|(other, _)| *other != member);
                    answers.silent.push((member, error.to_string()));
                    answers.ask_the_others(copies, segment, epoch(image, segment)).await;
                    continue;
                }
            },
        };
        let end = chosen.map_or(Lsn(0), |(_, tail)| tail.end);
        return Ok(tail(segment, end, records, given_up));
    }
}

fn tail(segment: &Segment, end: Lsn, mut records: Vec<(Lsn, Record)>, undecided: Option<Undecided>) -> Tail {
    let base = segment.continues.map_or(0, |(_, base)| base);
    let (sealed_at, end_lsn) = match segment.state {
        SegmentState::Closed { end_lsn } => {
            // What the owner wrote beyond it was never acknowledged, and is in the segment after it.
            records.retain(|(lsn, _)| lsn.0 < end_lsn);
            (None, end_lsn)
        }
        SegmentState::Sealing { at } => (Some(at), end.0.max(base)),
        SegmentState::Open => unreachable!("an open segment is its owner's, it is not taken over"),
    };
    let given_up = undecided.map(|undecided| GivenUp { segment: segment.id, end: Lsn(end_lsn), undecided });
    Tail { end: SegmentEnd { segment: segment.id, sealed_at, end_lsn }, records, given_up }
}

/// The copy that tells the end.
fn decide(segment: &Segment, sealed: &[(Member, SealedTail)]) -> Result<(Member, SealedTail), Undecided> {
    let (member, tail) = choose(segment.copies(), segment.needed_copies(), sealed)?;
    match segment.state {
        SegmentState::Closed { end_lsn } if tail.end.0 < end_lsn && !without_frames(tail) => {
            Err(Undecided::Short { end: tail.end, commit: Lsn(end_lsn) })
        }
        _ => Ok((member, tail)),
    }
}

/// The longest of enough copies has no frames: nothing was ever acknowledged in this segment.
fn without_frames(tail: SealedTail) -> bool {
    tail == SealedTail::default()
}

/// The number that the seals carry.
fn epoch(image: &Image, segment: &Segment) -> u64 {
    match segment.state {
        SegmentState::Sealing { at } => at.get(),
        // Its end stands; the seal only lets it be read. Recoverers of the same death use the same number.
        SegmentState::Open | SegmentState::Closed { .. } => image
            .broker(segment.owner)
            .map_or(0, |owner| owner.fenced.map_or(owner.epoch.get(), LogIndex::get)),
    }
}

impl Answers {
    /// Asks all copies at once that did not answer yet, and stops waiting when what they say decides it beyond doubt.
    async fn ask_the_others<C: Copies>(&mut self, copies: &C, segment: &Segment, epoch: u64) {
        let answered = |member: &Member| {
            let sealed = self.sealed.iter().map(|(other, _)| other);
            sealed.chain(self.silent.iter().map(|(other, _)| other)).any(|other| other == member)
        };
        let mut asked: FuturesUnordered<_> = members(segment)
            .filter(|member| !answered(member))
            .map(|member| async move { (member, copies.seal(member, copy(segment, member), epoch).await) })
            .collect();
        while let Some((member, answer)) = asked.next().await {
            match answer {
                Ok(tail) => self.sealed.push((member, tail)),
                Err(error) => self.silent.push((member, error.to_string())),
            }
            let doubtful = self.sealed.iter().any(|(_, tail)| tail.doubtful);
            if !doubtful && decide(segment, &self.sealed).is_ok() {
                break;
            }
        }
    }
}

/// The owner's own copy.
pub(super) fn own_copy(segment: &Segment) -> (Member, CopyOf) {
    let own = Member { node: segment.owner.get(), disk: segment.disk.get().as_u128() };
    (own, copy(segment, own))
}

/// All copies: the mirrors', and the owner's own.
fn members(segment: &Segment) -> impl Iterator<Item = Member> {
    let (own, _) = own_copy(segment);
    let mirrors = segment
        .members
        .iter()
        .map(|member| Member { node: member.node.get(), disk: member.disk.get().as_u128() });
    mirrors.chain([own])
}

fn copy(segment: &Segment, member: Member) -> CopyOf {
    CopyOf { segment: segment.id.get(), owner: segment.owner.get(), disk: member.disk }
}
