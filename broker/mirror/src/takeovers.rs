//! Who ends what dead brokers left, and when.
//!
//! Every broker looks; the members of the dead one's segments come first, the others a little later each, so that normally
//! one does the work. Several at once do no harm: the metadata takes the first entry.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aquifer_image::{Broker, Image};
use aquifer_runtime::{OnEnd, TaskGroup};
use aquifer_stream::{Copies, Loss, Recoverer, TakeOverError, Taken};
use aquifer_types::NodeId;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

/// How much later than the one before it a broker begins.
const STAGGER: Duration = Duration::from_millis(500);
/// Pause after an attempt that failed.
const RETRY: Duration = Duration::from_millis(500);
/// How often a takeover that is blocked is told again.
const TELL_INTERVAL: Duration = Duration::from_secs(30);

/// The takeovers that this broker does or waits to do.
#[derive(Debug)]
pub struct Takeovers<C> {
    recoverer: Arc<Recoverer<C>>,
    tell_blocked: watch::Sender<BTreeMap<NodeId, String>>,
}

impl<C> Clone for Takeovers<C> {
    fn clone(&self) -> Self {
        Self { recoverer: Arc::clone(&self.recoverer), tell_blocked: self.tell_blocked.clone() }
    }
}

/// What an operator's acceptance of loss led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surrender {
    /// What was ended, and what was given up of it.
    pub taken: Taken,
    /// The dead broker's partitions, each with the offset at which it goes on: what was acknowledged from there on is lost.
    pub goes_on_at: Vec<(String, i32, u64)>,
}

struct Task<C> {
    recoverer: Arc<Recoverer<C>>,
    under_way: FuturesUnordered<BoxFuture<'static, (NodeId, Result<Taken, TakeOverError>)>>,
    /// When each broker's takeover may be begun again; present while one is under way, too.
    not_before: BTreeMap<NodeId, Option<Instant>>,
    blocked: watch::Sender<BTreeMap<NodeId, String>>,
    told: BTreeMap<NodeId, Instant>,
}

impl<C: Copies + 'static> Takeovers<C> {
    /// Looks after dead brokers as a task of `tasks`.
    pub fn start(recoverer: Recoverer<C>, tasks: &TaskGroup) -> Self {
        let blocked = watch::Sender::new(BTreeMap::new());
        let tell_blocked = blocked.clone();
        let recoverer = Arc::new(recoverer);
        let task = Task {
            recoverer: Arc::clone(&recoverer),
            under_way: FuturesUnordered::new(),
            not_before: BTreeMap::new(),
            blocked,
            told: BTreeMap::new(),
        };
        let stopping = tasks.stopping().clone();
        tasks.spawn("takeovers", OnEnd::StopGroup, async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = task.run() => {}
            }
            Ok::<_, Infallible>(())
        });
        Self { recoverer, tell_blocked }
    }

    /// The brokers that there are.
    pub fn brokers(&self) -> Vec<NodeId> {
        self.recoverer.metadata.image().brokers().map(|broker| broker.node).collect()
    }

    /// Whether another broker lives and has still to end what an earlier process of it left.
    pub fn is_left_to_itself(&self, owner: NodeId) -> bool {
        let image = self.recoverer.metadata.image();
        let lives = image.broker(owner).is_some_and(Broker::is_live);
        owner != self.recoverer.node && lives && image.segments_left_by(owner).next().is_some()
    }

    /// Takes `owner` over with the copies that answer, however few: an operator accepts that acknowledged records are lost.
    ///
    /// # Errors
    /// Also that cannot be done now.
    pub async fn surrender(&self, owner: NodeId) -> Result<Surrender, TakeOverError> {
        let metadata = &self.recoverer.metadata;
        let led: Vec<_> = metadata.image().led_by(owner).collect();
        let taken = self.recoverer.take_over(owner, Loss::Accepted).await?;
        let image = metadata.image();
        let goes_on = |(topic, index)| {
            let end = image.stream(image.partition(topic, index)?.data)?.end;
            Some((image.topic(topic)?.name.to_string(), index, end))
        };
        let goes_on_at: Vec<_> = led.into_iter().filter_map(goes_on).collect();
        if !taken.given_up.is_empty() {
            for (topic, partition, offset) in &goes_on_at {
                warn!(topic, partition, offset, "what was acknowledged from this offset on is given up");
            }
        }
        Ok(Surrender { taken, goes_on_at })
    }

    /// Brokers whose takeover does not come to an end here, and why: copies are missing, or the store is away.
    pub fn blocked(&self) -> BTreeMap<NodeId, String> {
        self.tell_blocked.borrow().clone()
    }

    /// Ends what earlier processes of this node left in mirrored segments, before it writes new ones. Waits until it can be done,
    /// by this broker, by another one, or because an operator gave up what is missing.
    pub async fn end_own(&self) {
        let (owner, mut told) = (self.recoverer.node, None::<Instant>);
        while self.recoverer.metadata.image().segments_left_by(owner).next().is_some() {
            match self.recoverer.take_over(owner, Loss::Refused).await {
                Ok(Taken { segments, records, .. }) => {
                    info!(?segments, records, "ended what an earlier process of this node left in the WAL");
                }
                Err(error) => {
                    if told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
                        told = Some(Instant::now());
                        warn!(%error, "what an earlier process of this node left in the WAL cannot be ended yet; it is tried again");
                    }
                    self.tell_blocked.send_modify(|blocked| _ = blocked.insert(owner, error.to_string()));
                    sleep(RETRY).await;
                }
            }
        }
        self.tell_blocked.send_if_modified(|blocked| blocked.remove(&owner).is_some());
    }
}

impl<C: Copies + 'static> Task<C> {
    async fn run(mut self) {
        let mut changes = self.recoverer.metadata.changes();
        loop {
            let image = changes.borrow_and_update().clone();
            self.begin(&image);
            let wake_at = self.not_before.values().flatten().min().copied();
            let wake = async move {
                match wake_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return;
                },
                Some((owner, result)) = self.under_way.next() => self.ended(owner, result),
                () = wake => {}
            }
        }
    }

    fn begin(&mut self, image: &Image) {
        let (me, now) = (self.recoverer.node, Instant::now());
        let dead: Vec<_> = dead(image).filter(|owner| *owner != me).collect();
        self.not_before.retain(|owner, begin| begin.is_none() || dead.contains(owner));
        self.blocked.send_if_modified(|blocked| {
            let before = blocked.len();
            blocked.retain(|owner, _| *owner == me || dead.contains(owner));
            blocked.len() != before
        });
        for owner in dead {
            if self.not_before.get(&owner).is_some_and(|begin| begin.is_none_or(|at| at > now)) {
                continue;
            }
            let first = !self.not_before.contains_key(&owner);
            self.not_before.insert(owner, None);
            let wait = if first { STAGGER * rank(image, owner, me) } else { Duration::ZERO };
            let recoverer = Arc::clone(&self.recoverer);
            self.under_way.push(Box::pin(async move {
                sleep(wait).await;
                if !dead_now(&recoverer.metadata.image(), owner) {
                    return (owner, Ok(Taken::default()));
                }
                (owner, recoverer.take_over(owner, Loss::Refused).await)
            }));
        }
    }

    fn ended(&mut self, owner: NodeId, result: Result<Taken, TakeOverError>) {
        self.not_before.insert(owner, Some(Instant::now() + RETRY));
        let reason = match result {
            Ok(_) => {
                self.told.remove(&owner);
                self.blocked.send_if_modified(|blocked| blocked.remove(&owner).is_some());
                return;
            }
            Err(TakeOverError::Overtaken { reason, .. }) => {
                return info!(%owner, reason, "another broker takes over, or what was left has changed");
            }
            Err(error) => error.to_string(),
        };
        let due = self.told.get(&owner).is_none_or(|told| told.elapsed() >= TELL_INTERVAL);
        if due {
            warn!(%owner, reason, "a dead broker cannot be taken over yet; it is tried again");
            self.told.insert(owner, Instant::now());
        }
        self.blocked.send_modify(|blocked| _ = blocked.insert(owner, reason));
    }
}

/// Fenced brokers of which something is to be taken over.
fn dead(image: &Image) -> impl Iterator<Item = NodeId> {
    image.brokers().map(|broker| broker.node).filter(|owner| dead_now(image, *owner))
}

fn dead_now(image: &Image, owner: NodeId) -> bool {
    let fenced = image.broker(owner).is_some_and(|broker| !broker.is_live());
    let left = image.segments_left_by(owner).next().is_some() || image.led_count(owner) > 0;
    // What it wrote while nobody mirrored it comes before what others have: both wait for its disk.
    let only_there = image.segments_of(owner).any(|segment| segment.members.is_empty());
    fenced && left && !only_there
}

/// How many brokers should begin before this one: live members of the owner's segments, then the others, by id.
fn rank(image: &Image, owner: NodeId, me: NodeId) -> u32 {
    let is_member = |node: NodeId| {
        image.segments_left_by(owner).flat_map(|left| &left.members).any(|member| member.node == node)
    };
    let mine = (!is_member(me), me);
    let before = image
        .brokers()
        .filter(|broker| broker.is_live() && (!is_member(broker.node), broker.node) < mine)
        .count();
    u32::try_from(before).unwrap_or(u32::MAX).min(MAX_RANK)
}

/// In a large cluster nobody waits longer than that.
const MAX_RANK: u32 = 8;
