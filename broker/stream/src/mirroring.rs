//! Mirrors of the WAL's segments: who they are at the start, and rolling to others when that should change.
//!
//! ```text
//!   a mirror ails, or more of them could be had ──> freeze ─> choose ─> RollSegment ─> resume with new links
//! ```
//!
//! One task owns the roll; each step is decided by [`Rolling`], which is pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aquifer_client::MetadataClient;
use aquifer_image::{Image, Outcome, RollSegment, SegmentMember};
use aquifer_types::{BrokerEpoch, DiskId, NodeId, SegmentId};
use aquifer_wal::{Ensemble, Lsn, Member, Mirror, MirrorAcks, MirrorHealth, RollEvent, RollStep, Rolling};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};
use uuid::Uuid;

use crate::fruitless::{self, Hindrance};
use crate::shared::Shared;

/// Pause between two looks for members while there are too few, if the metadata tells nothing new.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long it is waited, at first, before a segment with fewer copies than wanted is rolled to one with more: several
/// members may come back at once, and one that fails again and again must not stop the log each time.
const GROW_AFTER: Duration = Duration::from_secs(3);
/// The longest such wait; it doubles with each loss of a member.
const GROW_AFTER_MAX: Duration = Duration::from_secs(60);
/// How often a wait for too few members is told.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// Makes the way to a member's copy of a segment. Must not wait.
pub type Connect = Arc<dyn Fn(SegmentId, Member, MirrorAcks) -> Box<dyn Mirror> + Send + Sync>;

/// How the WAL is mirrored (`wal.mode`).
#[derive(Clone)]
pub struct Mirroring {
    /// Copies that are wanted, our own included (W).
    pub copies: usize,
    /// With fewer nothing is written (`wal.min.copies`).
    pub min_copies: usize,
    /// How many of them hold whatever is acknowledged (A), if that is not all.
    pub needed: Option<usize>,
    /// The ways to the members.
    pub connect: Connect,
}

impl fmt::Debug for Mirroring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { copies, min_copies, needed, .. } = self;
        let mut shown = f.debug_struct("Mirroring");
        shown
            .field("copies", copies)
            .field("min_copies", min_copies)
            .field("needed", needed)
            .finish_non_exhaustive()
    }
}

impl Mirroring {
    /// Copies of a segment with so many members that hold whatever is acknowledged.
    pub(crate) fn needed(&self, members: usize) -> usize {
        self.needed.map_or(members + 1, |needed| needed.min(members + 1))
    }

    fn pick(&self, image: &Image, node: NodeId, without: &[NodeId]) -> Option<Vec<SegmentMember>> {
        let members = aquifer_controller::mirrors(image, node, self.copies - 1, without);
        (members.len() + 1 >= self.min_copies).then_some(members)
    }

    /// Members for this process's first segment, once there are enough.
    pub(crate) async fn first_members(&self, metadata: &MetadataClient, node: NodeId) -> Vec<SegmentMember> {
        let mut changes = metadata.changes();
        let mut told: Option<Instant> = None;
        loop {
            let image = changes.borrow_and_update().clone();
            if let Some(members) = self.pick(&image, node, &[]) {
                return members;
            }
            if told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
                told = Some(Instant::now());
                let found = aquifer_controller::mirrors(&image, node, self.copies - 1, &[]).len() + 1;
                info!(
                    found,
                    wanted = self.min_copies,
                    "waiting for brokers that mirror the WAL (wal.min.copies); a single broker runs with wal.mode=local"
                );
            }
            let _ = timeout(TELL_INTERVAL, changed(&mut changes)).await;
        }
    }

    /// The copies of a segment.
    pub(crate) fn ensemble(&self, segment: SegmentId, members: &[Member]) -> Ensemble {
        let connect = |member, acks| (self.connect)(segment, member, acks);
        Ensemble::new(self.needed(members.len()), members, connect)
    }
}

/// Who could mirror a segment of `owner`, by registration.
fn available(image: &Image, owner: NodeId) -> BTreeMap<NodeId, BrokerEpoch> {
    let found = aquifer_controller::mirrors(image, owner, usize::MAX, &[]);
    found.into_iter().filter_map(|mirror| Some((mirror.node, image.broker_epoch(mirror.node)?))).collect()
}

/// Whether a member's broker was fenced or drained, or keeps copies on another disk.
fn is_retired(image: &Image, member: &Member) -> bool {
    !aquifer_controller::may_mirror(image, &segment_member(member))
}

/// Waits for another image; for ever once the feed has ended, which it does only with the node.
async fn changed(images: &mut watch::Receiver<Arc<Image>>) {
    if images.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// How the WAL names a member.
pub(crate) fn member(member: &SegmentMember) -> Member {
    Member { node: member.node.get(), disk: member.disk.get().as_u128() }
}

fn segment_member(member: &Member) -> SegmentMember {
    SegmentMember { node: NodeId(member.node), disk: DiskId(Uuid::from_u128(member.disk)) }
}

/// Why the node cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("the WAL segment is not this process's any more: {reason}")]
pub(crate) struct Overruled {
    reason: String,
}

/// The task that rolls.
pub(crate) struct Roller {
    shared: Arc<Shared>,
    mirroring: Mirroring,
    disk: DiskId,
    rolling: Rolling,
    /// Mirrors of the present segment.
    members: Vec<Member>,
    grow_after: Duration,
    /// When the present segment may give way to one with more copies.
    grow_at: Instant,
    frozen_at: Option<Instant>,
    /// Where the present segment begins, if an earlier one of this process ended there.
    rolled_at: Option<Lsn>,
    /// When it began.
    began: Instant,
    /// Segments before it in a row in which nothing was committed.
    fruitless: u32,
    /// Who could mirror when its members were chosen. Whoever registers anew is another process, and gets another chance.
    available: BTreeMap<NodeId, BrokerEpoch>,
}

/// What came of a roll.
enum Log {
    Alive,
    /// It ended meanwhile, by a failure or a shutdown: nothing is rolled any more.
    Ended,
}

impl Roller {
    pub(crate) fn new(
        shared: Arc<Shared>,
        mirroring: Mirroring,
        disk: DiskId,
        segment: SegmentId,
        members: Vec<Member>,
    ) -> Self {
        let available = available(&shared.metadata.image(), shared.node);
        Self {
            shared,
            mirroring,
            disk,
            rolling: Rolling::new(segment.get()),
            members,
            grow_after: GROW_AFTER,
            grow_at: Instant::now() + GROW_AFTER,
            frozen_at: None,
            rolled_at: None,
            began: Instant::now(),
            fruitless: 0,
            available,
        }
    }

    /// Rolls whenever there is a reason, until the streams stop.
    pub(crate) async fn run(mut self) -> Result<(), Overruled> {
        let stop = self.shared.stop.clone();
        stop.run_until_cancelled(self.work()).await.unwrap_or(Ok(()))
    }

    async fn work(&mut self) -> Result<(), Overruled> {
        let mut health = self.shared.wal.mirror_health();
        let mut images = self.shared.metadata.changes();
        loop {
            let present = health.borrow_and_update().clone();
            let image = images.borrow_and_update().clone();
            let settles_at = self.settles_at(&present, &image);
            let hasty = Instant::now() < settles_at;
            if !hasty && let Some(without) = self.without(&present, &image) {
                self.grow_after = match self.began.elapsed() > GROW_AFTER_MAX {
                    true => GROW_AFTER,
                    false => (self.grow_after * 2).min(GROW_AFTER_MAX),
                };
                match self.roll(without).await? {
                    Log::Alive => continue,
                    Log::Ended => return Ok(()),
                }
            }
            let may_grow = !hasty && self.could_grow(&image);
            if may_grow && Instant::now() >= self.grow_at {
                match self.roll(Vec::new()).await? {
                    Log::Alive => continue,
                    Log::Ended => return Ok(()),
                }
            }
            tokio::select! {
                changed = health.changed() => if changed.is_err() {
                    // The log has ended; whoever asks it is told why.
                    return Ok(());
                },
                () = changed(&mut images) => {}
                () = sleep_until(self.grow_at), if may_grow => {}
                () = sleep_until(settles_at), if hasty => {}
            }
        }
    }

    /// When the present segment may give way to another one: at once, but for one in which nothing was committed yet.
    fn settles_at(&self, health: &MirrorHealth, image: &Image) -> Instant {
        let usage = self.shared.wal.usage();
        if self.rolled_at != Some(usage.committed) {
            return self.began;
        }
        let gone = !health.lost.is_empty() || self.members.iter().any(|member| is_retired(image, member));
        let hindrance = if gone { Hindrance::Gone } else { Hindrance::Slow };
        let others = available(image, self.shared.node) != self.available;
        if others && fruitless::is_left_at_once(hindrance, usage.files_percent) {
            return self.began;
        }
        let fruitless = if others { 0 } else { self.fruitless };
        self.began + fruitless::pause(fruitless, hindrance, usage.files_percent)
    }

    /// Whom the next segment should do without, if there should be one for that: members whose link ended, members that left or
    /// moved to another disk, and slow ones. While too few are left without them, who still answers is kept: leaving it would
    /// help nobody.
    fn without(&self, health: &MirrorHealth, image: &Image) -> Option<Vec<Member>> {
        if health.segment != self.rolling.segment() {
            return None;
        }
        let mut without: Vec<_> =
            self.members.iter().filter(|member| is_retired(image, member)).copied().collect();
        let must = !health.lost.is_empty() || health.slow.iter().any(|member| without.contains(member));
        without.extend(health.lost.iter().map(|(member, _)| *member).chain(health.slow.iter().copied()));
        let nodes: Vec<_> = without.iter().map(|member| NodeId(member.node)).collect();
        if without.is_empty() || (!must && self.mirroring.pick(image, self.shared.node, &nodes).is_none()) {
            return None;
        }
        for member in &without {
            let reason =
                health.lost.iter().find(|(lost, _)| lost == member).map(|(_, reason)| reason.as_str());
            let reason =
                reason.unwrap_or(if health.slow.contains(member) { "it is slow" } else { "it left" });
            warn!(segment = health.segment, %member, reason, "the WAL goes on without a mirror");
        }
        Some(without)
    }

    /// Whether the next segment would have more copies.
    fn could_grow(&self, image: &Image) -> bool {
        self.mirroring.pick(image, self.shared.node, &[]).is_some_and(|best| best.len() > self.members.len())
    }

    async fn roll(&mut self, without: Vec<Member>) -> Result<Log, Overruled> {
        let mut step = self.rolling.on(RollEvent::Wanted(without));
        loop {
            let event = match step {
                RollStep::Wait => return Ok(Log::Alive),
                RollStep::Freeze => {
                    // A log that has ended does not roll; whoever asks it is told why.
                    let Ok(frozen) = self.shared.wal.freeze().await else { return Ok(Log::Ended) };
                    self.frozen_at = Some(Instant::now());
                    self.count(frozen.end);
                    RollEvent::Frozen(frozen.end)
                }
                RollStep::Choose { without } => RollEvent::Chosen(self.choose(&without).await),
                RollStep::Ask { segment, end, members } => {
                    self.ask(SegmentId(segment), end.0, &members).await
                }
                RollStep::Resume { segment, members } => return self.resume(segment, members).await,
                RollStep::Fence { reason } => {
                    self.shared.wal.fence(&reason);
                    return Err(Overruled { reason });
                }
            };
            step = self.rolling.on(event);
        }
    }

    /// Counts the present segment if nobody took it: nothing was committed in it, and it did not just lie idle.
    fn count(&mut self, end: Lsn) {
        let idle_after = 2 * fruitless::pause(self.fruitless, Hindrance::Slow, 0);
        let same = available(&self.shared.metadata.image(), self.shared.node) == self.available;
        let fruitless = same && self.rolled_at == Some(end) && self.began.elapsed() < idle_after;
        self.fruitless = if fruitless { self.fruitless + 1 } else { 0 };
    }

    async fn choose(&mut self, without: &[Member]) -> Option<Vec<Member>> {
        let (node, mut changes) = (self.shared.node, self.shared.metadata.changes());
        let image = changes.borrow_and_update().clone();
        let ring_percent = self.shared.wal.usage().files_percent;
        let left_out = fruitless::pause(self.fruitless, Hindrance::Gone, ring_percent);
        let unforgiven = self.frozen_at.is_some_and(|since| since.elapsed() < left_out);
        let same = |node: &NodeId| image.broker_epoch(*node) == self.available.get(node).copied();
        let nodes: Vec<_> = without.iter().map(|member| NodeId(member.node)).filter(same).collect();
        let chosen = self
            .mirroring
            .pick(&image, node, &nodes)
            .or_else(|| if unforgiven { None } else { self.mirroring.pick(&image, node, &[]) });
        if chosen.is_some() {
            self.available = available(&image, node);
        } else {
            if self.shared.segments.copies() != 0 {
                warn!(
                    wanted = self.mirroring.min_copies,
                    "too few brokers mirror the WAL (wal.min.copies): nothing is acknowledged until there are more"
                );
            }
            self.shared.segments.set_copies(0);
            let _ = timeout(LOOK_AGAIN, changed(&mut changes)).await;
        }
        chosen.map(|members| members.iter().map(member).collect())
    }

    async fn ask(&self, segment: SegmentId, end_lsn: u64, members: &[Member]) -> RollEvent {
        let shared = &self.shared;
        let needed = self.mirroring.needed(members.len());
        let command = RollSegment {
            segment,
            end_lsn,
            node: shared.node,
            broker_epoch: shared.broker_epoch,
            disk: self.disk,
            members: members.iter().map(segment_member).collect(),
            needed: u32::try_from(needed).expect("a few copies"),
        };
        // The log stays frozen meanwhile. This is also where a stop is heard.
        match shared.metadata.propose_until_known(command, "a roll of the WAL").await {
            Ok(Outcome::SegmentOpened { segment }) => RollEvent::Opened(segment.get()),
            Ok(other) => unreachable!("RollSegment is answered by SegmentOpened, not {other:?}"),
            Err(rejection) => RollEvent::Refused(rejection.to_string()),
        }
    }

    async fn resume(&mut self, segment: u64, members: Vec<Member>) -> Result<Log, Overruled> {
        let (id, copies) = (SegmentId(segment), members.len() + 1);
        let end = self.shared.wal.usage().committed;
        let ensemble = self.mirroring.ensemble(id, &members);
        // A log that has ended does not go on; whoever asks it is told why.
        if self.shared.wal.resume(segment, ensemble).await.is_err() {
            return Ok(Log::Ended);
        }
        self.shared.segments.rolled(end.0, id, copies);
        (self.rolled_at, self.began) = (Some(end), Instant::now());
        let frozen = self.frozen_at.take().map(|since| since.elapsed());
        info!(segment, copies, ?frozen, "rolled the WAL");
        self.members = members;
        self.grow_at = Instant::now() + self.grow_after;
        // What the old segment's fewer copies hold is repaired by offloading it, so that no mirror copies history.
        self.shared.signals.ask_flush();
        Ok(Log::Alive)
    }
}
