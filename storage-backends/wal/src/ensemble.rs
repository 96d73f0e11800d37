use std::sync::Arc;
use std::time::Duration;

use aquifer_disk::BLOCK;
use bytes::Bytes;
use tokio::time::Instant;

use crate::Member;
use crate::mirror::{Board, Mirror, MirrorAcks};

/// A member that owes something for so long is slow: if there are others, the segment is rolled without it.
pub(crate) const PATIENCE: Duration = Duration::from_millis(300);
/// What may be queued before any member has granted something: it must fit the smallest window.
const UNGRANTED_BYTES: u64 = 4 << 20;
/// Room that records leave: with it a member that is full can still be told what was trimmed.
const TELLING_BYTES: u64 = 4 * BLOCK as u64;

/// The copies of one segment: our own disk, and the members that mirror it. Fixed while the segment lives.
#[derive(Debug)]
pub struct Ensemble {
    /// Mirrors that must hold a frame durably, beside our own disk, before it is committed.
    needed: usize,
    paths: Vec<Path>,
    board: Arc<Board>,
    /// Frames issued so far.
    issued: u64,
}

/// The way to a member, and what it owes.
#[derive(Debug)]
struct Path {
    member: Member,
    link: Box<dyn Mirror>,
    sent_bytes: u64,
    frames: u64,
    granted_bytes: u64,
    /// The first grant: how much the member takes before something is trimmed.
    window_bytes: u64,
    /// Why it gets no more frames: its link ended.
    lost: Option<String>,
    /// It owes something for too long. It still gets frames: perhaps nobody is there to replace it.
    slow: bool,
    /// Since when it owes an acknowledgement, without any progress.
    owing_since: Option<Instant>,
}

impl Path {
    fn room(&self) -> u64 {
        self.granted_bytes.saturating_sub(self.sent_bytes)
    }

    fn record_room(&self) -> u64 {
        self.room().saturating_sub(TELLING_BYTES)
    }

    /// Whether it holds less than it was sent. Room it never owes: it grants what trims free as it takes the frame that
    /// tells them, so that a member without room waits for its owner.
    fn owes(&self, issued: u64) -> bool {
        self.frames < issued
    }
}

/// How a segment's mirrors are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorHealth {
    /// The segment.
    pub segment: u64,
    /// Members that get no more frames of it, and why.
    pub lost: Vec<(Member, String)>,
    /// Members that have owed an acknowledgement for 300 ms or longer.
    pub slow: Vec<Member>,
}

impl MirrorHealth {
    /// Whether nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.lost.is_empty() && self.slow.is_empty()
    }
}

impl Ensemble {
    /// Our own disk alone.
    pub fn alone() -> Self {
        Self::new(1, &[], |_, _| unreachable!("there is no member to connect to"))
    }

    /// Our own disk and `members`, of which `copies` together (ours is one) must hold a frame before it is committed.
    ///
    /// `connect` makes the way to a member; it must not wait.
    ///
    /// # Panics
    /// If `copies` is not within 1 and all there are.
    pub fn new(
        copies: usize,
        members: &[Member],
        mut connect: impl FnMut(Member, MirrorAcks) -> Box<dyn Mirror>,
    ) -> Self {
        assert!((1..=members.len() + 1).contains(&copies), "{copies} of {} copies", members.len() + 1);
        let board = Board::for_members(members.len());
        let path = |(place, &member): (usize, &Member)| Path {
            member,
            link: connect(member, board.acks(place)),
            sent_bytes: 0,
            frames: 0,
            granted_bytes: 0,
            window_bytes: 0,
            lost: None,
            slow: false,
            owing_since: None,
        };
        let paths = members.iter().enumerate().map(path).collect();
        Self { needed: copies - 1, paths, board, issued: 0 }
    }

    /// How many copies there are, ours included.
    pub fn copies(&self) -> usize {
        self.paths.len() + 1
    }

    /// Hands the next frame to every member that still gets them.
    pub(crate) fn send(&mut self, frame: impl FnOnce() -> Bytes, now: Instant) {
        self.issued += 1;
        if self.paths.is_empty() {
            return;
        }
        let frame = frame();
        for path in self.paths.iter_mut().filter(|path| path.lost.is_none()) {
            if path.slow && frame.len() as u64 > path.room() {
                path.lost = Some(format!("no acknowledgement within {PATIENCE:?}, and no room for more"));
                continue;
            }
            path.link.send(frame.clone());
            path.sent_bytes += frame.len() as u64;
            path.owing_since.get_or_insert(now);
        }
    }

    /// Frames below this are durable on as many members as it takes. Our own disk must have them too.
    pub(crate) fn durable(&self) -> u64 {
        if self.needed == 0 {
            return u64::MAX;
        }
        let mut frames: Vec<u64> = self.paths.iter().map(|path| path.frames).collect();
        frames.sort_unstable_by(|a, b| b.cmp(a));
        frames[self.needed - 1]
    }

    /// Bytes that every member that is waited for still takes. A segment's first frame needs no grant: with it the member
    /// learns of it.
    pub(crate) fn room(&self) -> u64 {
        self.least(Path::room)
    }

    /// The same for frames with records, which leave room to tell what was trimmed.
    pub(crate) fn record_room(&self) -> u64 {
        self.least(Path::record_room)
    }

    fn least(&self, room: impl FnMut(&Path) -> u64) -> u64 {
        if self.issued == 0 {
            return u64::MAX;
        }
        self.awaited().map(room).min().unwrap_or(u64::MAX)
    }

    /// The same for records that are still to be queued: they may wait for a first grant.
    pub(crate) fn granted(&self) -> u64 {
        let without = if self.paths.is_empty() { u64::MAX } else { UNGRANTED_BYTES };
        self.granting().map(Path::record_room).min().unwrap_or(without)
    }

    /// How much of what it may hold the fullest member holds, in percent.
    pub(crate) fn fill_percent(&self) -> u64 {
        let of = |path: &Path| (path.window_bytes.saturating_sub(path.room())) * 100 / path.window_bytes;
        self.granting().map(of).max().unwrap_or(0)
    }

    fn granting(&self) -> impl Iterator<Item = &Path> {
        self.awaited().filter(|path| path.window_bytes > 0)
    }

    /// Members whose room counts: all that are present, but for slow ones that are not needed for an acknowledgement.
    fn awaited(&self) -> impl Iterator<Item = &Path> {
        let quick = self.present().filter(|path| !path.slow).count();
        self.present().filter(move |path| !path.slow || quick < self.needed)
    }

    /// Whether a member's room gets short, so that it should hear what was trimmed: from a quarter of its window on.
    pub(crate) fn hungry(&self) -> bool {
        self.issued > 0 && self.awaited().any(|path| path.room() < path.window_bytes / 4 * 3)
    }

    fn present(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().filter(|path| path.lost.is_none())
    }

    /// Resolves when a member told something. Never for a segment without members.
    pub(crate) fn told(&self) -> impl Future<Output = ()> + Send + use<> {
        let board = (!self.paths.is_empty()).then(|| self.board.clone());
        async move {
            match board {
                Some(board) => board.changed.notified().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Takes in what the members told.
    pub(crate) fn refresh(&mut self, now: Instant) {
        for (path, told) in self.paths.iter_mut().zip(self.board.told().iter()) {
            let progress = told.frames > path.frames || told.granted_bytes > path.granted_bytes;
            // A member cannot have what was never sent; what it claims beyond is not believed.
            path.frames = told.frames.min(self.issued);
            path.granted_bytes = told.granted_bytes;
            if path.window_bytes == 0 {
                path.window_bytes = told.granted_bytes;
            }
            if path.lost.is_none() {
                path.lost.clone_from(&told.lost);
            }
            if !path.owes(self.issued) {
                path.owing_since = None;
            } else if progress || path.owing_since.is_none() {
                path.owing_since = Some(now);
            }
            path.slow = path.owing_since.is_some_and(|since| now.duration_since(since) >= PATIENCE);
        }
    }

    /// When the patience with a member ends, if it stays as it is.
    pub(crate) fn patience_ends(&self) -> Option<Instant> {
        let patient = self.present().filter(|path| !path.slow);
        patient.filter_map(|path| path.owing_since).min().map(|since| since + PATIENCE)
    }

    /// How the members of this `segment` are. What those that are lost have still counts.
    pub(crate) fn health(&self, segment: u64) -> MirrorHealth {
        let lost = |path: &Path| Some((path.member, path.lost.clone()?));
        let slow = self.present().filter(|path| path.slow).map(|path| path.member).collect();
        MirrorHealth { segment, lost: self.paths.iter().filter_map(lost).collect(), slow }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Nowhere;

    impl Mirror for Nowhere {
        fn send(&mut self, _: Bytes) {}
    }

    fn of(copies: usize, members: usize) -> (Ensemble, Vec<MirrorAcks>) {
        let members: Vec<_> = (0..members as u32).map(|node| Member { node, disk: 0 }).collect();
        let mut all_acks = Vec::new();
        let ensemble = Ensemble::new(copies, &members, |_, acks| {
            all_acks.push(acks);
            Box::new(Nowhere)
        });
        (ensemble, all_acks)
    }

    fn issue(ensemble: &mut Ensemble, frames: usize, now: Instant) {
        (0..frames).for_each(|_| ensemble.send(|| Bytes::from_static(&[0; BLOCK]), now));
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_is_committed_when_enough_members_hold_it() {
        let now = Instant::now();
        for (copies, expected) in [(1, u64::MAX), (2, 3), (3, 1)] {
            let (mut ensemble, acks) = of(copies, 2);
            issue(&mut ensemble, 4, now);
            acks[0].durable(3);
            acks[1].durable(1);
            ensemble.refresh(now);
            assert_eq!(ensemble.durable(), expected, "{copies} of 3");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_sent_is_not_believed() {
        let (mut ensemble, acks) = of(2, 1);
        issue(&mut ensemble, 2, Instant::now());
        acks[0].durable(9);
        ensemble.refresh(Instant::now());
        assert_eq!(ensemble.durable(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_is_slow_when_it_owes_and_makes_no_progress() {
        let (mut ensemble, acks) = of(3, 2);
        issue(&mut ensemble, 2, Instant::now());
        acks.iter().for_each(|acks| acks.granted(1 << 20));
        acks[0].durable(2);
        ensemble.refresh(Instant::now());
        let ends = ensemble.patience_ends().expect("the second one owes");
        assert_eq!(ends, Instant::now() + PATIENCE);
        tokio::time::advance(PATIENCE / 2).await;
        acks[1].durable(1);
        ensemble.refresh(Instant::now());
        assert!(ensemble.patience_ends().expect("still") > ends, "progress buys time");
        tokio::time::advance(PATIENCE).await;
        ensemble.refresh(Instant::now());
        let second = Member { node: 1, disk: 0 };
        assert_eq!(ensemble.health(0).slow, [second]);
        assert_eq!(ensemble.patience_ends(), None);
        acks[0].lost("its connection ended");
        issue(&mut ensemble, 1, Instant::now());
        acks[1].durable(3);
        ensemble.refresh(Instant::now());
        assert_eq!(ensemble.health(0).slow, [], "it caught up");
        assert_eq!(ensemble.health(0).lost.len(), 1);
        assert_eq!(ensemble.durable(), 2, "who is lost got no third frame");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_member_that_is_not_needed_takes_no_room_away() {
        let (mut ensemble, acks) = of(2, 2);
        issue(&mut ensemble, 1, Instant::now());
        acks[0].granted(100 * BLOCK as u64);
        acks[0].durable(1);
        ensemble.refresh(Instant::now());
        assert_eq!(ensemble.room(), 0, "the other one is waited for");
        tokio::time::advance(PATIENCE).await;
        ensemble.refresh(Instant::now());
        assert_eq!(ensemble.room(), 99 * BLOCK as u64);
        issue(&mut ensemble, 1, Instant::now());
        assert_eq!(ensemble.health(0).lost.len(), 1, "it has no room");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_sent_than_was_granted() {
        let (mut ensemble, acks) = of(2, 1);
        assert_eq!(ensemble.room(), u64::MAX, "the first frame needs no grant");
        issue(&mut ensemble, 1, Instant::now());
        assert_eq!(ensemble.room(), 0);
        acks[0].granted(4 * BLOCK as u64);
        ensemble.refresh(Instant::now());
        assert_eq!(ensemble.room(), 3 * BLOCK as u64);
        assert!(!ensemble.hungry());
        issue(&mut ensemble, 1, Instant::now());
        assert!(ensemble.hungry());
        issue(&mut ensemble, 1, Instant::now());
        assert_eq!(ensemble.record_room(), 0, "what is left is for telling");
        assert_eq!(ensemble.fill_percent(), 75);
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_is_full_owes_nothing() {
        let (mut ensemble, acks) = of(2, 1);
        issue(&mut ensemble, 1, Instant::now());
        acks[0].granted(BLOCK as u64);
        acks[0].durable(1);
        ensemble.refresh(Instant::now());
        assert_eq!((ensemble.room(), ensemble.fill_percent()), (0, 100));
        tokio::time::advance(2 * PATIENCE).await;
        ensemble.refresh(Instant::now());
        assert!(ensemble.health(0).is_well());
    }
}
