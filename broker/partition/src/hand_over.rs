//! Giving partitions away when the metadata asks for it.
//!
//! ```text
//!   asked ─> flush, still serving ─> hold appends ─> flush the rest ─> propose HandOver
//!                                        ^                                 │
//!                                        └── resume: withdrawn, or too slow ┘
//! ```
//!
//! Everything that is asked for at once goes in one round. No data is moved: what is flushed is what the WAL holds of
//! the partition, however large its history in the store is.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use aquifer_client::Effect;
use aquifer_image::{HandOver, HandedOver, Image, Outcome};
use aquifer_runtime::OnEnd;
use aquifer_types::{LogIndex, TopicId};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::partition::{Partition, stream_offset};
use crate::partitions::Inner;

/// How long appends may be held for the rest of a flush. Beyond, serving goes on and the move is tried again.
const HOLD_LIMIT: Duration = Duration::from_secs(5);
/// Pause after a round that did not succeed.
const PAUSE: Duration = Duration::from_millis(500);
/// What it doubles up to while rounds are given up, so that a slow store does not make appends wait most of the time.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Pause while something that is asked for is not open yet.
const OPENING_PAUSE: Duration = Duration::from_millis(50);

type Key = (TopicId, i32);
type Held = HashMap<Key, Holding>;

/// A partition that is asked for and open.
struct Holding {
    partition: Arc<Partition>,
    /// The entry that asked.
    asked_at: LogIndex,
    /// Under which it is given away, or held no longer.
    leader_epoch: i32,
    /// A proposal to give it away may still take effect: appends stay held until the image says that this move is over.
    unsettled: bool,
}

/// Partitions that go in one round: their next leaders open so many within the time that producers wait anyway.
const ROUND: usize = 500;

/// What comes after a round.
enum Next {
    /// Nothing is asked: the image has to change.
    Change,
    /// Another round after so long.
    Round(Duration),
    /// Another one, later each time.
    Retry,
}

/// Starts the task. It ends with the group, or when the last handle of the registry is gone.
pub(crate) fn start(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    let stopping = inner.tasks.stopping().clone();
    inner.tasks.spawn("hand-over", OnEnd::StopGroup, async move {
        stopping.run_until_cancelled(run(weak)).await;
        Ok::<_, Infallible>(())
    });
}

async fn run(weak: Weak<Inner>) {
    let Some(mut changes) = weak.upgrade().map(|inner| inner.metadata.changes()) else { return };
    let mut held = Held::new();
    let mut retry = PAUSE;
    loop {
        let Some(inner) = weak.upgrade() else { return };
        let seen = changes.borrow_and_update().changed();
        let next = inner.round(&mut held).await;
        drop(inner);
        match next {
            Next::Round(pause) => {
                retry = PAUSE;
                sleep(pause).await;
            }
            Next::Retry => {
                sleep(retry).await;
                retry = (retry * 2).min(LONGEST_PAUSE);
            }
            Next::Change => {
                retry = PAUSE;
                let other = |image: &Arc<Image>| {
                    (image.changed().topics, image.changed().brokers) != (seen.topics, seen.brokers)
                };
                if changes.wait_for(other).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl Inner {
    /// Hands over what is asked for now.
    async fn round(&self, held: &mut Held) -> Next {
        let asked = self.asked();
        let over = held.iter().filter(|&(key, holding)| asked.get(key) != Some(&holding.asked_at));
        let over: Vec<Key> = over.map(|(key, _)| *key).collect();
        self.let_go(held, &over);
        if asked.is_empty() {
            return Next::Change;
        }
        if held.is_empty() {
            let open = asked.into_iter().filter_map(|(key, at)| Some((key, at, self.opened(key)?)));
            let open: Vec<_> = open.take(ROUND).collect();
            if open.is_empty() {
                return Next::Round(OPENING_PAUSE);
            }
            // The bulk goes while appends go on.
            if self.streams.flush().await.is_err() {
                // The uploader has stopped, and the node with it.
                return Next::Retry;
            }
            self.holding.store(true, Ordering::Relaxed);
            for (key, asked_at, partition) in open {
                partition.hold();
                let leader_epoch = partition.leader_epoch();
                held.insert(key, Holding { partition, asked_at, leader_epoch, unsettled: false });
            }
        }
        let rest = match timeout(HOLD_LIMIT, self.flush_rest(held)).await {
            Ok(rest) => rest,
            Err(_) => Err(format!("the store did not take the rest within {HOLD_LIMIT:?}")),
        };
        // From here on nobody may give up before the answer is there: the partitions may be given away by then.
        match rest {
            Ok(()) => self.propose(held).await,
            Err(reason) => self.give_up(held, &reason),
        }
    }

    /// What the image asks for now, as far as who shall lead next is alive.
    fn asked(&self) -> HashMap<Key, LogIndex> {
        let image = self.metadata.image();
        let asked = |key: Key| {
            let moving = image.partition(key.0, key.1)?.moving?;
            image.broker(moving.to)?.is_live().then_some((key, moving.asked_at))
        };
        image.led_by(self.config.node).filter_map(asked).collect()
    }

    /// Brings what is left of the held partitions to the store.
    async fn flush_rest(&self, held: &Held) -> Result<(), String> {
        self.streams.flush().await.map_err(|error| error.to_string())?;
        for Holding { partition, .. } in held.values() {
            partition.settled().await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Gives the held partitions away.
    async fn propose(&self, held: &mut Held) -> Next {
        let partitions = held.iter().map(|(&(topic, index), holding)| HandedOver {
            topic,
            index,
            asked_at: holding.asked_at,
            end: stream_offset(holding.partition.log_end_offset()),
        });
        let (node, broker_epoch) = self.streams.registration();
        let command = HandOver { node, broker_epoch, partitions: partitions.collect() };
        match self.metadata.propose(command).await {
            Ok(Outcome::HandedOver { kept }) => {
                info!(partitions = held.len() - kept.len(), "handed over");
                self.let_go(held, &kept);
                Next::Round(if kept.is_empty() { Duration::ZERO } else { PAUSE })
            }
            Ok(other) => unreachable!("HandOver is answered by HandedOver, not {other:?}"),
            Err(error) if error.effect() == Effect::None => self.give_up(held, &error.to_string()),
            Err(error) => {
                warn!(%error, "a hand-over is not known to have happened: proposing it again");
                held.values_mut().for_each(|holding| holding.unsettled = true);
                Next::Round(PAUSE)
            }
        }
    }

    /// Holds partitions no longer: what this process leads on under the same epoch takes appends again, all else never.
    /// Those of which a hand-over may still take effect stay held.
    fn let_go(&self, held: &mut Held, keys: &[Key]) {
        let image = self.metadata.image();
        for key in keys {
            let now = image.partition(key.0, key.1);
            let leads = |holding: &Holding| {
                now.is_some_and(|now| {
                    (now.leader, now.leader_epoch.get()) == (Some(self.config.node), holding.leader_epoch)
                })
            };
            let asked_still = |holding: &Holding| {
                now.and_then(|now| now.moving).is_some_and(|moving| moving.asked_at == holding.asked_at)
            };
            let over = |holding: &Holding| !(holding.unsettled && leads(holding) && asked_still(holding));
            if !held.get(key).is_some_and(over) {
                continue;
            }
            match held.remove(key) {
                Some(holding) if leads(&holding) => holding.partition.resume(),
                Some(holding) => holding.partition.close(),
                None => {}
            }
        }
        self.holding.store(!held.is_empty(), Ordering::Relaxed);
    }

    /// Serves on, and tries again later.
    fn give_up(&self, held: &mut Held, reason: &str) -> Next {
        warn!(reason, partitions = held.len(), "partitions could not be handed over yet; serving on");
        let all: Vec<Key> = held.keys().copied().collect();
        self.let_go(held, &all);
        // What may still be given away is held: it must not wait long for its answer.
        if held.is_empty() { Next::Retry } else { Next::Round(PAUSE) }
    }
}
