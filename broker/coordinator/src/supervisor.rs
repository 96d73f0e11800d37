//! Starts an owner for each partition of the offsets topic that this node leads, and stops those it does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard, atomic::AtomicBool},
    time::Duration,
};

use aquifer_client::MetadataClient;
use aquifer_image::{Image, TopicChange};
use aquifer_partition::{Partition, Partitions};
use aquifer_runtime::{OnEnd, TaskGroup};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use crate::{
    OFFSETS_TOPIC,
    owner::{MAILBOX, Message, Owner, Parts},
};

/// An owner that ended by itself, because it could not load or write, is started again after this time.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// The running owners, by partition index.
pub(crate) type Running = Arc<RwLock<BTreeMap<i32, Route>>>;

/// The way to a running owner.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) mailbox: mpsc::Sender<Message>,
    /// Set once it has read its partition.
    pub(crate) loaded: Arc<AtomicBool>,
}

pub(crate) struct Supervisor {
    pub(crate) parts: Parts,
    pub(crate) metadata: MetadataClient,
    pub(crate) partitions: Partitions,
    pub(crate) running: Running,
    pub(crate) tasks: TaskGroup,
    /// What each owner writes to.
    pub(crate) owned: BTreeMap<i32, Arc<Partition>>,
    pub(crate) ended: Arc<Notify>,
}

impl Supervisor {
    pub(crate) async fn run(mut self) -> Result<(), Infallible> {
        let stopping = self.tasks.stopping().clone();
        let mut opened = self.partitions.changes();
        let mut images = self.metadata.changes();
        let mut seen = images.borrow_and_update().clone();
        let mut restart_at = None;
        self.follow();
        loop {
            let restart = tokio::time::sleep_until(restart_at.unwrap_or_else(Instant::now));
            tokio::select! {
                () = stopping.cancelled() => break,
                () = restart, if restart_at.is_some() => restart_at = None,
                changed = opened.changed() => if changed.is_err() { break },
                changed = images.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let image = images.borrow_and_update().clone();
                    self.forget_deleted(&seen, &image);
                    seen = image;
                }
                () = self.ended.notified() => {
                    restart_at = Some(Instant::now() + RESTART_AFTER);
                    continue;
                }
            }
            self.follow();
        }
        self.write().clear();
        Ok(())
    }

    /// Brings the owners in line with the partitions that are open here.
    fn follow(&mut self) {
        let image = self.metadata.image();
        let count = image.topic_by_name(OFFSETS_TOPIC).map_or(0, |topic| topic.partition_count);
        let mut open = BTreeMap::new();
        for index in 0..count {
            if let Ok(partition) = self.partitions.get_by_name(OFFSETS_TOPIC, index) {
                open.insert(index, partition);
            }
        }
        self.owned.retain(|index, owned| {
            let same = open.get(index).is_some_and(|partition| Arc::ptr_eq(partition, owned));
            let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
            same && running.get(index).is_some_and(|route| !route.mailbox.is_closed())
        });
        // An owner whose mailbox goes ends by itself.
        self.write().retain(|index, _| self.owned.contains_key(index));
        for (index, partition) in open {
            if !self.owned.contains_key(&index) {
                self.start(index, partition);
            }
        }
    }

    fn start(&mut self, index: i32, partition: Arc<Partition>) {
        let (mailbox, messages) = mpsc::channel(MAILBOX);
        let loaded = Arc::new(AtomicBool::new(false));
        let owner = Owner::new(self.parts.clone(), Arc::clone(&partition), Arc::clone(&loaded));
        let (stopping, ended) = (self.tasks.stopping().clone(), Arc::clone(&self.ended));
        self.tasks.spawn("group-coordinator-owner", OnEnd::Continue, async move {
            let result = owner.run(messages, stopping).await;
            ended.notify_one();
            result
        });
        self.owned.insert(index, partition);
        self.write().insert(index, Route { mailbox, loaded });
    }

    /// Tells every owner of topics that are gone. An owner whose mailbox is full misses it: the offsets then go by
    /// their retention.
    fn forget_deleted(&self, old: &Image, new: &Image) {
        if old.changed().topics == new.changed().topics {
            return;
        }
        let removed = new.topic_changes(old).filter_map(|change| match change {
            TopicChange::Removed(topic) => Some(topic.name.to_string()),
            TopicChange::Added(_) | TopicChange::Updated { .. } => None,
        });
        let removed: BTreeSet<_> = removed.collect();
        if removed.is_empty() {
            return;
        }
        let removed = Arc::new(removed);
        for route in self.running.read().unwrap_or_else(PoisonError::into_inner).values() {
            let _ = route.mailbox.try_send(Message::TopicsDeleted(Arc::clone(&removed)));
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<i32, Route>> {
        self.running.write().unwrap_or_else(PoisonError::into_inner)
    }
}
