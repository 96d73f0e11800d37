//! Giving partitions away when the metadata asks for it.
//!
//! ```text
//!   asked ─> flush, still serving ─> hold appends ─> wait until durable ─> flush the rest ─> propose HandOver
//!                                        ^                                                        │
//!                                        └──── resume: withdrawn, or the store takes too long <───┘
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
use aquifer_image::{HandOver, HandedOver, Outcome};
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
/// Pause while something that is asked for is not open yet.
const OPENING_PAUSE: Duration = Duration::from_millis(50);

type Key = (TopicId, i32);
/// What is asked for and open, with the entry that asked.
type Held = HashMap<Key, (LogIndex, Arc<Partition>)>;

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
    loop {
        let Some(inner) = weak.upgrade() else { return };
        changes.borrow_and_update();
        let pause = inner.round(&mut held).await;
        drop(inner);
        match pause {
            Some(pause) => sleep(pause).await,
            None if changes.changed().await.is_err() => return,
            None => {}
        }
    }
}

impl Inner {
    /// Hands over what is asked for now; how long to wait before the next round, `None` until something is asked.
    async fn round(&self, held: &mut Held) -> Option<Duration> {
        let asked = self.asked();
        let over = held.iter().filter(|&(key, (asked_at, _))| asked.get(key) != Some(asked_at));
        let over: Vec<Key> = over.map(|(key, _)| *key).collect();
        self.let_go(held, &over);
        if asked.is_empty() {
            return None;
        }
        let open = asked.into_iter().filter_map(|(key, at)| Some((key, (at, self.opened(key)?))));
        let open: Held = open.collect();
        if open.is_empty() {
            return Some(OPENING_PAUSE);
        }
        // The bulk goes while appends go on.
        self.streams.flush().await.ok()?;
        self.holding.store(true, Ordering::Relaxed);
        for (key, (asked_at, partition)) in open {
            partition.hold();
            held.insert(key, (asked_at, partition));
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

    /// What the image asks for now.
    fn asked(&self) -> HashMap<Key, LogIndex> {
        let image = self.metadata.image();
        let led = image.led_by(self.config.node);
        led.filter_map(|key| Some((key, image.partition(key.0, key.1)?.moving?.asked_at))).collect()
    }

    /// Brings what is left of the held partitions to the store.
    async fn flush_rest(&self, held: &Held) -> Result<(), String> {
        for (_, partition) in held.values() {
            partition.settled().await.map_err(|error| error.to_string())?;
        }
        self.streams.flush().await.map_err(|error| error.to_string())
    }

    /// Gives the held partitions away.
    async fn propose(&self, held: &mut Held) -> Option<Duration> {
        let partitions = held.iter().map(|(&(topic, index), (asked_at, partition))| HandedOver {
            topic,
            index,
            asked_at: *asked_at,
            end: stream_offset(partition.log_end_offset()),
        });
        let (node, broker_epoch) = self.streams.registration();
        let command = HandOver { node, broker_epoch, partitions: partitions.collect() };
        let mut late_answer_possible = false;
        loop {
            match self.metadata.propose(command.clone()).await {
                Ok(Outcome::HandedOver { kept }) => {
                    info!(partitions = held.len() - kept.len(), "handed over");
                    if !late_answer_possible {
                        self.let_go(held, &kept);
                    }
                    return Some(if kept.is_empty() { Duration::ZERO } else { PAUSE });
                }
                Ok(other) => unreachable!("HandOver is answered by HandedOver, not {other:?}"),
                Err(error) if error.effect() == Effect::None && !late_answer_possible => {
                    return self.give_up(held, &error.to_string());
                }
                // It may take effect any time: appends stay held until the image says that the move is over.
                Err(error) => {
                    warn!(%error, "a hand-over is not known to have happened: proposing it again");
                    late_answer_possible = true;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Holds partitions no longer: what is led from here goes on, all else takes no append ever again.
    fn let_go(&self, held: &mut Held, keys: &[Key]) {
        let image = self.metadata.image();
        for (key, (_, partition)) in keys.iter().filter_map(|key| held.remove_entry(key)) {
            let leader = image.partition(key.0, key.1).and_then(|partition| partition.leader);
            if leader == Some(self.config.node) {
                partition.resume();
            } else {
                partition.close();
            }
        }
        self.holding.store(!held.is_empty(), Ordering::Relaxed);
    }

    /// Serves on, and tries again later.
    fn give_up(&self, held: &mut Held, reason: &str) -> Option<Duration> {
        warn!(reason, partitions = held.len(), "partitions could not be handed over yet; serving on");
        let all: Vec<Key> = held.keys().copied().collect();
        self.let_go(held, &all);
        Some(PAUSE)
    }
}
