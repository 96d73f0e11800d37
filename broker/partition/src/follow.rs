//! Following the image: opening, closing and configuring partitions, and what is due from time to time.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use aquifer_image::{Image, Partition as PartitionMetadata, PartitionChange, TopicChange};
use aquifer_runtime::OnEnd;
use aquifer_types::TopicId;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::error::OpenError;
use crate::partition::{Partition, stream_offset};
use crate::partitions::{Inner, is_fresh};
use crate::past::Past;

/// Pause before a failed opening is tried again, and what it grows to.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(30);

/// Starts the tasks that follow and keep up. They end with the group, or when the last handle of the registry is gone.
pub(crate) fn start(inner: &Arc<Inner>) {
    let mut changes = inner.metadata.changes();
    // What is there already opens before the caller goes on, as far as nothing has to be read for it.
    let mut seen = changes.borrow_and_update().clone();
    apply(inner, &Image::new(), &seen);
    inner.followed_to(&seen);
    let weak = Arc::downgrade(inner);
    let stopping = inner.tasks.stopping().clone();
    inner.tasks.spawn("partitions", OnEnd::StopGroup, async move {
        loop {
            let changed = tokio::select! {
                () = stopping.cancelled() => return Ok::<_, Infallible>(()),
                changed = changes.changed() => changed,
            };
            let Some(inner) = weak.upgrade().filter(|_| changed.is_ok()) else { return Ok(()) };
            let image = changes.borrow_and_update().clone();
            apply(&inner, &seen, &image);
            inner.followed_to(&image);
            seen = image;
        }
    });
    start_upkeep(inner);
}

/// Retention and forgetting producers. A task of its own: it waits for the quorum, which following must not.
fn start_upkeep(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    let stopping = inner.tasks.stopping().clone();
    let mut retention = tokio::time::interval(inner.config.retention_interval);
    let mut expiry = tokio::time::interval(inner.config.producer_expiry_interval);
    for interval in [&mut retention, &mut expiry] {
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once; there is nothing due then.
        interval.reset();
    }
    let upkeep = async move {
        loop {
            tokio::select! {
                _ = retention.tick() => {
                    let Some(inner) = weak.upgrade() else { return };
                    inner.apply_retention().await;
                }
                _ = expiry.tick() => {
                    let Some(inner) = weak.upgrade() else { return };
                    inner.expire_producers();
                }
            }
        }
    };
    inner.tasks.spawn("partitions-upkeep", OnEnd::Continue, async move {
        // A trim that is cut off here is in the metadata or is not; the next start reads it from there.
        tokio::select! {
            () = stopping.cancelled() => {}
            () = upkeep => {}
        }
        Ok::<_, Infallible>(())
    });
}

/// Takes the step from one image to the next.
fn apply(inner: &Arc<Inner>, old: &Image, new: &Image) {
    if old.changed().topics != new.changed().topics {
        for change in new.partition_changes(old) {
            apply_partition(inner, new, change);
        }
    }
    if old.changed().configs != new.changed().configs {
        // Defaults of brokers concern every topic.
        let topics: Vec<_> = new.topics().map(|topic| topic.id).collect();
        topics.into_iter().for_each(|topic| configure(inner, new, topic));
    } else if old.changed().topics != new.changed().topics {
        for change in new.topic_changes(old) {
            if let TopicChange::Updated { new: topic, .. } = change {
                configure(inner, new, topic.id);
            }
        }
    }
}

fn apply_partition(inner: &Arc<Inner>, image: &Image, change: PartitionChange<'_>) {
    let key = (change.topic, change.index);
    let Some(partition) = change.new else {
        inner.close(key);
        if let Some(deleted) = change.old {
            inner.streams.remove(deleted.data);
        }
        return;
    };
    if partition.leader != Some(inner.config.node) {
        inner.close(key);
        inner.streams.release(partition.data);
        return;
    }
    if let Some(open) = inner.opened(key) {
        if !was_elsewhere(image, partition, &open) {
            inner.lead(&open, partition.leader_epoch.get());
            return;
        }
        // It went away and came back between two images, and another broker wrote to it meanwhile.
        inner.close(key);
        inner.streams.release(partition.data);
    }
    let topic = image.topic(change.topic).expect("the image keeps partitions and topics together");
    if is_fresh(image, partition) {
        match inner.open_now(image, topic, change.index, partition, Past::default()) {
            Ok(_) => return,
            Err(error) => warn!(topic = %topic.name, partition = change.index, %error, "opening failed"),
        }
    }
    if inner.begin_opening(key) {
        spawn_opening(inner, key);
    }
}

/// Whether another broker led a partition that is open here and changed its log. A hand-over leaves nothing
/// uncommitted, neither there nor back: then opening anew costs a look at the checkpoint, and nothing is lost by it.
fn was_elsewhere(image: &Image, metadata: &PartitionMetadata, open: &Partition) -> bool {
    let newer = metadata.leader_epoch.get() > open.leader_epoch();
    let whole = |stream: &aquifer_image::Stream| stream.end >= stream_offset(open.log_end_offset());
    open.is_closed() || (newer && image.stream(metadata.data).is_some_and(whole))
}

fn configure(inner: &Inner, image: &Image, topic: TopicId) {
    let Some(topic) = image.topic(topic) else { return };
    let config = Arc::new(inner.topic_config(image, topic));
    for (index, _) in image.partitions_of(topic.id) {
        if let Some(partition) = inner.opened((topic.id, index)) {
            partition.configure(config.clone());
        }
    }
}

/// Opens a partition that has a checkpoint in the store, trying until it succeeds or is not wanted any more.
fn spawn_opening(inner: &Arc<Inner>, key: (TopicId, i32)) {
    let weak = Arc::downgrade(inner);
    let stopping = inner.tasks.stopping().clone();
    inner.tasks.spawn("partition-opening", OnEnd::Continue, async move {
        tokio::select! {
            () = stopping.cancelled() => Ok::<_, Infallible>(()),
            () = open_until_done(weak, key) => Ok(()),
        }
    });
}

async fn open_until_done(weak: Weak<Inner>, key: (TopicId, i32)) {
    let mut pause = RETRY_FIRST;
    loop {
        let Some(inner) = weak.upgrade().filter(|inner| inner.still_opening(key)) else { return };
        match open(&inner, key).await {
            Ok(()) => return,
            Err(error) => {
                warn!(topic = %key.0, partition = key.1, %error, retry_ms = pause.as_millis(), "opening failed");
                inner.opening_failed(key, error.to_string());
            }
        }
        drop(inner);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MOST);
    }
}

async fn open(inner: &Arc<Inner>, key: (TopicId, i32)) -> Result<(), OpenError> {
    let _permit = inner.opening.acquire().await.expect("never closed");
    let Some(metadata) = inner.metadata.image().partition(key.0, key.1).copied() else { return Ok(()) };
    let stream = inner.streams.stream(metadata.data, metadata.meta);
    let stream = stream.map_err(|error| OpenError::Stream(error.to_string()))?;
    let past = Past::load(&stream).await?;
    // The image may have moved on meanwhile: only what it says now counts, and the follower closes later what it sees
    // later.
    let image = inner.metadata.image();
    let (Some(topic), Some(metadata)) = (image.topic(key.0), image.partition(key.0, key.1)) else {
        return Ok(());
    };
    if metadata.leader == Some(inner.config.node) && inner.still_opening(key) {
        let partition = inner.open_now(&image, topic, key.1, metadata, past)?;
        info!(
            topic = %topic.name, partition = key.1, leader_epoch = metadata.leader_epoch.get(),
            log_start = partition.log_start_offset(), high_watermark = partition.high_watermark(), "opened"
        );
    }
    Ok(())
}

impl Inner {
    /// Raises the start of every log that retention has outgrown; the number of them.
    pub(crate) async fn apply_retention(&self) -> usize {
        let image = self.metadata.image();
        let now_ms = self.clock.wall_ms();
        let open = self.open();
        let mut trims = Vec::new();
        let mut concerned = Vec::new();
        for partition in open {
            if let Some(trim) = partition.expired(&image, now_ms) {
                trims.push(trim);
                concerned.push(partition);
            }
        }
        if trims.is_empty() {
            return 0;
        }
        if let Err(error) = self.streams.trim(trims).await {
            warn!(%error, partitions = concerned.len(), "retention could not delete old records; it tries again");
            return 0;
        }
        for partition in &concerned {
            partition.trimmed();
        }
        info!(partitions = concerned.len(), "retention deleted old records");
        concerned.len()
    }

    fn expire_producers(&self) {
        let now_ms = self.clock.wall_ms();
        for partition in self.open() {
            partition.expire_producers(now_ms, self.config.producer_id_expiration_ms);
        }
    }
}
